/*
 * aggregator.c - the worker that takes events, makes them durable, and hands them on in batches.
 *
 * Owns one lane of the spool and ties its parts together: ingest collects a group, the spool commits
 * it through the syncer thread, the answers go out when it is durable; the spool seals, deliver sends.
 * Nothing here waits: one commit is with the disk while the next group collects, and the look before
 * the loop sleeps starts whatever can be started.
 * The lane's lock is the right to everything else: until it is held nothing is bound, nothing read.
 *
 * If we die on any line: what was answered with A1 is durable, what was not is asked again.
 */
#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/bus/bus_crowd.h"
#include "common/bus/bus_guard.h"
#include "common/harness/harness.h"
#include "workers/aggregator/deliver.h"
#include "workers/aggregator/fence.h"
#include "workers/aggregator/ingest.h"
#include "workers/aggregator/keys_task.h"
#include "workers/aggregator/recover.h"
#include "workers/aggregator/spool.h"
#include "workers/aggregator/window_file.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TICK_MS 20
#define UPKEEP_MS 1000
#define RECOVER_MS 10000
#define ALIVE_MS 200
#define LANE_RETRY_MS 250
#define REPLIES_HIGH_WATER 100000 /* answers of one group commit may all be for one peer */

struct aggregator {
    struct harness *harness;
    const struct settings *settings;
    struct lane lane;
    struct window *window;
    struct syncer *syncer;
    struct spool spool;
    struct ingest ingest;
    struct deliver deliver;
    struct bus *bus;
    struct bus_socket *receipts, *batches;
    struct watch *disk;
    struct timer *tick, *lane_retry;
    struct fences *fences;
    bool paused; /* ingest, by the operator, until pause_ends */
    mono_t pause_ends, hold_ends; /* hold_ends: the whole fleet's */
    mono_t upkeep_at, recover_at, lane_deadline, alive_at;
    unsigned connections_most, turned_away;
    bool started, draining, acked_paused, unacked_paused;
};

static int64_t now_ms(void)
{
    return wall_now().micros / 1000;
}

static const char *refusing(const struct aggregator *a, mono_t now)
{
    if (a->draining)
        return "spendd is stopping";
    if ((a->paused && !mono_reached(now, a->pause_ends)) || !mono_reached(now, a->hold_ends))
        return "ingest is paused by the operator";
    if (spool_stuck(&a->spool, now))
        return "the spool cannot be written";
    /* `full` is the disk's word, once a second; our own bytes are known at each commit. */
    return a->lane.full || a->lane.bytes + a->lane.open_bytes >= a->settings->spool_max_bytes
               ? "the spool is full"
               : NULL;
}

/* Only when it changes: to resume is to look again. */
static void pause_reading(struct aggregator *a)
{
    bool acked = ingest_crowded(&a->ingest), unacked = acked || a->ingest.refusing != NULL;

    if (acked != a->acked_paused) {
        bus_pause(a->ingest.acked, acked);
        if (a->ingest.posts != NULL)
            bus_pause(a->ingest.posts, acked);
    }
    if (a->ingest.unacked != NULL && unacked != a->unacked_paused)
        bus_pause(a->ingest.unacked, unacked);
    a->acked_paused = acked;
    a->unacked_paused = unacked;
}

/* Starts what can be started; never more to do in this turn. */
static bool look(void *arg)
{
    struct aggregator *a = arg;
    mono_t now = mono_now();
    struct group *group;

    if (!a->started)
        return false;
    a->ingest.refusing = refusing(a, now);
    if (!spool_busy(&a->spool, now) && ingest_waiting(&a->ingest)) {
        group = ingest_swap(&a->ingest);
        if (group->records.used > 0)
            spool_commit(&a->spool, group->records.data, group->records.used, group->records_count);
        else
            ingest_settle(&a->ingest, true); /* only repeats, and what they repeat is durable now */
    }
    pause_reading(a);
    return false;
}

static void on_disk(void *arg, short revents)
{
    struct aggregator *a = arg;

    (void)revents;
    switch (spool_done(&a->spool, mono_now())) {
    case SPOOL_COMMITTED:
        ingest_settle(&a->ingest, true);
        break;
    case SPOOL_FAILED:
        ingest_settle(&a->ingest, false);
        break;
    case SPOOL_GONE:
        /* Somebody took the directory or the file away.  A restart makes the lane anew and recovers
         * what is there; who waits for an answer gets none and sends again. */
        log_error("spool_gone", "lane=%s", a->lane.path);
        harness_leave(a->harness, EXIT_TEMPORARY);
        break;
    case SPOOL_SEALED:
        fences_look(a->fences);
        a->spool.seal_now = a->draining || fences_seal(a->fences);
        deliver_pump(&a->deliver);
        break;
    case SPOOL_NOTHING:
        break;
    }
}

static void on_receipt(void *arg, struct bus_socket *socket, const struct bus_frame *frames,
                       size_t count)
{
    struct aggregator *a = arg;
    struct msg msg;
    struct err err;

    (void)socket;
    if (count != 1 || msg_decode(&msg, frames[0].data, frames[0].bytes, &err) != 0) {
        stats_add(harness_stats(a->harness), METRIC_frames_malformed_total, 1);
        return;
    }
    if (msg.kind == MSG_hold)
        a->hold_ends = mono_after_ms(mono_now(), msg.hold.ingest_ms);
    deliver_heard(&a->deliver, &msg, now_ms());
    deliver_pump(&a->deliver);
}

static void tell_crowd(struct aggregator *a)
{
    if (a->turned_away == 0)
        return;
    stats_add(harness_stats(a->harness), METRIC_connections_refused_total, a->turned_away);
    log_warn("connections_full", "most=%u turned_away=%u", a->connections_most, a->turned_away);
    a->turned_away = 0;
}

/* Once a second: what may go goes, and the figures are told. */
static void upkeep(struct aggregator *a, mono_t now)
{
    const struct settings *s = a->settings;
    int64_t ms = now_ms(), safe = ms - (s->dedupe_seconds + 1) * 1000;

    if (a->spool.ids_safe_ms > safe)
        safe = a->spool.ids_safe_ms;
    a->spool.image_wanted |= s->spool_keep_applied_s < s->dedupe_seconds ||
                             a->lane.bytes > s->spool_max_bytes / 10 * 8 || a->lane.full;
    tell_crowd(a);
    window_expire(a->window, (uint32_t)(ms / 1000));
    lane_upkeep(&a->lane, ms, safe);
    lane_figures(&a->lane);
    stats_set(harness_stats(a->harness), METRIC_ingest_refusing, a->ingest.refusing != NULL);
    harness_status(a->harness, "segments %" PRId64 " unapplied of %zu, %" PRId64 " bytes%s%s",
                   a->lane.unapplied, a->lane.count, a->lane.bytes + a->lane.open_bytes,
                   a->ingest.refusing != NULL ? "; refusing: " : "",
                   a->ingest.refusing != NULL ? a->ingest.refusing : "");
    a->upkeep_at = mono_after_ms(now, UPKEEP_MS);
}

/* What recovery had to leave, and lanes that have no owner any more: a short step now and then. */
static void recover_more(struct aggregator *a, mono_t now)
{
    if (!mono_reached(now, a->recover_at))
        return;
    lane_retry_hurt(&a->lane);
    if (recover_step(&a->lane, a->settings->aggregator_processes))
        a->recover_at = mono_now();
    else
        a->recover_at = mono_after_ms(now, RECOVER_MS);
}

static void on_tick(void *arg)
{
    struct aggregator *a = arg;
    mono_t now = mono_now();

    if (mono_reached(now, a->upkeep_at))
        upkeep(a, now);
    if (!a->draining)
        recover_more(a, now);
    a->turned_away += bus_crowd_turn_away(a->bus);
    a->ingest.refusing = refusing(a, now);
    a->deliver.cursor = 0; /* the list may have moved */
    deliver_pump(&a->deliver);
    fences_look(a->fences);
    if (a->draining && !ingest_waiting(&a->ingest) && spool_empty(&a->spool) &&
        deliver_finished(&a->deliver)) {
        harness_leave(a->harness, EXIT_ASKED);
        return;
    }
    timer_in_ms(a->tick, TICK_MS);
}

/* The sockets listen already, in the supervisor and in every aggregator: who connects while one of us is
 * away is accepted by another one, or waits. */
static struct bus_socket *bind_one(struct aggregator *a, enum bus_kind kind, unsigned number, struct err *err)
{
    const struct settings *s = a->settings;
    /* Twice the limit: a message somewhat too large is answered, a larger one cut off. */
    const struct bus_limits limits = {.max_message_bytes = 2 * s->ingest_max_message_bytes,
                                      .send_high_water = REPLIES_HIGH_WATER,
                                      .listener = harness_listener(a->harness, number)};

    if (kind == BUS_ROUTER)
        return bus_bind(a->bus, kind, s->ingest_acked, &limits, ingest_acked, &a->ingest, err);
    return bus_bind(a->bus, kind, s->ingest_unacked, &limits, ingest_unacked, &a->ingest, err);
}

static void on_guard(void *arg, bool bad, const char *event, const char *text)
{
    (void)arg;
    (bad ? log_warn : log_info)(event, "%s", text);
}

static int guard_ingest(struct aggregator *a, struct err *err)
{
    const struct bus_guard guard = {.certificate = a->settings->ingest_curve_certificate,
                                    .clients = a->settings->ingest_curve_clients,
                                    .tell = on_guard};

    return guard.certificate[0] != '\0' ? bus_guard(a->bus, &guard, err) : 0;
}

/* From the gateway, where there is HTTP ingest. */
static int bind_posts(struct aggregator *a, struct err *err)
{
    if (strcmp(a->settings->http_ingest_listen, "off") == 0)
        return 0;
    a->ingest.posts = bus_answer(a->bus, BUS_posts, a->lane.index, ingest_posted, &a->ingest, err);
    return a->ingest.posts == NULL ? -1 : 0;
}

static int bind_ingest(struct aggregator *a, struct err *err)
{
    a->ingest.acked = bind_one(a, BUS_ROUTER, 0, err);
    if (a->ingest.acked == NULL || bind_posts(a, err) != 0)
        return -1;
    if (strcmp(a->settings->ingest_unacked, "off") == 0)
        return 0;
    a->ingest.unacked = bind_one(a, BUS_PULL, 1, err);
    return a->ingest.unacked == NULL ? -1 : 0;
}

/* A recovery of many segments on a slow disk takes longer than the supervisor's patience. */
static void recovering(void *arg)
{
    struct aggregator *a = arg;
    mono_t now = mono_now();

    if (!mono_reached(now, a->alive_at))
        return;
    a->alive_at = mono_after_ms(now, ALIVE_MS);
    harness_status(a->harness, "recovers: %zu segments so far", a->lane.count);
}

/* The lane is ours: recover, then bind. */
static int start(struct aggregator *a, struct err *err)
{
    struct stats_page *stats = harness_stats(a->harness);

    a->lane.alive = recovering;
    a->lane.alive_arg = a;
    if (recover_lane(&a->lane, err) != 0)
        return -1;
    if (a->lane.index == 0)
        recover_adopt(&a->lane, a->settings->aggregator_processes);
    a->spool.image_fd = -1;
    a->window = window_file_open(&a->lane, &a->spool.image_fd, err);
    a->syncer = syncer_start(err);
    if (a->syncer == NULL)
        return -1;
    a->lane.alive = NULL;
    a->recover_at = mono_after_ms(mono_now(), RECOVER_MS);
    spool_init(&a->spool, &a->lane, a->syncer, a->window);
    a->disk = harness_watch(a->harness, syncer_fd(a->syncer), POLLIN, on_disk, a);
    ingest_init(&a->ingest, a->settings, stats, a->window);
    a->batches = bus_write(a->bus, BUS_batches, 0, err);
    if (a->batches == NULL)
        return -1;
    deliver_init(&a->deliver, &a->lane, a->batches);
    a->receipts = bus_read(a->bus, BUS_receipts, a->lane.index, on_receipt, a, err);
    if (a->receipts == NULL || bind_ingest(a, err) != 0)
        return -1;
    a->connections_most = bus_crowd_bound(a->bus, (unsigned)a->settings->ingest_max_connections);
    if (a->connections_most < (unsigned)a->settings->ingest_max_connections)
        log_warn("connections_bounded", "most=%u reason=\"the limit of open files (LimitNOFILE=) allows no more\"",
                 a->connections_most);
    lane_upkeep(&a->lane, now_ms(), 0);
    a->hold_ends = mono_now();
    a->fences = fences_open(a->harness, &a->lane, &a->spool);
    a->tick = harness_timer(a->harness, on_tick, a);
    timer_in_ms(a->tick, TICK_MS);
    a->started = true;
    a->ingest.refusing = refusing(a, mono_now());
    harness_ready(a->harness);
    return 0;
}

/* Takes the lane if it is free.  1: not yet. */
static int take_lane(struct aggregator *a, int *code, struct err *err)
{
    int held = lane_open(&a->lane, a->settings, harness_stats(a->harness),
                         harness_index(a->harness), err);

    *code = EXIT_TEMPORARY;
    if (held != 0)
        return held;
    if (recover_volume(a->lane.path, a->settings->spool_allow_volatile, err) != 0) {
        *code = EXIT_CONFIGURATION;
        return -1;
    }
    return start(a, err);
}

static void on_lane_retry(void *arg)
{
    struct aggregator *a = arg;
    mono_t now = mono_now();
    struct err err;
    int code, held = take_lane(a, &code, &err);

    if (held == 0)
        return;
    if (held < 0 || mono_reached(now, a->lane_deadline)) {
        log_error("lane_not_taken", "error=\"%s\"", err.text);
        harness_leave(a->harness, code);
        return;
    }
    harness_status(a->harness, "waits: %.120s", err.text);
    timer_in_ms(a->lane_retry, LANE_RETRY_MS);
}

static void aggregator_close(void *self)
{
    struct aggregator *a = self;

    if (a == NULL)
        return;
    if (a->disk != NULL)
        harness_unwatch(&a->disk);
    if (a->tick != NULL)
        harness_untimer(&a->tick);
    if (a->lane_retry != NULL)
        harness_untimer(&a->lane_retry);
    fences_close(&a->fences);
    syncer_stop(&a->syncer);
    if (a->spool.syncer != NULL)
        spool_cleanup(&a->spool);
    if (a->bus != NULL)
        bus_close(&a->bus, 500);
    ingest_cleanup(&a->ingest);
    window_free(&a->window);
    lane_close(&a->lane);
    free(a);
}

static void *aggregator_open(struct harness *harness, int *code, struct err *err)
{
    struct aggregator *a = calloc(1, sizeof *a);
    int held;

    *code = EXIT_TEMPORARY;
    if (a == NULL || sodium_init() < 0)
        bug("cannot begin: no memory, or no libsodium");
    a->harness = harness;
    a->settings = harness_settings(harness);
    a->lane.directory = -1;
    harness_wait(harness);
    a->bus = bus_open(harness, a->settings->runtime_dir, err);
    if (a->bus == NULL)
        goto failed;
    *code = EXIT_CONFIGURATION;
    if (guard_ingest(a, err) != 0)
        goto failed;
    *code = EXIT_TEMPORARY;
    harness_before_sleep(harness, look, a); /* after the bus's: what it just read goes to the disk */
    if (mkdir(a->settings->spool_dir, 0700) != 0 && errno != EEXIST) {
        err_errno(err, "cannot make spool.dir %s", a->settings->spool_dir);
        goto failed;
    }
    held = take_lane(a, code, err);
    if (held < 0)
        goto failed;
    if (held > 0) {
        /* An orphan of a supervisor that died is still draining. */
        log_info("lane_wait", "why=\"%s\"", err->text);
        a->lane_deadline = mono_after_ms(mono_now(), a->settings->supervisor_drain_ms);
        a->lane_retry = harness_timer(harness, on_lane_retry, a);
        timer_in_ms(a->lane_retry, LANE_RETRY_MS);
    }
    return a;
failed:
    aggregator_close(a);
    return NULL;
}

static void aggregator_drain(void *self, mono_t deadline)
{
    struct aggregator *a = self;

    (void)deadline;
    if (!a->started) {
        harness_leave(a->harness, EXIT_ASKED);
        return;
    }
    a->draining = true;
    a->spool.seal_now = true;
    a->ingest.refusing = refusing(a, mono_now());
}

static void aggregator_reload(void *self, const struct settings *before)
{
    struct aggregator *a = self;

    (void)before;
    bus_guard_reload(a->bus);
}

static void aggregator_record(void *self, const struct msg *record)
{
    struct aggregator *a = self;

    if (record->kind != MSG_pause || strcmp(record->pause.what, "ingest") != 0)
        return;
    a->paused = record->pause.left_ms != 0;
    a->pause_ends = record->pause.left_ms < 0 ? mono_never()
                                              : mono_after_ms(mono_now(), record->pause.left_ms);
    if (a->started) /* from the next event on, not from the next tick */
        a->ingest.refusing = refusing(a, mono_now());
}

const struct worker worker = {
    .name = "aggregator",
    .open = aggregator_open,
    .reload = aggregator_reload,
    .record = aggregator_record,
    .drain = aggregator_drain,
    .close = aggregator_close,
    .task = &keys_task,
};
