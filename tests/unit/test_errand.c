/*
 * test_errand.c - an errand, both ends of it in one loop: words there, items and a final answer back, an end that
 * leaves too early, bounds, and strangers on the socket.
 * links: common/errand/errand.c common/errand/errand_ask.c common/errand/errand_wire.c tests/unit/loop.c
 * links: common/json/json_out.c common/json/json_put.c common/base/err.c common/base/core.c common/base/clock.c
 * links: common/base/log.c common/base/utf8.c
 * libs: yajl
 */
#include "common/errand/errand.h"
#include "common/errand/errand_wire.h"
#include "tests/unit/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_MS 60000
#define ERRANDS 16 /* at once, in errand.c */
#define SAID_MOST 64

struct world {
    struct harness *loop;
    struct settings settings;
    struct errands *errands;
    struct errand *errand; /* the last that was begun */
    unsigned begun, rooms;
    int status[SAID_MOST]; /* what the asker heard */
    char json[SAID_MOST][64];
    size_t heard, bytes;
};

static void begin(void *arg, struct errand *errand)
{
    struct world *w = arg;

    w->errand = errand;
    w->begun++;
}

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct err err;

    strcpy(w->settings.runtime_dir, "/tmp/errand-XXXXXX");
    assert_non_null(mkdtemp(w->settings.runtime_dir));
    w->loop = loop_open();
    loop_settings(w->loop, &w->settings, NULL);
    w->errands = errands_open(w->loop, "baker", 0, begin, w, &err);
    assert_non_null(w->errands);
    *state = w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;
    char path[128];

    errands_close(&w->errands);
    loop_close(&w->loop);
    snprintf(path, sizeof path, "%.90s/private/baker.0.errand", w->settings.runtime_dir);
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
    rmdir(w->settings.runtime_dir);
    free(w);
    return 0;
}

static void answer(void *arg, int status, const char *json, size_t length)
{
    struct world *w = arg;

    assert_true(w->heard < SAID_MOST);
    w->status[w->heard] = status;
    snprintf(w->json[w->heard++], sizeof w->json[0], "%.*s", (int)length, json);
    w->bytes += length;
}

static struct errand_ask *ask(struct world *w, size_t count, const char *const *words)
{
    struct err err;
    struct errand_ask *made = errand_ask(w->loop, "baker", 0, count, words, &err);

    if (made != NULL)
        errand_ask_answer(made, answer, w);
    return made;
}

static bool has_begun(void *arg)
{
    return ((struct world *)arg)->errand != NULL;
}

static bool has_heard_the_end(void *arg)
{
    const struct world *w = arg;

    return w->heard > 0 && w->status[w->heard - 1] != ERRAND_ITEM;
}

static bool is_gone(void *arg)
{
    return errand_gone(((struct world *)arg)->errand);
}

static struct errand_ask *begun(struct world *w)
{
    static const char *const words[] = {"dead", "ls", ""};
    struct errand_ask *made = ask(w, 3, words);

    assert_non_null(made);
    assert_true(loop_until(w->loop, has_begun, w, LIMIT_MS));
    return made;
}

static void words_items_and_the_answer(void **state)
{
    struct world *w = *state;

    begun(w);
    assert_int_equal(errand_count(w->errand), 3);
    assert_string_equal(errand_word(w->errand, 0), "dead");
    assert_string_equal(errand_word(w->errand, 1), "ls");
    assert_string_equal(errand_word(w->errand, 2), "");
    assert_string_equal(errand_word(w->errand, 3), "");
    errand_item(w->errand, "[1]", 3);
    errand_item(w->errand, "", 0);
    errand_done(&w->errand, 200, "{}", 2);
    assert_null(w->errand);
    assert_true(loop_until(w->loop, has_heard_the_end, w, LIMIT_MS));
    assert_int_equal(w->heard, 3);
    assert_int_equal(w->status[0], ERRAND_ITEM);
    assert_string_equal(w->json[0], "[1]");
    assert_int_equal(w->status[1], ERRAND_ITEM);
    assert_string_equal(w->json[1], "");
    assert_int_equal(w->status[2], 200);
    assert_string_equal(w->json[2], "{}");
}

static void a_refusal_is_an_answer(void **state)
{
    struct world *w = *state;

    begun(w);
    errand_refuse(&w->errand, 409, "no \"%s\" today", "bread");
    assert_true(loop_until(w->loop, has_heard_the_end, w, LIMIT_MS));
    assert_int_equal(w->status[0], 409);
    assert_string_equal(w->json[0], "{\"error\":\"no \\\"bread\\\" today\"}");
}

static void a_worker_that_leaves_has_not_answered(void **state)
{
    struct world *w = *state;

    begun(w);
    errand_item(w->errand, "[1]", 3);
    errands_close(&w->errands);
    assert_true(loop_until(w->loop, has_heard_the_end, w, LIMIT_MS));
    assert_int_equal(w->heard, 2); /* the item came before */
    assert_int_equal(w->status[1], 0);
    assert_non_null(strstr(w->json[1], "left before"));
}

/* How many turns the loop makes until a timer is due. */
struct nap {
    unsigned turns;
    bool over;
};

static void wake(void *arg)
{
    ((struct nap *)arg)->over = true;
}

static void an_asker_that_leaves_is_noticed_and_costs_nothing(void **state)
{
    struct world *w = *state;
    struct errand_ask *left = begun(w);
    struct nap nap = {0};
    struct timer *timer = harness_timer(w->loop, wake, &nap);

    errand_ask_drop(&left);
    assert_null(left);
    assert_true(loop_until(w->loop, is_gone, w, LIMIT_MS));
    assert_false(errand_full(w->errand));
    for (timer_in_ms(timer, 50); !nap.over; nap.turns++)
        loop_turn(w->loop, 1000);
    assert_in_range(nap.turns, 1, 3); /* nothing else is left to be said: it sleeps, however long the errand takes */
    harness_untimer(&timer);
    errand_item(w->errand, "[1]", 3); /* to nobody */
    errand_done(&w->errand, 200, "{}", 2);
    assert_int_equal(w->heard, 0);
}

static void room(void *arg)
{
    ((struct world *)arg)->rooms++;
}

static bool has_room(void *arg)
{
    return ((struct world *)arg)->rooms > 0;
}

static void who_does_not_read_makes_the_errand_wait(void **state)
{
    static char page[64 * 1024];
    struct world *w = *state;
    struct errand_ask *slow = begun(w);
    size_t sent = 0;

    errand_ask_pause(slow, true);
    memset(page, ' ', sizeof page);
    while (!errand_full(w->errand) && sent < SAID_MOST - 1) {
        errand_item(w->errand, page, sizeof page);
        sent++;
        loop_turn(w->loop, 0);
    }
    assert_true(errand_full(w->errand));
    assert_int_equal(w->heard, 0);
    errand_when_room(w->errand, room, w);
    assert_false(loop_until(w->loop, has_room, w, 20));
    errand_ask_pause(slow, false);
    assert_true(loop_until(w->loop, has_room, w, LIMIT_MS));
    assert_int_equal(w->rooms, 1);
    errand_done(&w->errand, 200, "", 0);
    assert_true(loop_until(w->loop, has_heard_the_end, w, LIMIT_MS));
    assert_int_equal(w->heard, sent + 1);
    assert_int_equal(w->bytes, sent * sizeof page);
}

static void too_many_words_are_not_sent(void **state)
{
    static char long_one[WIRE_QUESTION_BYTES + 1];
    const char *words[ERRAND_WORDS_MAX + 1];
    struct world *w = *state;

    for (size_t i = 0; i <= ERRAND_WORDS_MAX; i++)
        words[i] = "x";
    assert_null(ask(w, ERRAND_WORDS_MAX + 1, words));
    memset(long_one, 'x', WIRE_QUESTION_BYTES);
    words[0] = long_one;
    assert_null(ask(w, 1, words));
    long_one[WIRE_QUESTION_BYTES - 1] = '\0'; /* and its end: as long as a question may be */
    assert_non_null(ask(w, 1, words));
    assert_true(loop_until(w->loop, has_begun, w, LIMIT_MS));
    assert_int_equal(strlen(errand_word(w->errand, 0)), WIRE_QUESTION_BYTES - 1);
    errand_done(&w->errand, 200, "", 0);
    assert_true(loop_until(w->loop, has_heard_the_end, w, LIMIT_MS));
}

static void nobody_is_there(void **state)
{
    static const char *const words[] = {"x"};
    struct world *w = *state;
    struct err err;

    assert_null(errand_ask(w->loop, "butcher", 0, 1, words, &err));
    assert_non_null(strstr(err.text, "butcher is not running"));
    errands_close(&w->errands); /* its socket stays, and nobody listens */
    assert_null(errand_ask(w->loop, "baker", 0, 1, words, &err));
    assert_non_null(strstr(err.text, "baker is not running"));
}

static bool all_begun(void *arg)
{
    return ((struct world *)arg)->begun == ERRANDS;
}

static void one_too_many_is_told_at_once(void **state)
{
    static const char *const words[] = {"x"};
    struct world *w = *state;
    struct errand_ask *asked[ERRANDS], *late;

    for (size_t i = 0; i < ERRANDS; i++)
        assert_non_null(asked[i] = ask(w, 1, words));
    assert_true(loop_until(w->loop, all_begun, w, LIMIT_MS));
    late = ask(w, 1, words);
    assert_non_null(late);
    assert_true(loop_until(w->loop, has_heard_the_end, w, LIMIT_MS));
    assert_int_equal(w->status[0], 0);
    assert_int_equal(w->begun, ERRANDS);
    for (size_t i = 0; i < ERRANDS; i++)
        errand_ask_drop(&asked[i]);
}

static int raw(const struct world *w)
{
    struct sockaddr_un address;
    struct err err;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_int_equal(wire_address(w->loop, "baker", 0, &address, &err), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

struct stranger {
    int fd;
    bool over;
};

static bool hung_up(void *arg)
{
    struct stranger *stranger = arg;
    char byte;

    stranger->over = stranger->over || recv(stranger->fd, &byte, 1, MSG_DONTWAIT) == 0;
    return stranger->over;
}

static void strangers_are_hung_up_on(void **state)
{
    static const struct {
        const char *bytes;
        size_t count;
    } row[] = {
        {"\xff\xff\xff\xff\x01\0\0\0", 8},      /* a question of 4 GiB */
        {"\x01\x10\0\0\x01\0\0\0", 8},          /* of a byte too many */
        {"\x02\0\0\0\0\0\0\0x\0", 10},          /* no word */
        {"\x02\0\0\0\x0d\0\0\0x\0", 10},        /* thirteen */
        {"\x02\0\0\0\x02\0\0\0x\0", 10},        /* two, and one is there */
        {"\x04\0\0\0\x01\0\0\0x\0y\0", 12},     /* one, and two are there */
        {"\x01\0\0\0\x01\0\0\0x", 9},           /* without its NUL */
        {"\0\0\0\0\x01\0\0\0", 8},              /* empty */
    };
    struct world *w = *state;

    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct stranger stranger = {.fd = raw(w)};

        assert_int_equal(write(stranger.fd, row[i].bytes, row[i].count), row[i].count);
        assert_true(loop_until(w->loop, hung_up, &stranger, LIMIT_MS));
        close(stranger.fd);
    }
    assert_int_equal(w->begun, 0);
    begun(w); /* and who asks as one should is served */
    errand_done(&w->errand, 200, "", 0);
    assert_true(loop_until(w->loop, has_heard_the_end, w, LIMIT_MS));
}

static void a_question_in_pieces(void **state)
{
    static const char bytes[] = "\x04\0\0\0\x02\0\0\0x\0y";
    struct world *w = *state;
    int fd = raw(w);

    for (size_t i = 0; i < sizeof bytes; i++) { /* the last NUL too */
        assert_null(w->errand);
        assert_int_equal(write(fd, bytes + i, 1), 1);
        for (int turn = 0; turn < 3; turn++)
            loop_turn(w->loop, 1);
    }
    assert_true(loop_until(w->loop, has_begun, w, LIMIT_MS));
    assert_string_equal(errand_word(w->errand, 1), "y");
    close(fd);
    assert_true(loop_until(w->loop, is_gone, w, LIMIT_MS));
    errand_done(&w->errand, 200, "", 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_world, end_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(words_items_and_the_answer),
        TEST(a_refusal_is_an_answer),
        TEST(a_worker_that_leaves_has_not_answered),
        TEST(an_asker_that_leaves_is_noticed_and_costs_nothing),
        TEST(who_does_not_read_makes_the_errand_wait),
        TEST(too_many_words_are_not_sent),
        TEST(nobody_is_there),
        TEST(one_too_many_is_told_at_once),
        TEST(strangers_are_hung_up_on),
        TEST(a_question_in_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
