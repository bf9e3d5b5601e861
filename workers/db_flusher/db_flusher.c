/*
 * db_flusher.c - the worker that brings batches from Redis into PostgreSQL.  One flusher in the fleet
 * holds the lock and works; the others look at the queue's length.
 *
 * A turn is a chain of questions, each asked when the one before is answered:
 *
 *   look at the queue -> who has the lock -> connect -> schema -> target -> lock      (not the holder)
 *   connect -> audit (each flush.audit_ms) -> read the queue -> published versions -> attempt -> publish
 *
 * and ends with end_turn(), which says when the next one begins.  Nothing here waits: the lease is
 * renewed by its own timer while the transaction runs.  A lease that is lost does not stop the attempt
 * under way (the rows it has locked protect it), it only stops the next one.
 *
 * If we die on any line: before COMMIT nothing happened; after it, what was not yet published is still
 * in the queue and is found applied by the next flusher.  The lock expires by itself.
 */
#include "workers/db_flusher/flusher.h"

#include "common/base/log.h"
#include "workers/db_flusher/adopt.h"
#include "workers/db_flusher/asked.h"

#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_FIRST 8            /* batches of the first flush; doubled while its sums are few */
#define REPLY_SLACK_BYTES (80 * 1024 * 1024) /* one envelope is taken whatever its size */
#define MMAP_FROM_BYTES (256 * 1024)

/* Somebody else has it: our connection serves nobody, but for the adoption or an errand. */
static void another_has_the_lock(struct flusher *f)
{
    if (f->draining) {
        hold_leave(f);
        return;
    }
    if (pg_connected(f->pg) && !adopt_holds(f) && !asked_any(f))
        pg_disconnect(f->pg);
    turn_end_calmly(f);
}

static void on_audit_taken(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (redis_said(reply, "ok")) {
        database_ensure(f);
    } else if (redis_said(reply, "held")) {
        f->audit_due = published_audit_next(f);
        turn_end_calmly(f);
    } else {
        turn_redis_failed(f, "audit", reply, reason);
    }
}

/* The queue is empty.  One instance of an idle fleet audits for all: each would need a connection for it.  Not so the
 * first time in a life: a flusher begins anew when its database was away. */
static void audit_idle(struct flusher *f)
{
    if (f->audited)
        queue_audit(&f->queue, 2 * f->settings->flush_audit_ms, on_audit_taken, f);
    else
        database_ensure(f);
}

static void on_holder(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (!reply || reply->kind == REDIS_ERROR)
        turn_redis_failed(f, "holder", reply, reason);
    else if (reply->kind != REDIS_NIL)
        another_has_the_lock(f);
    else if (f->sees == SEES_WORK)
        database_ensure(f);
    else if (f->sees == SEES_AUDIT)
        audit_idle(f);
    else
        turn_end_calmly(f);
}

static void on_look(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (!redis_said(reply, "ok") || reply->items < 5) {
        turn_redis_failed(f, "peek", reply, reason);
        return;
    }
    f->sees = redis_item_number(reply, 3) > 0                          ? SEES_WORK
              : !f->draining && mono_reached(mono_now(), f->audit_due) ? SEES_AUDIT
                                                                       : SEES_NOTHING;
    if (f->sees != SEES_NOTHING || (!f->draining && pg_connected(f->pg)))
        queue_holder(&f->queue, on_holder, f);
    else if (f->draining)
        hold_leave(f);
    else
        turn_end_calmly(f);
}

/* Paused, by the operator or for the fleet, or stepped down. */
static bool stands_back(struct flusher *f)
{
    bool paused = flusher_paused(f), stands = paused || asked_to_stand_back(f);

    if (stands)
        harness_status(f->harness, paused ? "paused by the operator" : "stepped down for a while");
    else if (f->stood_back)
        harness_status(f->harness, "%s", f->word[0] ? f->word : "not connected yet");
    f->stood_back = stands;
    return stands;
}

static void on_hold_only(void *arg, const struct redis_reply *reply, const char *reason)
{
    reading_hold(arg, reply, reason);
    turn_end_calmly(arg);
}

static void turn(void *arg)
{
    struct flusher *f = arg;

    if (f->busy)
        return;
    f->busy = true;
    f->turn_began = mono_now();
    reading_turn(f);
    adopt_begin_turn(f);
    if (f->gate_closed) {
        hold_give_up(f);
        if (f->draining)
            hold_leave(f);
        else
            turn_end_calmly(f);
    } else if (schema_install(f->schema)[0] && asked_due(f)) {
        asked_turn(f);
    } else if (stands_back(f)) {
        hold_give_up(f);
        if (f->draining)
            hold_leave(f);
        else
            queue_hold(&f->queue, on_hold_only, f);
    } else if (!schema_install(f->schema)[0]) {
        database_ensure(f); /* first start: an empty database gets its schema before the first event */
    } else if (adopt_due(f)) {
        adopt_turn(f);
    } else if (lease_held(&f->lease, f->turn_began)) {
        database_ensure(f);
    } else {
        if (f->lease.state == LEASE_HELD && lease_unanswered(&f->lease, f->turn_began))
            hold_lost(f);
        queue_peek(&f->queue, &(struct queue_part){0}, on_look, f);
    }
}

static void on_redis(void *arg, bool up, const char *reason)
{
    struct flusher *f = arg;

    if (up) {
        flusher_count(f, METRIC_redis_connects_total, 1);
        if (f->redis_refusals > 0 && !f->busy && !f->leaving)
            timer_in_ms(f->turn_timer, 0); /* it was Redis that the next turn waits for */
    } else {
        refusal_tell(&f->redis_voice, "redis_refused", "connection",
                     redis_refusal_of(f->redis, NULL), reason, mono_now());
    }
}

static void record(void *self, const struct msg *msg)
{
    struct flusher *f = self;

    if (msg->kind == MSG_pause && strcmp(msg->pause.what, "flush") == 0) {
        f->paused = msg->pause.left_ms != 0;
        f->pause_ends = msg->pause.left_ms < 0 ? mono_never()
                                               : mono_after_ms(mono_now(), msg->pause.left_ms);
    } else if (msg->kind == MSG_gate && strcmp(msg->gate.name, "database") == 0) {
        f->gate_closed = !msg->gate.open;
    } else {
        return;
    }
    if (!f->busy && !f->leaving)
        timer_in_ms(f->turn_timer, 0);
}

static void drain(void *self, mono_t deadline)
{
    struct flusher *f = self;

    (void)deadline; /* the harness leaves by itself then; what is left is in the spool */
    f->draining = true;
    if (!f->busy && !f->leaving)
        timer_in_ms(f->turn_timer, 0);
}

static void close_flusher(void *self)
{
    struct flusher *f = self;

    f->busy = f->leaving = true;
    pg_close(&f->pg); /* what is outstanding is answered, and ends its turn */
    redis_close(&f->redis);
    asked_close(&f->asked);
    harness_untimer(&f->turn_timer);
    harness_untimer(&f->renew_timer);
    harness_untimer(&f->idle_timer);
    adopt_close(f);
    free(f->stray);
    attempt_close(&f->attempt);
    flush_close(&f->flush);
    schema_close(&f->schema);
    layout_close(&f->layout);
    load_free(&f->load);
    load_free(&f->ahead);
    free(f);
}

static int open_stores(struct flusher *f, struct err *err)
{
    const struct settings *s = f->settings;
    char name[160];
    struct redis_options redis;
    struct pg_options pg = {s->database_url, "spendd db_flusher", s->database_connect_ms,
                            s->database_socket_timeout_ms};

    snprintf(name, sizeof name, "spendd-db_flusher-%s", s->instance);
    redis = redis_options_from(s, name);
    redis.reply_bytes_max = s->flush_bytes + REPLY_SLACK_BYTES;
    f->redis = redis_open(f->harness, &redis, on_redis, f, err);
    f->pg = f->redis ? pg_open(f->harness, &pg, err) : NULL;
    f->layout = f->pg ? layout_open(s, err) : NULL;
    f->schema = f->layout ? schema_open(f->pg, s, f->layout, err) : NULL;
    f->flush = f->schema ? flush_open(f->pg, s, f->layout, f->schema, err) : NULL;
    f->attempt = f->flush ? attempt_open(f->flush, s, err) : NULL;
    return f->attempt ? 0 : -1;
}

static void *open_flusher(struct harness *harness, int *code, struct err *err)
{
    struct flusher *f = calloc(1, sizeof *f);

    *code = EXIT_CONFIGURATION;
    if (!f || sodium_init() < 0) {
        err_set(err, "out of memory, or libsodium does not start");
        free(f);
        return NULL;
    }
    mallopt(M_MMAP_THRESHOLD, MMAP_FROM_BYTES); /* what one large flush took goes back */
    f->harness = harness;
    f->settings = harness_settings(harness);
    if (open_stores(f, err)) {
        free(f);
        return NULL;
    }
    queue_init(&f->queue, f->redis, f->settings);
    lease_init(&f->lease, f->settings->lock_ttl_ms);
    stats_set(harness_stats(harness), METRIC_lock_held, 0); /* a predecessor may have died with it */
    f->limit = f->settings->flush_batches < LIMIT_FIRST ? f->settings->flush_batches : LIMIT_FIRST;
    f->statement_ms = f->settings->database_statement_ms;
    f->schema_due = f->target_said = mono_now();
    f->audit_due = mono_now();
    f->empty_since = mono_never();
    f->turn_timer = harness_timer(harness, turn, f);
    f->renew_timer = harness_timer(harness, hold_renew, f);
    f->idle_timer = harness_timer(harness, database_watch, f);
    f->hold_ends = mono_now();
    f->asked = asked_open(f);
    f->adopt = adopt_open(f);
    timer_in_ms(f->turn_timer, 0);
    timer_in_ms(f->idle_timer, 1000);
    return f;
}

const struct worker worker = {
    .name = "db_flusher",
    .open = open_flusher,
    .record = record,
    .drain = drain,
    .close = close_flusher,
    .task = &migrate_task,
};
