/*
 * published.c - what is published of the load's epochs is read, then the attempt begins.  Each
 * flush.audit_ms all that is published is read instead, to audit the ledger: an attempt without batches.
 *
 * Read last, right before the attempt, and after the flush before it was published: a database that went
 * back shows as a ledger row that is older than this.
 * If we die on any line: nothing was changed.
 */
#include "workers/db_flusher/flusher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static void start_attempt(struct flusher *f)
{
    struct flush_ask ask = {
        .load = &f->load,
        .nowait = f->unlocked,
        .lock_tables = f->deadlocks >= DEADLOCKS_BEFORE_QUEUEING,
        .look_early = f->early > 0,
        .statement_ms = f->statement_ms,
        .meanwhile = reading_ahead,
        .meanwhile_arg = f,
    };

    f->flush_began = mono_now();
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

void published_read(struct flusher *f)
{
    if (f->load.epochs)
        queue_published(&f->queue, &f->load, on_versions, f);
    else
        start_attempt(f); /* nothing but corrupt ones */
}

mono_t published_audit_next(const struct flusher *f)
{
    int64_t ms = f->settings->flush_audit_ms;

    return mono_after_ms(mono_now(), ms / 2 + turn_jitter(ms));
}

void published_audited(struct flusher *f)
{
    f->auditing = false;
    f->audited = true;
    f->audit_due = published_audit_next(f);
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
        published_audited(f);
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
    snprintf(f->load.generation, sizeof f->load.generation, "%s", reply->item[1].text);
    f->waiting = 0;
    load_clear(&f->load);
    queue_all_published(&f->queue, on_all_published, f);
}

void published_audit(struct flusher *f)
{
    queue_peek(&f->queue, &(struct queue_part){0}, on_audit_peek, f);
}
