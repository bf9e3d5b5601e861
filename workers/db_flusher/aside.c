/*
 * aside.c - the flusher looks at what was set aside, once, when it first holds the lock.
 *
 * An older build moved there what it could not read (reading.c).  What this build reads goes back to the
 * queue's end and leaves `aside`; what it does not read stays.  Nothing depends on it: the spool has every
 * batch that is not applied, and its writer pushes it again; this is sooner, and keeps the list from
 * growing.  If we die between the two steps, the batch lies in both places and is skipped once.
 */
#include "workers/db_flusher/flusher.h"

#include "common/base/log.h"

#include <stdio.h>

static void look(struct flusher *f);

/* Seen to the end, or not to be had now: on with the queue either way. */
static void end(struct flusher *f, bool seen)
{
    if (seen && f->aside_taken)
        log_info("aside_taken_back", "envelopes=%lld left=%lld", (long long)f->aside_taken,
                 (long long)f->aside_at);
    f->aside_seen = seen;
    reading_begin(f);
}

static void on_forgotten(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    (void)reason;
    if (!reply || reply->kind != REDIS_NUMBER || reply->number < 1) {
        end(f, false);
        return;
    }
    f->aside_taken++;
    look(f);
}

static void on_put_back(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    (void)reason;
    if (redis_said(reply, "ok"))
        queue_forget_aside(&f->queue, &f->load, on_forgotten, f);
    else
        end(f, false); /* full, or another generation: at the next lock */
}

static void on_element(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    (void)reason;
    if (!reply || (reply->kind != REDIS_BYTES && reply->kind != REDIS_NIL)) {
        end(f, false);
        return;
    }
    if (reply->kind == REDIS_NIL) {
        end(f, true);
        return;
    }
    load_clear(&f->load);
    if (load_reserve(&f->load, reply->length + 1)) {
        end(f, false);
        return;
    }
    switch (load_add(&f->load, reply->text, reply->length)) {
    case LOAD_ADDED:
        queue_put_back(&f->queue, &f->load, on_put_back, f);
        break;
    case LOAD_NEWER:
        f->aside_at++;
        look(f);
        break;
    case LOAD_NO_MEMORY:
    default:
        end(f, false);
        break;
    }
}

static void look(struct flusher *f)
{
    queue_look_aside(&f->queue, f->aside_at, on_element, f);
}

static void on_generation(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    (void)reason;
    if (!redis_said(reply, "ok") || reply->items < 5) {
        end(f, false);
        return;
    }
    snprintf(f->load.generation, sizeof f->load.generation, "%s", reply->item[1].text);
    look(f);
}

void aside_begin(struct flusher *f)
{
    f->aside_at = f->aside_taken = 0;
    queue_peek(&f->queue, &(struct queue_part){0}, on_generation, f);
}
