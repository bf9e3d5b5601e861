/*
 * redis_writer.c - moves sealed batches from the aggregators' spools into the queue in Redis, and
 * brings back what PostgreSQL has applied.
 *
 * Its own process, so that a Redis that hangs or refuses never stops ingest.  Owns one
 * connection to Redis and both channels; holds nothing durable and is never the only holder of
 * anything: a batch is in its lane's spool until PostgreSQL has it.
 *
 *   writer_lanes.c   what it says to the lanes and hears from them
 *   writer_redis.c   what it says to Redis
 *   pending.c        decides what to ask for again
 *   writer_fleet.c   what it says to Redis of this instance, and hears for the whole fleet
 *   epochs.c         remembers what the lanes were told
 *
 * If we die on any line: the next redis_writer has another id, says hello, and is sent every batch
 * that is not applied.  What was pushed already is then in the queue twice; the ledger counts it
 * once.
 */
#include "workers/redis_writer/writer.h"

#include "common/base/log.h"
#include "workers/redis_writer/push_task.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define HELLO_MS 1000
#define HELLO_FIRST_MS 50 /* until every lane has answered */
#define IDLE_LOOK_MS 1000
#define DRAIN_LOOK_MS 100
#define BATCHES_IN_FLIGHT 4 /* of some megabytes each, over all lanes */

static bool all_lanes_heard(const struct writer *writer)
{
    for (unsigned i = 0; i < writer->lanes; i++)
        if (writer->lane[i].aggregator == 0)
            return false;
    return true;
}

static const char *hindrance(const struct writer *writer)
{
    if (fleet_push_paused(writer))
        return " (paused)";
    if (writer->full)
        return " (full)";
    return writer->refusals > 0 ? " (refused)" : "";
}

static void say_hello(void *arg)
{
    struct writer *writer = arg;

    lanes_hello(writer);
    timer_in_ms(writer->hello, all_lanes_heard(writer) ? HELLO_MS : HELLO_FIRST_MS);
    harness_status(writer->harness,
                   "redis %s%s%s, generation %.8s, %zu held, %zu outstanding, queue %" PRId64
                   " bytes%s",
                   redis_up(writer->redis) ? "up (" : "down", redis_node(writer->redis),
                   redis_up(writer->redis) ? ")" : "",
                   writer->generation[0] != '\0' ? writer->generation : "unknown", writer->held,
                   writer->pending.count, writer->queue_bytes,
                   hindrance(writer));
}

/* Draining: what the lanes sent is pushed, as far as Redis takes it; then we leave.  Twice found
 * empty, because a batch may still lie in the channel. */
static bool drained(struct writer *writer)
{
    bool empty = !redis_up(writer->redis) || writer->full || fleet_push_paused(writer) || writer->refusals > 0 ||
                 (writer->held == 0 && !writer->pushing);
    bool twice = empty && writer->drained_once;

    writer->drained_once = empty;
    return twice;
}

static void poll_redis(void *arg)
{
    struct writer *writer = arg;
    int64_t pause = writer->settings->redis_applied_poll_ms;

    if (writer->draining) {
        if (drained(writer)) {
            harness_leave(writer->harness, EXIT_ASKED);
            return;
        }
        pause = DRAIN_LOOK_MS;
    } else if (writer->pending.count == 0 && writer->held == 0 && pause < IDLE_LOOK_MS) {
        pause = IDLE_LOOK_MS;
    }
    redis_look(writer);
    timer_in_ms(writer->poll, pause);
}

static void redis_told(void *arg, bool up, const char *reason)
{
    struct writer *writer = arg;

    if (up) {
        stats_add(writer->stats, METRIC_redis_connects_total, 1);
        if (writer->down)
            log_info("redis_up", "node=%s held=%zu outstanding=%zu", redis_node(writer->redis),
                     writer->held, writer->pending.count);
        writer->down = false;
        redis_begin(writer);
    } else {
        /* A connection that was idle and is opened again is no news. */
        writer->down |= redis_refusal_of(writer->redis, NULL)->class != REFUSAL_NORMAL;
        redis_complain(writer, "connection", NULL, reason);
        redis_lost(writer);
    }
}

static int make_keys(struct writer *writer, struct err *err)
{
    const char *prefix = writer->settings->redis_prefix;
    int length = snprintf(writer->queue, KEY_BYTES, "%squeue:0", prefix);

    snprintf(writer->meta, KEY_BYTES, "%smeta:0", prefix);
    snprintf(writer->hold, KEY_BYTES, "%shold:0", prefix);
    snprintf(writer->instances, KEY_BYTES, "%sinstances", prefix);
    snprintf(writer->applied, KEY_BYTES, "%sapplied:0", prefix);
    return length + 2 < KEY_BYTES ? 0 : err_set(err, "redis.prefix is too long");
}

static int open_bus(struct writer *writer, struct err *err)
{
    writer->bus = bus_open(writer->harness, writer->settings->runtime_dir, err);
    if (writer->bus == NULL)
        return -1;
    writer->batches = bus_read(writer->bus, BUS_batches, 0, lanes_batch, writer, err);
    if (writer->batches == NULL)
        return -1;
    for (unsigned i = 0; i < writer->lanes; i++) {
        writer->lane[i].receipts = bus_write(writer->bus, BUS_receipts, i, err);
        if (writer->lane[i].receipts == NULL)
            return -1;
    }
    return 0;
}

static int open_redis(struct writer *writer, struct err *err)
{
    struct redis_options options = redis_options_from(writer->settings, "spendd-redis_writer");

    options.reply_bytes_max = 16 * 1024 * 1024;
    writer->down = true;
    writer->redis = redis_open(writer->harness, &options, redis_told, writer, err);
    return writer->redis != NULL ? 0 : -1;
}

static void close_writer(void *self)
{
    struct writer *writer = self;

    redis_close(&writer->redis);
    bus_close(&writer->bus, 500); /* the last receipts; a lane that is gone needs none */
    harness_untimer(&writer->fleet);
    harness_untimer(&writer->hello);
    harness_untimer(&writer->poll);
    held_drop_all(writer);
    epochs_cleanup(&writer->epochs);
    pending_cleanup(&writer->pending);
    free(writer);
}

static void *open_writer(struct harness *harness, int *code, struct err *err)
{
    struct writer *writer = calloc(1, sizeof *writer);

    *code = EXIT_TEMPORARY;
    if (writer == NULL || epochs_init(&writer->epochs) != 0) {
        err_set(err, "no memory");
        free(writer);
        return NULL;
    }
    /* Envelopes go back to the system when they are freed, whatever sizes went before. */
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);
    writer->harness = harness;
    writer->settings = harness_settings(harness);
    writer->stats = harness_stats(harness);
    writer->lanes = (unsigned)writer->settings->aggregator_processes;
    writer->credit = writer->lanes < BATCHES_IN_FLIGHT ? BATCHES_IN_FLIGHT / writer->lanes : 1;
    if (getrandom(&writer->id, sizeof writer->id, 0) != (ssize_t)sizeof writer->id)
        bug("getrandom");
    writer->hello = harness_timer(harness, say_hello, writer);
    writer->fleet = harness_timer(harness, fleet_look, writer);
    writer->poll = harness_timer(harness, poll_redis, writer);
    if (make_keys(writer, err) != 0 || open_bus(writer, err) != 0 || open_redis(writer, err) != 0) {
        close_writer(writer);
        return NULL;
    }
    writer->hold_ends = mono_now();
    timer_in_ms(writer->fleet, HELLO_FIRST_MS);
    timer_in_ms(writer->hello, HELLO_FIRST_MS);
    timer_in_ms(writer->poll, writer->settings->redis_applied_poll_ms);
    return writer;
}

static void record(void *self, const struct msg *msg)
{
    fleet_record(self, msg);
}

static void drain(void *self, mono_t deadline)
{
    struct writer *writer = self;

    (void)deadline; /* the harness leaves at it */
    writer->draining = true;
    timer_in_ms(writer->poll, 0);
}

static void reload(void *self, const struct settings *before)
{
    struct writer *writer = self;

    if (before->redis_repush_s != writer->settings->redis_repush_s)
        pending_hurry(&writer->pending, mono_now(), writer->settings->redis_repush_s * 1000);
    /* The next look was set by the old pause, which may be long. */
    if (before->redis_applied_poll_ms != writer->settings->redis_applied_poll_ms)
        timer_in_ms(writer->poll, 0);
}

extern const struct worker worker;
const struct worker worker = {
    .name = "redis_writer",
    .open = open_writer,
    .reload = reload,
    .record = record,
    .task = &push_task,
    .drain = drain,
    .close = close_writer,
};
