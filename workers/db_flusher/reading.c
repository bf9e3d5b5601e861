/*
 * reading.c - the flusher reads the queue: envelopes into the load, the versions published of their
 * epochs, then the attempt.  Once a minute it reads what is published instead, to audit the ledger.
 *
 * Nothing leaves the queue here but an envelope of a newer build, which goes aside.  If we die on any
 * line: the queue is as it was.
 */
#include "workers/db_flusher/flusher.h"

#include "common/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLOCKS_BEFORE_QUEUEING 2

static void start_attempt(struct flusher *f)
{
    struct flush_ask ask = {
        .load = &f->load,
        .nowait = f->unlocked,
        .lock_tables = f->deadlocks >= DEADLOCKS_BEFORE_QUEUEING,
        .look_early = f->early > 0,
        .statement_ms = f->statement_ms,
    };

    attempt_run(f->attempt, &ask, outcome_take, f);
}

static int64_t version_of(const struct redis_reply *item)
{
    return item->kind == REDIS_BYTES && item->text ? strtoll(item->text, NULL, 10) : -1;
}

#ifdef MUTANT_PUBLISH_BEFORE_COMMIT
static void on_too_early(void *arg, const struct redis_reply *reply, const char *reason)
{
    (void)reply;
    (void)reason;
    start_attempt(arg);
}

/* tests/mutants: says "applied" of what is not committed yet. */
static void publish_too_early(struct flusher *f)
{
    for (size_t e = 0; e < f->load.epochs; e++) {
        struct text ranges = {0};

        text_put(&ranges, "{[1,");
        for (size_t i = 0; i < f->load.batches; i++)
            if (i + 1 == f->load.batches)
                text_format(&ranges, "%llu)}",
                            (unsigned long long)f->load.batch[i].identity.seq + 1);
        free(f->load.epoch[e].applied);
        f->load.epoch[e].applied = ranges.data;
        f->load.epoch[e].version = f->load.epoch[e].published + 1;
    }
    queue_publish(&f->queue, &f->load, on_too_early, f);
}
#endif

static void on_versions(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (!reply || reply->kind != REDIS_ARRAY || reply->items != f->load.epochs) {
        turn_redis_failed(f, "published", reply, reason);
        return;
    }
    for (size_t i = 0; i < reply->items; i++)
        f->load.epoch[i].published = version_of(&reply->item[i]);
#ifdef MUTANT_PUBLISH_BEFORE_COMMIT
    publish_too_early(f);
#else
    start_attempt(f);
#endif
}

static void on_set_aside(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    log_error("envelope_newer", "reason=\"written by a newer build: set aside, the lock is left to it\" "
              "answer=%s", redis_said(reply, "ok") ? "ok" : "none");
    (void)reason;
    hold_give_up(f);
    turn_end(f, f->settings->lock_ttl_ms + turn_jitter(f->settings->lock_ttl_ms));
}

static int take_envelopes(struct flusher *f, const struct redis_reply *reply, char sha1[41])
{
    size_t bytes = 0;

    sha1[0] = '\0';
    for (size_t i = 5; i < reply->items; i++)
        bytes += reply->item[i].length;
    load_clear(&f->load);
    if (load_reserve(&f->load, bytes + 1))
        return -1;
    for (size_t i = 5; i < reply->items; i++) {
        enum load_added added = load_add(&f->load, reply->item[i].text, reply->item[i].length);

        if (added == LOAD_NO_MEMORY)
            return -1;
        if (added == LOAD_NEWER && i == 5)
            load_sha1(reply->item[i].text, reply->item[i].length, sha1);
        if (added == LOAD_NEWER)
            break; /* what stands before it first */
    }
    return 0;
}

/* Held and nothing to do: the lock is kept for a while, work tends to follow work. */
static void queue_is_empty(struct flusher *f)
{
    mono_t now = mono_now();

    if (f->draining) {
        hold_leave(f);
        return;
    }
    if (f->empty_since.micros == mono_never().micros)
        f->empty_since = now;
    if (mono_ms_between(f->empty_since, now) >= f->settings->lock_linger_ms)
        hold_give_up(f);
    turn_end_calmly(f);
}

static void on_queue(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;
    char sha1[41];

    if (!redis_said(reply, "ok") || reply->items < 5) {
        turn_redis_failed(f, "peek", reply, reason);
        return;
    }
    snprintf(f->queue.generation, sizeof f->queue.generation, "%s", reply->item[1].text);
    f->waiting = redis_item_number(reply, 3);
    if (flusher_paused(f)) {
        turn_end(f, 0); /* Redis has just said so: the next turn stands back */
        return;
    }
    if (take_envelopes(f, reply, sha1)) {
        outcome_less(f);
        log_error("out_of_memory", "envelopes=%zu", reply->items - 5);
        turn_end_backing_off(f);
    } else if (sha1[0]) {
        queue_aside(&f->queue, sha1, on_set_aside, f);
    } else if (f->load.batches == 0) {
        queue_is_empty(f);
    } else {
        f->empty_since = mono_never();
        if (f->load.epochs)
            queue_published(&f->queue, &f->load, on_versions, f);
        else
            start_attempt(f); /* nothing but corrupt ones */
    }
}

static void on_all_published(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (!reply || reply->kind != REDIS_ARRAY) {
        turn_redis_failed(f, "audit", reply, reason);
        return;
    }
    for (size_t i = 0; i + 1 < reply->items; i += 2)
        if (load_note_epoch(&f->load, reply->item[i].text) == 0)
            load_epoch(&f->load, reply->item[i].text)->published = version_of(&reply->item[i + 1]);
    if (f->load.epochs == 0) {
        f->audit_due = mono_after_ms(mono_now(), AUDIT_MS / 2 + turn_jitter(AUDIT_MS));
        turn_end(f, 0);
        return;
    }
    f->auditing = true;
    start_attempt(f);
}

static void on_audit_peek(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (!redis_said(reply, "ok") || reply->items < 5) {
        turn_redis_failed(f, "peek", reply, reason);
        return;
    }
    snprintf(f->queue.generation, sizeof f->queue.generation, "%s", reply->item[1].text);
    f->waiting = 0;
    load_clear(&f->load);
    queue_all_published(&f->queue, on_all_published, f);
}

/* How long the fleet is to hold its flushes. */
void reading_hold(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;
    int64_t left = queue_hold_left(&f->queue, reply);

    (void)reason;
    if (left >= 0) /* else as it was: it ends by itself */
        f->hold_ends = mono_after_ms(mono_now(), left);
}

void reading_begin(struct flusher *f)
{
    queue_hold(&f->queue, reading_hold, f); /* answered before the queue is read */
    if (mono_reached(mono_now(), f->audit_due) && !f->unlocked)
        queue_peek(&f->queue, 0, 0, on_audit_peek, f);
    else
        queue_peek(&f->queue, f->limit, f->settings->flush_bytes, on_queue, f);
}
