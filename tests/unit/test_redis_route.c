/*
 * test_redis_route.c - the door against nodes that say what they are told to say: ASK and MOVED between
 * commands that stand in a row, nodes that cannot be reached, Sentinels that are wrong.  Real clusters
 * are in tests/fault.
 * links: common/redis/redis.c common/redis/redis_ask.c common/redis/redis_calls.c common/redis/redis_cluster.c common/redis/redis_greet.c common/redis/redis_route.c common/redis/redis_sentinel.c common/redis/redis_topology.c common/redis/redis_link.c common/redis/redis_lookup.c common/base/offloop.c common/redis/redis_refusal.c common/redis/redis_attempt.c common/redis/redis_tls.c common/base/refusal.c common/base/jitter.c common/redis/redis_script.c common/redis/redis_settings.c common/redis/redis_url.c common/redis/redis_wire.c common/stats/stats.c common/config/secret.c common/base/clock.c common/base/err.c common/base/nodes.c tests/unit/loop.c tests/unit/fake_nodes.c
 * libs: hiredis openssl
 */
#include "common/redis/redis.h"

#include "tests/unit/fake_nodes.h"
#include "tests/unit/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SLOT "6347" /* of {spendd}: */
struct world {
    struct harness *loop;
    struct redis *redis;
    struct fake_nodes nodes;
    bool up;
    int ups, downs;
    char order[64], reason[512];
};

/* --- the client --------------------------------------------------------------------------------- */

static void state_told(void *arg, bool up, const char *reason)
{
    struct world *w = arg;

    w->up = up;
    w->ups += up;
    w->downs += !up;
    if (!up)
        snprintf(w->reason, sizeof w->reason, "%s", reason);
}

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    fake_nodes_init(&w->nodes);
    w->loop = loop_open();
    *state = w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;

    redis_close(&w->redis);
    loop_close(&w->loop);
    fake_nodes_cleanup(&w->nodes);
    free(w);
    return 0;
}

static void open_client(struct world *w, bool cluster, const char *nodes)
{
    struct redis_options options = {.url = "redis://:pass@unused.invalid", .client = "test",
                                    .connect_ms = 3000, .command_ms = 1000, .backoff_max_ms = 50,
                                    .key = "{spendd}:", .sentinel_master = "m"};
    char text[256], one[32];
    struct err err;

    text[0] = '\0';
    for (; *nodes != '\0'; nodes++) {
        snprintf(one, sizeof one, "127.0.0.1:%d,", *nodes == 'x' ? w->nodes.dead_port : w->nodes.port[*nodes - 'a']);
        strcat(text, one);
    }
    *(cluster ? &options.cluster_nodes : &options.sentinels) = text;
    w->redis = redis_open(w->loop, &options, state_told, w, &err);
    if (w->redis == NULL)
        fail_msg("%s", err.text);
}

static bool is_up(void *arg)
{
    return ((struct world *)arg)->up;
}

static bool is_down(void *arg)
{
    return ((struct world *)arg)->downs > 0;
}

static bool all_answered(void *arg)
{
    return redis_outstanding(((struct world *)arg)->redis) == 0;
}

/* One letter: the value; E an error; 0 for NULL. */
static void on_answer(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct world *w = arg;
    char letter[2] = "0";

    if (reply != NULL)
        letter[0] = reply->kind == REDIS_ERROR ? 'E' : reply->text != NULL ? reply->text[0] : '?';
    else
        snprintf(w->reason, sizeof w->reason, "%s", reason);
    strcat(w->order, letter);
}

/* GET of each of these keys, in one go. */
static void get(struct world *w, const char *keys)
{
    char key[] = "{spendd}:?";

    for (; *keys != '\0'; keys++) {
        key[sizeof key - 2] = *keys;
        redis_command(w->redis, 2, (const char *const[]){"GET", key}, NULL, on_answer, w);
    }
}

static void expect_node(const struct world *w, char node)
{
    char wanted[32];

    snprintf(wanted, sizeof wanted, "127.0.0.1:%d", w->nodes.port[node - 'a']);
    assert_string_equal(redis_node(w->redis), wanted);
}

#define HAS ":0"
#define MOVED(node) "-MOVED " SLOT " 127.0.0.1:@" node
#define ASK(node) "-ASK " SLOT " 127.0.0.1:@" node
#define END {NULL, NULL, NULL}

static void asked_in_order(void **state)
{
    static const struct fake_line a[] = {{"EXISTS", HAS, NULL},         {"GET {spendd}:1", "+1", NULL},
                                    {"GET {spendd}:2", ASK("b"), NULL}, {"GET {spendd}:3", ASK("b"), NULL},
                                    {"GET {spendd}:4", ASK("c"), NULL}, {"GET {spendd}:5", "+5", NULL}, END};
    static const struct fake_line b[] = {{"GET {spendd}:2", MOVED("a"), "+2"},
                                    {"GET {spendd}:3", MOVED("a"), "+3"}, END};
    static const struct fake_line c[] = {{"GET {spendd}:4", MOVED("a"), "+4"}, END};
    struct world *w = *state;

    fake_node_start(&w->nodes, 0, a);
    fake_node_start(&w->nodes, 1, b);
    fake_node_start(&w->nodes, 2, c);
    open_client(w, true, "a");
    assert_true(loop_until(w->loop, is_up, w, 3000));
    get(w, "1212353412155542");
    assert_true(loop_until(w->loop, all_answered, w, 5000));
    assert_string_equal(w->order, "1212353412155542");
    expect_node(w, 'a');
    assert_int_equal(w->ups, 1);
    assert_int_equal(w->downs, 0);
}

/* Only what had to go there is lost; the connection stays. */
static void asked_in_vain(void **state)
{
    static const struct fake_line a[] = {{"EXISTS", ASK("x"), NULL}, {"GET {spendd}:1", "+1", NULL},
                                    {"GET {spendd}:2", ASK("x"), NULL}, {"GET {spendd}:3", ASK("b"), NULL}, END};
    static const struct fake_line b[] = {{"GET {spendd}:3", MOVED("a"), "-TRYAGAIN wait"}, END};
    struct world *w = *state;

    fake_node_start(&w->nodes, 0, a);
    fake_node_start(&w->nodes, 1, b);
    open_client(w, true, "a");
    assert_true(loop_until(w->loop, is_up, w, 3000));
    get(w, "1212313");
    assert_true(loop_until(w->loop, all_answered, w, 5000));
    assert_string_equal(w->order, "1010" "E1E");
    assert_non_null(strstr(w->reason, "127.0.0.1:"));
    assert_int_equal(w->downs, 0);
}

/* A script goes there too, and once more when it is not known there; its SHA1 of here serves there. */
static void scripts_are_asked(void **state)
{
    static const struct fake_line a[] = {{"EXISTS", HAS, NULL}, {"EVAL #!lua", ASK("b"), NULL},
                                    {"SCRIPT LOAD", "$40\r\nffffffffffffffffffffffffffffffffffffffff", NULL},
                                    {"EVALSHA", ASK("b"), NULL}, {"GET", "+g", NULL}, END};
    static const struct fake_line b[] = {{"SCRIPT LOAD", "$40\r\nffffffffffffffffffffffffffffffffffffffff", NULL},
                                    {"EVALSHA", MOVED("a"), "-NOSCRIPT no"}, {"EVAL #!lua", MOVED("a"), "+s"}, END};
    struct world *w = *state;

    fake_node_start(&w->nodes, 0, a);
    fake_node_start(&w->nodes, 1, b);
    open_client(w, true, "a");
    assert_true(loop_until(w->loop, is_up, w, 3000));
    for (int i = 0; i < 3; i++) {
        redis_script(w->redis, REDIS_unlock, 2, (const char *const[]){"{spendd}:l", "v"}, NULL, on_answer, w);
        get(w, "1");
        assert_true(loop_until(w->loop, all_answered, w, 5000));
    }
    assert_string_equal(w->order, "sgsgsg");
    assert_int_equal(w->downs, 0);
}

static void moved_while_up(void **state)
{
    static const struct fake_line a[] = {{"EXISTS", HAS, NULL}, {"GET {spendd}:1", "+1", NULL},
                                    {"GET", MOVED("b"), NULL}, END};
    static const struct fake_line b[] = {{"EXISTS", HAS, NULL}, {"GET", "+b", NULL}, END};
    struct world *w = *state;

    fake_node_start(&w->nodes, 0, a);
    fake_node_start(&w->nodes, 1, b);
    open_client(w, true, "a");
    assert_true(loop_until(w->loop, is_up, w, 3000));
    get(w, "121");
    assert_true(loop_until(w->loop, all_answered, w, 5000));
    assert_string_equal(w->order, "100"); /* what stood behind it: nobody knows */
    assert_true(loop_until(w->loop, is_up, w, 3000));
    expect_node(w, 'b');
    get(w, "2");
    assert_true(loop_until(w->loop, all_answered, w, 5000));
    assert_string_equal(w->order, "100b");
    assert_int_equal(w->downs, 1);
}

/* The way to the owner is nobody's business: no word of it, one "up". */
static void found_quietly(void **state)
{
    static const struct fake_line a[] = {{"EXISTS", MOVED("b"), NULL}, END};
    static const struct fake_line b[] = {{"EXISTS", MOVED("c"), NULL}, END};
    static const struct fake_line c[] = {{"EXISTS", HAS, NULL}, END};
    struct world *w = *state;

    fake_node_start(&w->nodes, 0, a);
    fake_node_start(&w->nodes, 1, b);
    fake_node_start(&w->nodes, 2, c);
    open_client(w, true, "xa");
    assert_true(loop_until(w->loop, is_up, w, 3000));
    expect_node(w, 'c');
    assert_int_equal(w->downs, 0);
}

/* It takes the connection and says nothing: a third of connect_ms, then the next one. */
static void a_silent_node_is_passed_over(void **state)
{
    static const struct fake_line a[] = {{"EXISTS", HAS, NULL}, END};
    struct world *w = *state;

    fake_node_start(&w->nodes, 0, a); /* nobody serves b's listener */
    open_client(w, true, "ba");
    assert_true(loop_until(w->loop, is_up, w, 5000));
    expect_node(w, 'a');
    assert_int_equal(w->downs, 0);
}

/* EXISTS forbidden: then the first command finds the owner.  CLUSTER SLOTS forbidden: nothing is learnt. */
static void few_rights_are_enough(void **state)
{
    static const struct fake_line a[] = {{"EXISTS", "-NOPERM no", NULL}, {"CLUSTER", "-NOPERM no", NULL},
                                    {"GET", MOVED("b"), NULL}, END};
    static const struct fake_line b[] = {{"EXISTS", "-NOPERM no", NULL}, {"CLUSTER", "-NOPERM no", NULL},
                                    {"GET", "+b", NULL}, END};
    struct world *w = *state;

    fake_node_start(&w->nodes, 0, a);
    fake_node_start(&w->nodes, 1, b);
    open_client(w, true, "a");
    assert_true(loop_until(w->loop, is_up, w, 3000));
    get(w, "1");
    assert_true(loop_until(w->loop, is_down, w, 3000));
    assert_true(loop_until(w->loop, is_up, w, 3000));
    expect_node(w, 'b');
    get(w, "1");
    assert_true(loop_until(w->loop, all_answered, w, 5000));
    assert_string_equal(w->order, "0b");
}

static void nobody_has_it(void **state)
{
    static const struct fake_line a[] = {{"EXISTS", MOVED("b"), NULL}, END};
    static const struct fake_line b[] = {{"EXISTS", MOVED("a"), NULL}, END};
    struct world *w = *state;

    fake_node_start(&w->nodes, 0, a);
    fake_node_start(&w->nodes, 1, b);
    open_client(w, true, "ab");
    assert_true(loop_until(w->loop, is_down, w, 3000));
    assert_non_null(strstr(w->reason, "MOVED " SLOT));
    assert_int_equal(w->ups, 0);
}

static void nobody_is_there(void **state)
{
    struct world *w = *state;

    open_client(w, true, "x");
    assert_true(loop_until(w->loop, is_down, w, 3000));
    assert_non_null(strstr(w->reason, "Connection refused"));
}

#define NAMES(node) "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n@" node

/* The first names a replica, the second knows nobody, the third is right, and its master may not be
 * asked for its role: all in one attempt. */
static void sentinels_that_are_wrong(void **state)
{
    static const struct fake_line replica_and_stale[] = {{"SENTINEL", NAMES("a"), NULL},
                                                    {"ROLE", "*1\r\n$5\r\nslave", NULL}, END};
    static const struct fake_line unknowing[] = {{"SENTINEL", "*-1", NULL}, END};
    static const struct fake_line master_and_right[] = {{"SENTINEL", NAMES("c"), NULL}, {"ROLE", "-NOPERM no", NULL},
                                                   {"GET", "+g", NULL}, END};
    struct world *w = *state;

    fake_node_start(&w->nodes, 0, replica_and_stale);
    fake_node_start(&w->nodes, 1, unknowing);
    fake_node_start(&w->nodes, 2, master_and_right);
    open_client(w, false, "xabc");
    assert_true(loop_until(w->loop, is_up, w, 3000));
    expect_node(w, 'c');
    assert_int_equal(w->downs, 0);
    get(w, "1");
    assert_true(loop_until(w->loop, all_answered, w, 3000));
    assert_string_equal(w->order, "g");
}

static void sentinels_that_do_not_help(void **state)
{
    static const struct fake_line unknowing[] = {{"SENTINEL", "*-1", NULL}, END};
    static const struct fake_line closed[] = {{"SENTINEL", "-NOAUTH no", NULL}, {"PING", "-NOAUTH no", NULL}, END};
    struct world *w = *state;

    fake_node_start(&w->nodes, 0, unknowing);
    fake_node_start(&w->nodes, 1, closed);
    open_client(w, false, "ba");
    assert_true(loop_until(w->loop, is_down, w, 3000));
    assert_non_null(strstr(w->reason, "no Sentinel says where m is"));
    assert_non_null(strstr(w->reason, "knows no master of that name"));
    assert_string_equal(redis_refusal_of(w->redis, NULL)->name, "nomaster");
    redis_close(&w->redis);
    w->downs = 0;
    open_client(w, false, "ab");
    assert_true(loop_until(w->loop, is_down, w, 3000));
    assert_string_equal(redis_refusal_of(w->redis, NULL)->name, "sentinelauth");
}

static void options_that_contradict(void **state)
{
    static const struct {
        const char *url, *sentinels, *cluster, *master, *said;
    } row[] = {
        {"redis://h", "a", "b", "m", "exclude each other"},
        {"redis://h", "a:x", "", "m", "redis.sentinels: \"a:x\" is not host:port"},
        {"redis://h", "a", "", "", "redis.sentinel_master is empty"},
        {"redis://h", "", "a:0", "m", "redis.cluster_nodes: \"a:0\" is not host:port"},
        {"redis://h/3", "", "a", "m", "only database 0"},
        {"unix:///r.sock", "", "a", "m", "a Unix socket leads to no"},
        {"unix:///r.sock", "a", "", "m", "a Unix socket leads to no"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct redis_options options = {.url = row[i].url, .client = "test", .connect_ms = 100,
                                        .command_ms = 100, .backoff_max_ms = 50, .key = "{k}",
                                        .sentinels = row[i].sentinels, .cluster_nodes = row[i].cluster,
                                        .sentinel_master = row[i].master};
        struct err err = {""};

        w->redis = redis_open(w->loop, &options, state_told, w, &err);
        if (w->redis != NULL)
            fail_msg("accepted: %s, %s, %s", row[i].url, row[i].sentinels, row[i].cluster);
        if (strstr(err.text, row[i].said) == NULL)
            fail_msg("%s", err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(asked_in_order, make_world, end_world),
        cmocka_unit_test_setup_teardown(asked_in_vain, make_world, end_world),
        cmocka_unit_test_setup_teardown(scripts_are_asked, make_world, end_world),
        cmocka_unit_test_setup_teardown(moved_while_up, make_world, end_world),
        cmocka_unit_test_setup_teardown(found_quietly, make_world, end_world),
        cmocka_unit_test_setup_teardown(a_silent_node_is_passed_over, make_world, end_world),
        cmocka_unit_test_setup_teardown(few_rights_are_enough, make_world, end_world),
        cmocka_unit_test_setup_teardown(nobody_has_it, make_world, end_world),
        cmocka_unit_test_setup_teardown(nobody_is_there, make_world, end_world),
        cmocka_unit_test_setup_teardown(sentinels_that_are_wrong, make_world, end_world),
        cmocka_unit_test_setup_teardown(sentinels_that_do_not_help, make_world, end_world),
        cmocka_unit_test_setup_teardown(options_that_contradict, make_world, end_world),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
