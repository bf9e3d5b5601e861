/*
 * test_redis.c - the door to Redis: URLs; and a private redis-server on a Unix socket, answered in
 * order, lost and found again.
 * links: common/redis/redis.c common/redis/redis_ask.c common/redis/redis_calls.c common/redis/redis_cluster.c common/redis/redis_greet.c common/redis/redis_route.c common/redis/redis_sentinel.c common/redis/redis_topology.c common/redis/redis_link.c common/redis/redis_lookup.c common/base/offloop.c common/redis/redis_refusal.c common/redis/redis_attempt.c common/redis/redis_tls.c common/base/refusal.c common/base/jitter.c common/redis/redis_script.c common/redis/redis_settings.c common/redis/redis_url.c common/redis/redis_wire.c common/stats/stats.c common/config/secret.c common/base/clock.c common/base/err.c common/base/nodes.c tests/unit/loop.c tests/unit/redis_server.c
 * libs: hiredis openssl
 */
#include "common/redis/redis.h"

#include "common/redis/redis_url.h"
#include "tests/unit/loop.h"
#include "tests/unit/redis_server.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void urls(void **state)
{
    static const struct {
        const char *text, *host, *port, *path, *user, *password;
        int db; /* -1: refused */
    } row[] = {
        {"redis://127.0.0.1:6379/0", "127.0.0.1", "6379", "", "", "", 0},
        {"redis://h", "h", "6379", "", "", "", 0},
        {"redis://h/", "h", "6379", "", "", "", 0},
        {"redis://h/3", "h", "6379", "", "", "", 3},
        {"redis://h?db=7", "h", "6379", "", "", "", 7},
        {"redis://:p%40ss@h:1/2", "h", "1", "", "", "p@ss", 2},
        {"redis://u:p%3a@h", "h", "6379", "", "u", "p:", 0},
        {"redis://u:a@b@h", "h", "6379", "", "u", "a@b", 0},
        {"redis://[::1]:77/1", "::1", "77", "", "", "", 1},
        {"redis://[::1]", "::1", "6379", "", "", "", 0},
        {"unix:///run/r.sock", "", "", "/run/r.sock", "", "", 0},
        {"unix:///run/r.sock?db=4", "", "", "/run/r.sock", "", "", 4},
        {"unix://u:p@/run/r.sock", "", "", "/run/r.sock", "u", "p", 0},
        {"http://h", "", "", "", "", "", -1},
        {"rediss://u:p@h:1/2", "h", "1", "", "u", "p", 2},
        {"rediss://", "", "", "", "", "", -1},
        {"redis://", "", "", "", "", "", -1},
        {"redis://h:0", "", "", "", "", "", -1},
        {"redis://h:65536", "", "", "", "", "", -1},
        {"redis://h:x", "", "", "", "", "", -1},
        {"redis://h:", "", "", "", "", "", -1},
        {"redis://h/x", "", "", "", "", "", -1},
        {"redis://h?x=1", "", "", "", "", "", -1},
        {"redis://user@h", "", "", "", "", "", -1},
        {"redis://u:%zz@h", "", "", "", "", "", -1},
        {"redis://u:%00@h", "", "", "", "", "", -1},
        {"redis://u:%4", "", "", "", "", "", -1},
        {"redis://[::1", "", "", "", "", "", -1},
        {"unix://run/r.sock", "", "", "", "", "", -1},
        {"", "", "", "", "", "", -1},
    };
    struct redis_url url;
    struct err err;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        int result = redis_url_parse(row[i].text, &url, &err);

        if (row[i].db < 0) {
            if (result == 0)
                fail_msg("accepted: %s", row[i].text);
            continue;
        }
        if (result != 0)
            fail_msg("%s: %s", row[i].text, err.text);
        assert_string_equal(url.host, row[i].host);
        assert_string_equal(url.port, row[i].port);
        assert_string_equal(url.path, row[i].path);
        assert_string_equal(url.user, row[i].user);
        assert_string_equal(url.password, row[i].password);
        assert_int_equal(url.db, row[i].db);
    }
}

struct world {
    struct harness *loop;
    struct redis *redis;
    struct redis_server server;
    bool up;
    int downs, answers, nulls;
    char order[64], text[256];
    int64_t number;
};

static void state_told(void *arg, bool up, const char *reason)
{
    struct world *w = arg;

    w->up = up;
    w->downs += !up;
    snprintf(w->text, sizeof w->text, "%s", reason);
}

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct redis_options options = {.client = "test", .connect_ms = 2000, .command_ms = 1000,
                                    .backoff_max_ms = 100};
    struct err err;

    redis_server_init(&w->server);
    options.url = w->server.url;
    w->loop = loop_open();
    w->redis = redis_open(w->loop, &options, state_told, w, &err);
    assert_non_null(w->redis);
    redis_server_start(&w->server, NULL);
    *state = w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;

    redis_close(&w->redis);
    loop_close(&w->loop);
    redis_server_cleanup(&w->server);
    free(w);
    return 0;
}

static bool is_up(void *arg)
{
    return ((struct world *)arg)->up;
}

static bool is_down(void *arg)
{
    return !((struct world *)arg)->up;
}

static bool all_answered(void *arg)
{
    return redis_outstanding(((struct world *)arg)->redis) == 0;
}

static void note(struct world *w, const struct redis_reply *reply, const char *reason)
{
    w->answers++;
    w->nulls += reply == NULL;
    if (reply == NULL)
        snprintf(w->text, sizeof w->text, "%s", reason);
    else if (reply->kind == REDIS_ARRAY && reply->items > 1) {
        snprintf(w->text, sizeof w->text, "%s", reply->item[0].text ? reply->item[0].text : "");
        w->number = redis_item_number(reply, 2);
    } else if (reply->text != NULL)
        snprintf(w->text, sizeof w->text, "%s", reply->text);
}

static void on_a(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct world *w = arg;
    strcat(w->order, "a");
    note(w, reply, reason);
}

static void on_b(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct world *w = arg;
    strcat(w->order, "b");
    note(w, reply, reason);
}

#define SAY(w, answer, ...)                                                                        \
    redis_command((w)->redis, (int)COUNT_OF(((const char *[]){__VA_ARGS__})),                      \
                  (const char *const[]){__VA_ARGS__}, NULL, answer, w)

static void answers_in_order(void **state)
{
    struct world *w = *state;

    SAY(w, on_a, "PING"); /* not connected yet */
    assert_true(loop_until(w->loop, all_answered, w, 1000));
    assert_int_equal(w->nulls, 1);
    assert_true(loop_until(w->loop, is_up, w, 5000));
    for (int i = 0; i < 10; i++) {
        SAY(w, on_a, "INCR", "n");
        SAY(w, on_b, "GET", "n");
    }
    assert_true(loop_until(w->loop, all_answered, w, 3000));
    assert_string_equal(w->order, "aabababababababababab");
    assert_string_equal(w->text, "10");
    SAY(w, on_a, "CLIENT", "INFO");
    assert_true(loop_until(w->loop, all_answered, w, 3000));
    assert_non_null(strstr(w->text, "name=test"));
}

static void big_values_go_and_come(void **state)
{
    struct world *w = *state;
    size_t size = 9 * 1024 * 1024;
    char *big = malloc(size + 1);

    assert_non_null(big);
    memset(big, 'v', size);
    big[size] = '\0';
    assert_true(loop_until(w->loop, is_up, w, 5000));
    SAY(w, on_a, "SET", "big", big);
    SAY(w, on_b, "GET", "big");
    assert_true(loop_until(w->loop, all_answered, w, 5000));
    assert_int_equal(w->nulls, 0);
    assert_string_equal(w->order, "ab");
    assert_int_equal(strlen(w->text), sizeof w->text - 1);
    free(big);
}

#define PUSH(w, generation)                                                                        \
    redis_script((w)->redis, REDIS_push, 6,                                                        \
                 (const char *const[]){"q", "m", generation, "fresh", "1000", "envelope"}, NULL,   \
                 on_a, w)

static void scripts_survive_a_flush_of_scripts(void **state)
{
    struct world *w = *state;

    assert_true(loop_until(w->loop, is_up, w, 5000));
    PUSH(w, "fresh");
    PUSH(w, "fresh");
    assert_true(loop_until(w->loop, all_answered, w, 3000));
    assert_string_equal(w->text, "ok");
    assert_int_equal(w->number, 2);
    SAY(w, on_b, "SCRIPT", "FLUSH");
    PUSH(w, "fresh");
    PUSH(w, "fresh");
    assert_true(loop_until(w->loop, all_answered, w, 3000));
    assert_string_equal(w->text, "ok");
    assert_int_equal(w->number, 4);
    assert_int_equal(w->nulls, 0);
    PUSH(w, "other");
    assert_true(loop_until(w->loop, all_answered, w, 3000));
    assert_string_equal(w->text, "generation");
}

static void loss_answers_each_once_and_reconnects(void **state)
{
    struct world *w = *state;

    assert_true(loop_until(w->loop, is_up, w, 5000));
    SAY(w, on_a, "SET", "x", "1");
    assert_true(loop_until(w->loop, all_answered, w, 3000));
    w->answers = 0;
    kill(w->server.pid, SIGSTOP);
    SAY(w, on_a, "GET", "x");
    PUSH(w, "fresh");
    SAY(w, on_b, "GET", "x");
    assert_true(loop_until(w->loop, is_down, w, 3000)); /* the deadline */
    assert_non_null(strstr(w->text, "did not answer within 1000 ms"));
    assert_true(loop_until(w->loop, all_answered, w, 1000));
    assert_int_equal(w->answers, 3);
    assert_int_equal(w->nulls, 3);
    kill(w->server.pid, SIGCONT);
    assert_true(loop_until(w->loop, is_up, w, 5000));
    redis_server_stop(&w->server);
    assert_true(loop_until(w->loop, is_down, w, 3000));
    redis_server_start(&w->server, NULL);
    assert_true(loop_until(w->loop, is_up, w, 5000));
    PUSH(w, "fresh");
    assert_true(loop_until(w->loop, all_answered, w, 3000));
    assert_string_equal(w->text, "ok");
}

static bool greeting(void *arg)
{
    return redis_outstanding(((struct world *)arg)->redis) > 0;
}

/* The kernel takes connections for a server that is frozen: a command asked then stands behind the
 * greeting, and must not wait for a later one. */
static void asked_during_the_greeting(void **state)
{
    struct world *w = *state;

    assert_true(loop_until(w->loop, is_up, w, 5000));
    kill(w->server.pid, SIGSTOP);
    SAY(w, on_a, "GET", "x");
    assert_true(loop_until(w->loop, is_down, w, 3000)); /* the deadline */
    assert_true(loop_until(w->loop, all_answered, w, 1000));
    assert_true(loop_until(w->loop, greeting, w, 3000));
    SAY(w, on_b, "GET", "x");
    kill(w->server.pid, SIGCONT);
    assert_true(loop_until(w->loop, is_up, w, 5000));
    assert_true(loop_until(w->loop, all_answered, w, 1000));
    assert_string_equal(w->order, "ab");
    assert_int_equal(w->nulls, 2);
}

static void a_wrong_password_is_named(void **state)
{
    struct world *w = *state;

    assert_true(loop_until(w->loop, is_up, w, 5000));
    SAY(w, on_a, "CONFIG", "SET", "requirepass", "secret");
    SAY(w, on_a, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no");
    assert_true(loop_until(w->loop, is_down, w, 3000));
    for (int turn = 0; turn < 20; turn++)
        loop_turn(w->loop, 20);
    assert_false(w->up);
    SAY(w, on_a, "GET", "x");
    assert_true(loop_until(w->loop, all_answered, w, 1000));
    assert_non_null(strstr(w->text, "NOAUTH"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, make_world, end_world)
        cmocka_unit_test(urls),
        T(answers_in_order),
        T(big_values_go_and_come),
        T(scripts_survive_a_flush_of_scripts),
        T(loss_answers_each_once_and_reconnects),
        T(asked_during_the_greeting),
        T(a_wrong_password_is_named),
    };

    return cmocka_run_group_tests_name("redis", tests, NULL, NULL);
}
