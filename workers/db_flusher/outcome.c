/*
 * outcome.c - what follows from an attempt: publish, rewrite what a database that went back has lost,
 * take less next time, try again later, stand down.
 *
 * Published is only what a finished COMMIT made true.  If we die between COMMIT and publishing: the next
 * flusher finds the batches applied, and publishes them.
 */
#include "workers/db_flusher/flusher.h"

#include "common/base/log.h"

#define EARLY_LOOKS 8            /* flushes that look early after one that met known events */
#define STATEMENT_MOST_MS 3600000
#define SUMS_MOST 600000         /* rows of sums in one flush: bounds the time that its rows are locked */

static void end_flush(struct flusher *f)
{
    f->unlocked = false;
    if (f->waiting > (int64_t)f->load.batches || f->draining)
        turn_end(f, 0);
    else
        turn_end_calmly(f);
}

static void on_rewritten(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (!redis_said(reply, "ok") && !redis_said(reply, "generation")) {
        turn_redis_failed(f, "rewrite", reply, reason);
        return;
    }
    if (f->auditing)
        published_audited(f);
    else
        f->audit_due = mono_now(); /* other epochs may have gone back too */
    end_flush(f);
}

static void on_published(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    f->reading.good = redis_said(reply, "ok"); /* else the queue began anew, and so does the reading */
    if (redis_said(reply, "ok") || redis_said(reply, "generation")) {
        turn_redis_works(f);
        end_flush(f);
    } else {
        turn_redis_failed(f, "publish", reply, reason);
    }
}

static void publish(struct flusher *f)
{
    f->reading.moved = true;
    queue_publish(&f->queue, &f->load, on_published, f);
}

static void on_retired(void *arg, const struct redis_reply *reply, const char *reason)
{
    if (reply != NULL && reply->kind == REDIS_NUMBER)
        turn_end(arg, 0);
    else
        turn_redis_failed(arg, "retire", reply, reason);
}

/* The ledger is as new as what is published.  What was published of old epochs is of use to nobody any more, and each
 * start of an aggregator makes an epoch.  Whoever should push a batch of one again finds it in the ledger. */
static void audited(struct flusher *f)
{
    published_audited(f);
    if (!queue_retire(&f->queue, &f->load, on_retired, f))
        turn_end(f, 0);
}

static void went_back(struct flusher *f)
{
    log_error("database_went_back", "epochs=%zu reason=\"the ledger is older than what was published: "
              "everything that is kept is pushed again\"", f->load.epochs);
    flusher_count(f, METRIC_database_went_back_total, 1);
    queue_rewrite(&f->queue, &f->load, on_rewritten, f);
}

/* Each counted event's way from arrival to commit, and how long the transaction took. */
static void count_times(struct flusher *f)
{
    struct histogram seen = {.sum_us = 0};
    int64_t now = wall_now().micros;

    for (size_t i = 0; i < f->load.events; i++)
        if (f->load.event[i].fate == FATE_COUNT && load_event_active(&f->load, &f->load.event[i]))
            histogram_collect(&seen, HISTOGRAM_event_commit_seconds, now - f->load.event[i].received);
    stats_observe_all(harness_stats(f->harness), HISTOGRAM_event_commit_seconds, &seen);
    stats_observe(harness_stats(f->harness), HISTOGRAM_flush_seconds,
                  mono_us_between(f->flush_began, mono_now()));
}

static void count_report(struct flusher *f, const struct flush_report *report)
{
    flusher_count(f, METRIC_flushes_total, 1);
    flusher_count(f, METRIC_batches_applied_total, report->applied);
    flusher_count(f, METRIC_batches_skipped_total, report->skipped);
    flusher_count(f, METRIC_events_counted_total, report->counted);
    flusher_count(f, METRIC_events_known_total, report->known);
    flusher_count(f, METRIC_events_conflict_total, report->conflicts);
    flusher_count(f, METRIC_events_poison_total, report->poison);
    flusher_count(f, METRIC_events_dead_total, report->dead);
    flusher_count(f, METRIC_rows_written_total, report->rows);
    catalog_count(f, report);
    count_times(f);
    if (f->load.oldest && report->applied)
        stats_set(harness_stats(f->harness), METRIC_flush_oldest_event_ms,
                  (wall_now().micros - f->load.oldest) / 1000);
    log_debug("flush_committed", "applied=%lld skipped=%lld counted=%lld known=%lld rows=%lld",
              (long long)report->applied, (long long)report->skipped, (long long)report->counted,
              (long long)report->known, (long long)report->rows);
    if (report->conflicts)
        log_warn("events_conflict", "count=%lld reason=\"same event_id, other contents: dead-lettered\"",
                 (long long)report->conflicts);
}

void outcome_less(struct flusher *f)
{
    int64_t had = (int64_t)f->load.batches;

    f->limit = had > 1 ? had / 2 : 1;
}

/* The flush was too much.  One batch alone whose statement takes too long gets more time; not one that met
 * a lock or a silent server, for our own deadline grows with it. */
static void halve(struct flusher *f, enum pg_refusal refusal)
{
    if (refusal == PG_REFUSED_statement_timeout && f->load.batches <= 1 &&
        f->statement_ms < STATEMENT_MOST_MS)
        f->statement_ms *= 2;
    outcome_less(f);
}

void outcome_went_in(struct flusher *f, const struct flush_report *report)
{
    count_report(f, report);
    f->backoff = 0;
    f->deadlocks = 0;
    f->stood_down = false;
    refusal_over(&f->voice);
    if (f->keeps)
        database_says(f, "database ready; not in LiteLLM's schema, kept: %.110s", f->missing);
    else
        database_says(f, "database ready");
    f->statement_ms = f->settings->database_statement_ms;
    f->pg_used = mono_now();
    turn_probe(f, true, "flush committed");
}

static void committed(struct flusher *f, const struct flush_report *report)
{
    outcome_went_in(f, report);
    f->early = report->known ? EARLY_LOOKS : f->early - (f->early > 0);
    if (report->sums > SUMS_MOST)
        outcome_less(f);
    else if (report->sums < SUMS_MOST / 3)
        f->limit = f->limit * 2 < f->settings->flush_batches ? f->limit * 2 : f->settings->flush_batches;
    if (report->went_back) {
        went_back(f);
        return;
    }
    if (f->auditing) {
        audited(f);
        return;
    }
    publish(f);
}

static void count_failure(struct flusher *f, const struct flush_report *report)
{
    bool deadlock = report->refusal == PG_REFUSED_deadlock || report->refusal == PG_REFUSED_serialization;
    bool too_long = report->refusal == PG_REFUSED_lock_timeout ||
                    report->refusal == PG_REFUSED_statement_timeout ||
                    report->refusal == PG_REFUSED_deadline;

    flusher_count(f, METRIC_flush_failures_total, 1);
    flusher_count(f, METRIC_flush_ambiguous_total, report->result == FLUSH_AMBIGUOUS);
    flusher_count(f, METRIC_flush_retries_deadlock_total, deadlock);
    flusher_count(f, METRIC_flush_retries_timeout_total, too_long);
    f->deadlocks += deadlock;
}

void outcome_failed(struct flusher *f, const struct flush_report *report, outcome_less_fn *less)
{
    count_failure(f, report);
    if (report->refusal != PG_REFUSED_NOT) {
        bool stand_down = turn_refused(f, report->step, report->refusal, report->text);

        if (stand_down || report->result == FLUSH_STAND_DOWN) {
            turn_stand_down(f, report->refusal, report->text);
            return;
        }
        if (pg_refusal_halves(report->refusal))
            less(f, report->refusal);
        turn_end_refused(f, report->refusal);
        return;
    }
    if (report->result == FLUSH_STAND_DOWN) {
        turn_stand_down(f, PG_REFUSED_NOT, report->text);
        return;
    }
    log_warn("flush_failed", "step=%s reason=\"%s\"", report->step, report->text);
    if (report->result != FLUSH_LOST)
        less(f, PG_REFUSED_NOT);
    turn_end_backing_off(f);
}

void outcome_take(void *arg, const struct flush_report *report)
{
    struct flusher *f = arg;

    if (report->result == FLUSH_COMMITTED) {
        committed(f, report);
        return;
    }
    f->auditing = false;
    f->unlocked = false;
    outcome_failed(f, report, halve);
}
