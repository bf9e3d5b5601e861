/*
 * hold.c - the flusher's lock in Redis: taken, renewed by its own timer, given up.
 *
 * The lock saves work, it does not protect: the shard's row does.  A lease that is lost stops the next
 * attempt, not the one under way.  If we die on any line: the lock expires by itself.
 */
#include "workers/db_flusher/flusher.h"

#include "common/base/log.h"
#include "workers/db_flusher/adopt.h"

static void on_unlocked(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    (void)reply;
    (void)reason;
    if (f->leaving)
        harness_leave(f->harness, EXIT_ASKED);
}

void hold_give_up(struct flusher *f)
{
    reading_drop_ahead(f);
    if (f->lease.state != LEASE_NONE) {
        lease_given_up(&f->lease);
        stats_set(harness_stats(f->harness), METRIC_lock_held, 0);
        log_debug("lock_released", "token=%s", f->queue.token);
        queue_unlock(&f->queue, on_unlocked, f);
    } else if (f->leaving) {
        harness_leave(f->harness, EXIT_ASKED);
    }
    timer_stop(f->renew_timer);
}

void hold_leave(struct flusher *f)
{
    if (f->leaving || adopt_leave(f))
        return;
    f->leaving = true;
    f->busy = true; /* no more turns */
    timer_stop(f->turn_timer);
    hold_give_up(f);
}

void hold_lost(struct flusher *f)
{
    reading_drop_ahead(f);
    flusher_count(f, METRIC_lock_lost_total, 1);
    stats_set(harness_stats(f->harness), METRIC_lock_held, 0);
    log_warn("lock_lost", "token=%s", f->queue.token);
    timer_stop(f->renew_timer);
}

static void on_renewed(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    (void)reason;
    f->renewing = false;
    if (f->lease.state != LEASE_HELD)
        return;
    if (redis_said(reply, "ok"))
        lease_granted(&f->lease);
    else if (redis_said(reply, "lost") ? lease_refused(&f->lease)
                                       : lease_unanswered(&f->lease, mono_now()))
        hold_lost(f);
}

void hold_renew(void *arg)
{
    struct flusher *f = arg;

    if (f->lease.state != LEASE_HELD)
        return;
    timer_in_ms(f->renew_timer, f->settings->lock_renew_ms);
    if (f->renewing)
        return;
    f->renewing = true;
    lease_asked(&f->lease, mono_now());
    queue_renew(&f->queue, f->settings->lock_ttl_ms, on_renewed, f);
}

static void on_lock(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (redis_said(reply, "ok")) {
        lease_granted(&f->lease);
        flusher_count(f, METRIC_lock_acquired_total, 1);
        stats_set(harness_stats(f->harness), METRIC_lock_held, 1);
        log_debug("lock_taken", "token=%s", f->queue.token);
        timer_in_ms(f->renew_timer, f->settings->lock_renew_ms);
        f->empty_since = mono_never();
        if (f->aside_seen)
            reading_begin(f);
        else
            aside_begin(f);
        return;
    }
    lease_refused(&f->lease);
    if (redis_said(reply, "held")) {
        pg_disconnect(f->pg); /* another was faster: fifty that start together keep one connection */
        if (f->draining)
            hold_leave(f);
        else
            turn_end_calmly(f);
        return;
    }
    if (redis_refused(reply) == REDIS_REFUSED_oom) {
        f->unlocked = true; /* a full Redis must be drained: the shard's row protects */
        reading_begin(f);
        return;
    }
    turn_redis_failed(f, "lock", reply, reason);
}

void hold_take(struct flusher *f)
{
    lease_asked(&f->lease, mono_now());
    queue_lock(&f->queue, f->settings->lock_ttl_ms, on_lock, f);
}
