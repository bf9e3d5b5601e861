/*
 * turn.c - how a turn of the flusher ends, and when the next one begins.
 *
 * Exactly one of these functions ends each turn: at once, calmly (flush.ms), backing off with full
 * jitter, or standing down, where a human must act.  If we die on any line: nothing is held here.
 */
#include "workers/db_flusher/flusher.h"

#include "common/base/jitter.h"
#include "common/base/log.h"
#include "workers/db_flusher/adopt.h"
#include "workers/db_flusher/asked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_FIRST_MS 50
#define BACKOFFS_MOST 20
#define LAST_TRIES 3 /* in a row, while draining: what is left is in the spool, and nobody waits for it */

void flusher_count(struct flusher *f, enum metric metric, int64_t amount)
{
    stats_add(harness_stats(f->harness), metric, amount);
}

bool flusher_paused(const struct flusher *f)
{
    mono_t now = mono_now();

    return (f->paused && !mono_reached(now, f->pause_ends)) || !mono_reached(now, f->hold_ends);
}

int64_t turn_jitter(int64_t ms)
{
    return jitter_ms(ms, jitter_dice());
}

void turn_end(struct flusher *f, int64_t delay_ms)
{
    f->busy = false;
    timer_in_ms(f->turn_timer, delay_ms < 0 ? 0 : delay_ms);
}

/* flush.ms from the beginning of this turn to that of the next, or up to a fifth less, so that instances
 * do not march in step; never more: what is acknowledged is seen seal.ms + flush.ms + one flush later. */
void turn_end_calmly(struct flusher *f)
{
    int64_t pause = f->settings->flush_ms;

    turn_redis_works(f);
    pause -= turn_jitter(pause / 5);
    if (asked_due(f))
        pause = 0; /* an errand waits for the next turn */
    turn_end(f, adopt_pause(f, pause - mono_ms_between(f->turn_began, mono_now())));
}

void turn_end_backing_off(struct flusher *f)
{
    int64_t most = f->settings->database_backoff_max_ms;

    turn_end(f, 1 + jitter_backoff_ms(BACKOFF_FIRST_MS, most, (unsigned)f->backoff, jitter_dice()));
    f->backoff += f->backoff < BACKOFFS_MOST;
}

void turn_end_refused(struct flusher *f, enum pg_refusal refusal)
{
    const struct settings *s = f->settings;

    if (f->draining && f->backoff >= LAST_TRIES) {
        hold_leave(f);
        return;
    }
    turn_end(f, 1 + refusal_pause_ms(pg_refusal_row(refusal), (unsigned)f->backoff,
                                     s->database_backoff_max_ms, s->database_backoff_slow_max_ms,
                                     jitter_dice()));
    f->backoff += f->backoff < BACKOFFS_MOST;
}

void turn_note_refusal(struct flusher *f, const char *event, const char *what,
                       enum pg_refusal refusal, const char *why)
{
    const struct refusal *row = pg_refusal_row(refusal);

    flusher_count(f, (enum metric)row->metric, 1);
    refusal_tell(&f->voice, event, what, row, why, mono_now());
    if (row->connection == LEAVE)
        pg_disconnect(f->pg);
}

bool turn_refused(struct flusher *f, const char *what, enum pg_refusal refusal, const char *why)
{
    const struct refusal *row = pg_refusal_row(refusal);
    bool stand_down = row->class >= REFUSAL_STAND_DOWN;

    turn_note_refusal(f, stand_down ? "flush_stands_down" : "database_refused", what, refusal, why);
    database_says(f, "%s %s: %.120s", stand_down ? "stands down:" : "database refuses:", row->name,
                  why);
    return stand_down;
}

void turn_probe(struct flusher *f, bool passed, const char *detail)
{
    struct msg msg = {.kind = MSG_probe};

    snprintf(msg.probe.store, sizeof msg.probe.store, "database");
    msg.probe.passed = passed;
    snprintf(msg.probe.detail, sizeof msg.probe.detail, "%s", detail);
    harness_report(f->harness, &msg);
}

/* Not about data, and not about this moment. */
void turn_stand_down(struct flusher *f, enum pg_refusal refusal, const char *why)
{
    if (refusal == PG_REFUSED_NOT && !f->stood_down) {
        log_error("flush_stands_down", "reason=\"%s\"", why);
        database_says(f, "stands down: %.120s", why);
    }
    f->stood_down = true;
    flusher_count(f, METRIC_flush_stands_down_total, 1);
    turn_probe(f, false, why);
    hold_give_up(f);
    pg_disconnect(f->pg); /* another server may answer next time: a failover leaves us at a read-only one */
    if (f->draining) {
        hold_leave(f);
        return;
    }
    f->backoff = BACKOFFS_MOST;
    turn_end_refused(f, refusal == PG_REFUSED_NOT ? PG_REFUSED_schema : refusal);
}

/* Redis refused or did not answer: how long to wait is the refusal's business (refusals.def). */
void turn_redis_failed(struct flusher *f, const char *what, const struct redis_reply *reply,
                       const char *reason)
{
    const struct refusal *refusal = redis_refusal_of(f->redis, reply);

    if (reason == NULL)
        reason = reply && reply->text ? reply->text : "a reply of another kind";
    refusal_tell(&f->redis_voice, "redis_refused", what, refusal, reason, mono_now());
    flusher_count(f, METRIC_redis_errors_total, 1);
    if (f->draining)
        hold_leave(f);
    else
        turn_end(f, 1 + redis_pause_ms(f->redis, refusal, f->redis_refusals++));
}

void turn_redis_works(struct flusher *f)
{
    f->redis_refusals = 0;
    refusal_over(&f->redis_voice);
}
