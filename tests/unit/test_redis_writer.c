/*
 * test_redis_writer.c - the whole worker in one process: a lane played by the test, a private
 * redis-server, and every way in which Redis loses what it was given.
 * links: workers/redis_writer/redis_writer.c workers/redis_writer/writer_lanes.c workers/redis_writer/writer_redis.c workers/redis_writer/writer_fleet.c common/harness/build.c workers/redis_writer/pending.c workers/redis_writer/epochs.c common/redis/redis.c common/redis/redis_ask.c common/redis/redis_calls.c common/redis/redis_cluster.c common/redis/redis_greet.c common/redis/redis_route.c common/redis/redis_sentinel.c common/redis/redis_topology.c common/redis/redis_link.c common/redis/redis_lookup.c common/base/offloop.c common/redis/redis_refusal.c common/redis/redis_attempt.c common/redis/redis_tls.c common/base/refusal.c common/base/refusal_voice.c common/base/jitter.c common/redis/redis_script.c common/redis/redis_settings.c common/redis/redis_url.c common/redis/redis_wire.c common/config/secret.c common/bus/bus.c common/bus/bus_socket.c common/bus/bus_guard.c common/curve/certificate.c common/curve/clients.c common/msg/msg.c common/msg/line.c common/stats/stats.c common/batch/ranges.c common/batch/envelope.c common/batch/record.c common/batch/crc32c.c common/base/log.c common/base/clock.c common/base/err.c common/base/nodes.c tests/unit/loop.c tests/unit/redis_server.c
 * links: workers/redis_writer/push_task.c workers/redis_writer/volume.c common/batch/segment_name.c
 * libs: hiredis libzmq openssl
 */
#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/redis/redis.h"
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

#define EPOCH "01234567-89ab-7def-8123-456789abcdef"
#define SEGMENTS 8

extern const struct worker worker;

struct world {
    struct harness *loop;
    struct settings settings;
    void *self;
    struct bus *bus; /* of the lane */
    struct bus_socket *batches;
    struct redis *redis; /* the test's own eyes */
    struct redis_server server;
    char text[256];
    /* the lane */
    uint64_t writer;
    char generation[40], ranges[64];
    unsigned credit, flying;
    bool sent[SEGMENTS + 1], pushed[SEGMENTS + 1];
    int pushes, again, hellos;
    /* what the test saw */
    int64_t number;
    bool answered;
};

static void send_msg(struct world *w, const struct msg *msg, const char *envelope)
{
    unsigned char bytes[MSG_BYTES_MAX];
    struct bus_frame frame[2] = {{bytes, msg_encode(msg, bytes)}, {envelope, 0}};

    if (envelope != NULL)
        frame[1].bytes = strlen(envelope);
    (void)!bus_send(w->batches, frame, envelope != NULL ? 2 : 1);
}

static void send_segments(struct world *w)
{
    struct msg msg = {.kind = MSG_batch};
    char envelope[128];

    for (unsigned seq = 1; seq <= SEGMENTS && w->flying < w->credit; seq++) {
        if (w->sent[seq])
            continue;
        strcpy(msg.batch.epoch, EPOCH);
        msg.batch.seq = seq;
        snprintf(envelope, sizeof envelope, "spendd1 " EPOCH " 0 %u 1 00000000\nbody", seq);
        send_msg(w, &msg, envelope);
        w->sent[seq] = true;
        w->flying++;
    }
}

static void on_hello(struct world *w, const struct msg_writer_hello *hello)
{
    struct msg msg = {.kind = MSG_lane_hello, .lane_hello = {0, 77}};

    w->hellos++;
    w->credit = hello->credit;
    if (hello->writer != w->writer) {
        w->writer = hello->writer;
        send_msg(w, &msg, NULL);
        msg = (struct msg){.kind = MSG_lane_epoch};
        strcpy(msg.lane_epoch.epoch, EPOCH);
        send_msg(w, &msg, NULL);
    }
    if (strcmp(hello->generation, w->generation) != 0) {
        strcpy(w->generation, hello->generation);
        memset(w->sent, 0, sizeof w->sent);
        memset(w->pushed, 0, sizeof w->pushed);
        w->flying = 0;
    }
    if (w->generation[0] != '\0')
        send_segments(w);
}

static void receipt(void *arg, struct bus_socket *socket, const struct bus_frame *frames,
                    size_t count)
{
    struct world *w = arg;
    struct msg msg;
    struct err err;

    (void)socket;
    assert_int_equal(count, 1);
    assert_int_equal(msg_decode(&msg, frames[0].data, frames[0].bytes, &err), 0);
    if (msg.kind == MSG_writer_hello)
        on_hello(w, &msg.writer_hello);
    if (msg.kind == MSG_pushed && strcmp(msg.pushed.generation, w->generation) == 0) {
        w->pushed[msg.pushed.seq] = true;
        w->pushes++;
        w->flying--;
        send_segments(w);
    }
    if (msg.kind == MSG_again) {
        w->again++;
        w->sent[msg.again.seq] = w->pushed[msg.again.seq] = false;
        send_segments(w);
    }
    if (msg.kind == MSG_applied)
        strcpy(w->ranges, msg.applied.ranges);
}

static void eyes(void *arg, bool up, const char *reason)
{
    (void)arg, (void)up, (void)reason;
}

static int make_world(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct redis_options options = {
        .client = "eyes", .connect_ms = 2000, .command_ms = 2000, .backoff_max_ms = 50};
    struct err err;
    int code;

    redis_server_init(&w->server);
    w->settings = (struct settings){.aggregator_processes = 1, .redis_connect_ms = 2000,
                                    .redis_command_ms = 1000, .redis_backoff_max_ms = 50,
                                    .redis_queue_bytes = 1 << 20, .redis_repush_s = 60,
                                    .redis_applied_poll_ms = 20};
    strcpy(w->settings.runtime_dir, w->server.directory);
    strcpy(w->settings.redis_prefix, "{t}:");
    strcpy(w->settings.redis_url, w->server.url);
    redis_server_start(&w->server, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    w->loop = loop_open();
    code = stats_create("test", &err);
    loop_settings(w->loop, &w->settings, stats_map(code, &err));
    close(code);
    w->self = worker.open(w->loop, &code, &err);
    if (w->self == NULL)
        fail_msg("%s", err.text);
    w->bus = bus_open(w->loop, w->server.directory, &err);
    assert_non_null(w->bus);
    assert_non_null(bus_read(w->bus, BUS_receipts, 0, receipt, w, &err));
    w->batches = bus_write(w->bus, BUS_batches, 0, &err);
    assert_non_null(w->batches);
    options.url = w->settings.redis_url;
    w->redis = redis_open(w->loop, &options, eyes, w, &err);
    *state = w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;

    worker.close(w->self);
    bus_close(&w->bus, 100);
    redis_close(&w->redis);
    loop_close(&w->loop);
    redis_server_cleanup(&w->server);
    free(w);
    return 0;
}

static bool all_pushed(void *arg)
{
    struct world *w = arg;

    for (int seq = 1; seq <= SEGMENTS; seq++)
        if (!w->pushed[seq])
            return false;
    return true;
}

static bool three_pushed(void *arg)
{
    struct world *w = arg;

    return w->pushed[1] && w->pushed[2] && w->pushed[3];
}

static bool answered(void *arg)
{
    return ((struct world *)arg)->answered;
}

static bool eyes_open(void *arg)
{
    return redis_up(((struct world *)arg)->redis);
}

static bool eyes_closed(void *arg)
{
    return !eyes_open(arg);
}

static void on_answer(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct world *w = arg;

    (void)reason;
    w->answered = true;
    w->number = reply != NULL ? reply->number : -1;
}

#define SAY(w, ...) say(w, (int)COUNT_OF(((const char *[]){__VA_ARGS__})),                         \
                        (const char *const[]){__VA_ARGS__})

static int64_t say(struct world *w, int argc, const char *const *argv)
{
    assert_true(loop_until(w->loop, eyes_open, w, 3000));
    w->answered = false;
    redis_command(w->redis, argc, argv, NULL, on_answer, w);
    assert_true(loop_until(w->loop, answered, w, 3000));
    return w->number;
}

/* Everything was pushed, then lost, then is pushed again under another generation. */
static void lost_and_again(struct world *w)
{
    char before[40];

    strcpy(before, w->generation);
    memset(w->pushed, 0, sizeof w->pushed);
    assert_true(loop_until(w->loop, all_pushed, w, 5000));
    assert_string_not_equal(before, w->generation);
    assert_int_equal(SAY(w, "LLEN", "{t}:queue:0"), SEGMENTS);
}

static void everything_is_pushed_once(void **state)
{
    struct world *w = *state;

    assert_true(loop_until(w->loop, all_pushed, w, 5000));
    assert_int_equal(SAY(w, "LLEN", "{t}:queue:0"), SEGMENTS);
    assert_int_equal(w->pushes, SEGMENTS);
    assert_int_equal(w->again, 0);
}

static void each_way_to_lose_state(void **state)
{
    struct world *w = *state;

    assert_true(loop_until(w->loop, all_pushed, w, 5000));
    SAY(w, "DEL", "{t}:queue:0");
    lost_and_again(w);
    SAY(w, "FLUSHALL");
    lost_and_again(w);
    SAY(w, "HDEL", "{t}:meta:0", "pushed");
    lost_and_again(w);
    SAY(w, "HSET", "{t}:meta:0", "generation", "rewritten");
    memset(w->pushed, 0, sizeof w->pushed);
    assert_true(loop_until(w->loop, all_pushed, w, 5000));
    assert_string_equal(w->generation, "rewritten");
    assert_int_equal(SAY(w, "LLEN", "{t}:queue:0"), 2 * SEGMENTS); /* copies: the ledger knows */
}

static void redis_that_dies_comes_back_empty(void **state)
{
    struct world *w = *state;

    assert_true(loop_until(w->loop, all_pushed, w, 5000));
    redis_server_stop(&w->server);
    assert_true(loop_until(w->loop, eyes_closed, w, 3000));
    redis_server_start(&w->server, NULL);
    lost_and_again(w);
}

/* A consistent but older Redis: fewer pushes than our tickets, same generation. */
static void redis_that_went_back_is_renewed(void **state)
{
    struct world *w = *state;

    assert_true(loop_until(w->loop, all_pushed, w, 5000));
    SAY(w, "EVAL",
        "redis.call('RPOP', '{t}:queue:0') redis.call('HINCRBY', '{t}:meta:0', 'pushed', -1)", "0");
    memset(w->pushed, 0, sizeof w->pushed);
    assert_true(loop_until(w->loop, all_pushed, w, 5000));
    assert_int_equal(SAY(w, "LLEN", "{t}:queue:0"), 2 * SEGMENTS - 1);
}

static bool was_told(void *arg)
{
    return strcmp(((struct world *)arg)->ranges, "{[1,8)}") == 0;
}

static bool was_asked(void *arg)
{
    return ((struct world *)arg)->again > 0;
}

static void applied_comes_back_and_the_popped_is_asked_for(void **state)
{
    struct world *w = *state;

    assert_true(loop_until(w->loop, all_pushed, w, 5000));
    SAY(w, "EVAL",
        "redis.call('DEL', '{t}:queue:0') redis.call('HSET', '{t}:meta:0', 'popped', 8) "
        "redis.call('HSET', '{t}:applied:0', '" EPOCH "', '3 {[1,8)}')",
        "0");
    assert_true(loop_until(w->loop, was_told, w, 5000));
    assert_true(loop_until(w->loop, was_asked, w, 5000)); /* 8 was popped and is not applied */
    assert_true(loop_until(w->loop, all_pushed, w, 5000));
    assert_int_equal(w->again, 1);
    assert_int_equal(SAY(w, "LLEN", "{t}:queue:0"), 1);
}

static void a_full_queue_holds_and_goes_on(void **state)
{
    struct world *w = *state;

    w->settings.redis_queue_bytes = 200; /* three envelopes of 64 bytes */
    assert_true(loop_until(w->loop, three_pushed, w, 5000));
    assert_false(loop_until(w->loop, all_pushed, w, 200));
    assert_int_equal(SAY(w, "LLEN", "{t}:queue:0"), 3);
    w->settings.redis_queue_bytes = 1 << 20;
    assert_true(loop_until(w->loop, all_pushed, w, 5000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, make_world, end_world)
        T(everything_is_pushed_once),
        T(each_way_to_lose_state),
        T(redis_that_dies_comes_back_empty),
        T(redis_that_went_back_is_renewed),
        T(applied_comes_back_and_the_popped_is_asked_for),
        T(a_full_queue_holds_and_goes_on),
    };

    return cmocka_run_group_tests_name("redis_writer", tests, NULL, NULL);
}
