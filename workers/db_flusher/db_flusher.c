/*
 * db_flusher.c - the worker that brings batches from Redis into PostgreSQL.  One flusher in the fleet
 * holds the lock and works; the others look at the queue's length.
 *
 * A turn is a chain of questions, each asked when the one before is answered:
 *
 *   look at the queue -> who has the lock -> connect -> schema -> target -> lock      (not the holder)
 *   connect -> audit (each minute) -> read the queue -> published versions -> attempt -> publish
 *
 * and ends with end_turn(), which says when the next one begins.  Nothing here waits: the lease is
 * renewed by its own timer while the transaction runs.  A lease that is lost does not stop the attempt
 * under way (the rows it has locked protect it), it only stops the next one.
 *
 * If we die on any line: before COMMIT nothing happened; after it, what was not yet published is still
 * in the queue and is found applied by the next flusher.  The lock expires by itself.
 */
#include "common/base/log.h"
#include "common/harness/harness.h"
#include "workers/db_flusher/attempt.h"
#include "workers/db_flusher/lease.h"
#include "workers/db_flusher/queue.h"

#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AUDIT_MS 60000
#define SCHEMA_CHECK_MS 3600000
#define EARLY_LOOKS 8            /* flushes that look early after one that met known events */
#define STATEMENT_MOST_MS 3600000
#define BACKOFF_FIRST_MS 50
#define LIMIT_FIRST 8            /* batches of the first flush; doubled while its sums are few */
#define SUMS_MOST 120000         /* rows of sums in one flush; wider ones make the next take less */
#define REPLY_SLACK_BYTES (80 * 1024 * 1024) /* one envelope is taken whatever its size */
#define MMAP_FROM_BYTES (256 * 1024)

struct flusher {
    struct harness *harness;
    const struct settings *settings;
    struct redis *redis;
    struct pg *pg;
    struct schema *schema;
    struct flush *flush;
    struct attempt *attempt;
    struct queue queue;
    struct lease lease;
    struct load load;
    struct timer *turn_timer, *renew_timer, *idle_timer;

    bool busy;            /* a turn is under way */
    bool gate_closed, draining, leaving, stood_down, auditing, renewing, unlocked, newer;
    mono_t turn_began, empty_since, schema_due, audit_due, pg_used, target_said;
    int64_t waiting;      /* batches in the queue when last read */
    int64_t limit;        /* batches of the next flush */
    int64_t statement_ms; /* of the next flush */
    int backoff, early;
};

static void turn(void *arg);
static void read_queue(struct flusher *f);
static void ensure_database(struct flusher *f);
static void publish(struct flusher *f);

static void count(struct flusher *f, enum metric metric, int64_t amount)
{
    stats_add(harness_stats(f->harness), metric, amount);
}

/* --- ends of a turn ------------------------------------------------------------------------------ */

static int64_t jitter(int64_t ms)
{
    return ms > 0 ? (int64_t)randombytes_uniform((uint32_t)ms + 1) : 0;
}

static void end_turn(struct flusher *f, int64_t delay_ms)
{
    f->busy = false;
    timer_in_ms(f->turn_timer, delay_ms < 0 ? 0 : delay_ms);
}

/* flush.ms from the beginning of this turn, a tenth more or less: instances do not march in step. */
static void end_turn_calmly(struct flusher *f)
{
    int64_t pause = f->settings->flush_ms;

    pause += jitter(pause / 5) - pause / 10;
    end_turn(f, pause - mono_ms_between(f->turn_began, mono_now()));
}

static void end_turn_backing_off(struct flusher *f)
{
    int64_t most = f->settings->database_backoff_max_ms;
    int64_t pause = BACKOFF_FIRST_MS;

    for (int i = 0; i < f->backoff && pause < most; i++)
        pause *= 2;
    f->backoff += f->backoff < 20;
    end_turn(f, 1 + jitter(pause < most ? pause : most));
}

static void probe(struct flusher *f, bool passed, const char *detail)
{
    struct msg msg = {.kind = MSG_probe};

    snprintf(msg.probe.store, sizeof msg.probe.store, "database");
    msg.probe.passed = passed;
    snprintf(msg.probe.detail, sizeof msg.probe.detail, "%s", detail);
    harness_report(f->harness, &msg);
}

static void on_unlocked(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    (void)reply;
    (void)reason;
    if (f->leaving)
        harness_leave(f->harness, EXIT_ASKED);
}

static void give_up_lock(struct flusher *f)
{
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

static void leave(struct flusher *f)
{
    if (f->leaving)
        return;
    f->leaving = true;
    f->busy = true; /* no more turns */
    timer_stop(f->turn_timer);
    give_up_lock(f);
}

/* Not about data, not about now: a human must act, and the gate closes. */
static void stand_down(struct flusher *f, const char *why)
{
    if (!f->stood_down)
        log_error("flush_stands_down", "reason=\"%s\"", why);
    f->stood_down = true;
    harness_status(f->harness, "stands down: %.120s", why);
    probe(f, false, why);
    give_up_lock(f);
    f->backoff = 20;
    if (f->draining)
        leave(f);
    else
        end_turn_backing_off(f);
}

static void redis_failed(struct flusher *f, const char *what, const char *reason)
{
    log_debug("redis_unanswered", "command=%s reason=\"%s\"", what, reason ? reason : "refused");
    count(f, METRIC_redis_errors_total, 1);
    if (f->draining)
        leave(f);
    else
        end_turn_backing_off(f);
}

static const char *text_of(const struct redis_reply *reply, const char *reason)
{
    return reply && reply->kind == REDIS_ERROR ? reply->text : reason;
}

/* --- lease --------------------------------------------------------------------------------------- */

static void lease_is_lost(struct flusher *f)
{
    count(f, METRIC_lock_lost_total, 1);
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
        lease_is_lost(f);
}

static void renew(void *arg)
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
        count(f, METRIC_lock_acquired_total, 1);
        stats_set(harness_stats(f->harness), METRIC_lock_held, 1);
        log_debug("lock_taken", "token=%s", f->queue.token);
        timer_in_ms(f->renew_timer, f->settings->lock_renew_ms);
        f->empty_since = mono_never();
        read_queue(f);
        return;
    }
    lease_refused(&f->lease);
    if (redis_said(reply, "held")) {
        if (f->draining)
            leave(f);
        else
            end_turn_calmly(f);
        return;
    }
    if (reply && reply->kind == REDIS_ERROR && strncmp(reply->text, "OOM", 3) == 0) {
        f->unlocked = true; /* a full Redis must be drained: the shard's row protects */
        read_queue(f);
        return;
    }
    redis_failed(f, "lock", text_of(reply, reason));
}

static void take_lock(struct flusher *f)
{
    lease_asked(&f->lease, mono_now());
    queue_lock(&f->queue, f->settings->lock_ttl_ms, on_lock, f);
}

/* --- database ------------------------------------------------------------------------------------ */

static void on_target(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;
    bool same = redis_said(reply, "ok") && reply->items > 1 && reply->item[1].text &&
                strcmp(reply->item[1].text, schema_install(f->schema)) == 0;

    if (same) {
        if (lease_held(&f->lease, mono_now()))
            read_queue(f);
        else
            take_lock(f);
        return;
    }
    if (!redis_said(reply, "ok")) {
        redis_failed(f, "target", text_of(reply, reason));
        return;
    }
    if (mono_reached(mono_now(), f->target_said)) {
        log_error("wrong_database", "install=%s reason=\"this Redis belongs to another database\"",
                  schema_install(f->schema));
        f->target_said = mono_after_ms(mono_now(), 60000);
    }
    harness_status(f->harness, "this Redis belongs to another database: not flushing");
    give_up_lock(f);
    if (f->draining)
        leave(f);
    else
        end_turn_calmly(f);
}

static void on_schema(void *arg, enum schema_result result, const char *why)
{
    struct flusher *f = arg;
    mono_t now = mono_now();

    if (result == SCHEMA_WRONG) {
        stand_down(f, why);
        return;
    }
    if (result == SCHEMA_LOST) {
        log_warn("schema_unfinished", "reason=\"%s\"", why);
        if (!schema_install(f->schema)[0]) {
            end_turn_backing_off(f);
            return;
        }
        f->schema_due = mono_after_ms(now, AUDIT_MS); /* partitions: counted all the same meanwhile */
        end_turn(f, 0);
        return;
    }
    f->schema_due = mono_after_ms(now, SCHEMA_CHECK_MS / 2 + jitter(SCHEMA_CHECK_MS / 2));
    probe(f, true, "schema usable");
    harness_status(f->harness, "database ready");
    queue_target(&f->queue, schema_install(f->schema), on_target, f);
}

static void database_ready(struct flusher *f)
{
    f->pg_used = mono_now();
    if (mono_reached(mono_now(), f->schema_due))
        schema_check(f->schema, wall_day(wall_now()), on_schema, f);
    else
        queue_target(&f->queue, schema_install(f->schema), on_target, f);
}

static void on_connected(void *arg, const struct pg_answer *answer)
{
    struct flusher *f = arg;

    if (answer->outcome == PG_OK) {
        count(f, METRIC_database_connects_total, 1);
        database_ready(f);
        return;
    }
    log_warn("database_unreachable", "reason=\"%s\"", answer->text);
    probe(f, false, answer->text);
    give_up_lock(f);
    if (f->draining)
        leave(f);
    else
        end_turn_backing_off(f);
}

static void ensure_database(struct flusher *f)
{
    if (pg_connected(f->pg))
        database_ready(f);
    else
        pg_connect(f->pg, on_connected, f);
}

/* Closed by us before the cloud drops it. */
static void close_idle(void *arg)
{
    struct flusher *f = arg;
    int64_t idle = f->settings->database_max_idle_s * 1000;

    if (!f->busy && pg_connected(f->pg) && mono_ms_between(f->pg_used, mono_now()) >= idle) {
        log_debug("database_closed", "reason=idle");
        pg_disconnect(f->pg);
    }
    timer_in_ms(f->idle_timer, 1000);
}

/* --- after the attempt ---------------------------------------------------------------------------- */

static void end_flush(struct flusher *f)
{
    f->unlocked = false;
    if (f->waiting > (int64_t)f->load.batches || f->draining)
        end_turn(f, 0);
    else
        end_turn_calmly(f);
}

static void on_rewritten(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (!redis_said(reply, "ok") && !redis_said(reply, "generation")) {
        redis_failed(f, "rewrite", text_of(reply, reason));
        return;
    }
    f->audit_due = mono_now(); /* other epochs may have gone back too */
    if (f->auditing)
        f->audit_due = mono_after_ms(mono_now(), AUDIT_MS / 2 + jitter(AUDIT_MS));
    f->auditing = false;
    end_flush(f);
}

static void on_published(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (redis_said(reply, "ok") || redis_said(reply, "generation"))
        end_flush(f);
    else
        redis_failed(f, "publish", text_of(reply, reason));
}

static void publish(struct flusher *f)
{
    queue_publish(&f->queue, &f->load, on_published, f);
}

static void went_back(struct flusher *f)
{
    log_error("database_went_back", "epochs=%zu reason=\"the ledger is older than what was published: "
              "everything that is kept is pushed again\"", f->load.epochs);
    count(f, METRIC_database_went_back_total, 1);
    queue_rewrite(&f->queue, &f->load, on_rewritten, f);
}

static void count_report(struct flusher *f, const struct flush_report *report)
{
    count(f, METRIC_flushes_total, 1);
    count(f, METRIC_batches_applied_total, report->applied);
    count(f, METRIC_batches_skipped_total, report->skipped);
    count(f, METRIC_events_counted_total, report->counted);
    count(f, METRIC_events_known_total, report->known);
    count(f, METRIC_events_conflict_total, report->conflicts);
    count(f, METRIC_events_poison_total, report->poison);
    count(f, METRIC_events_dead_total, report->dead);
    count(f, METRIC_rows_written_total, report->rows);
    if (f->load.oldest && report->applied)
        stats_set(harness_stats(f->harness), METRIC_ledger_lag_ms,
                  (wall_now().micros - f->load.oldest) / 1000);
    log_debug("flush_committed", "applied=%lld skipped=%lld counted=%lld known=%lld rows=%lld",
              (long long)report->applied, (long long)report->skipped, (long long)report->counted,
              (long long)report->known, (long long)report->rows);
    if (report->conflicts)
        log_warn("events_conflict", "count=%lld reason=\"same event_id, other contents: dead-lettered\"",
                 (long long)report->conflicts);
}

static void less(struct flusher *f)
{
    int64_t had = (int64_t)f->load.batches;

    if (had <= 1 && f->statement_ms < STATEMENT_MOST_MS)
        f->statement_ms *= 2;
    f->limit = had > 1 ? had / 2 : 1;
}

static void committed(struct flusher *f, const struct flush_report *report)
{
    count_report(f, report);
    f->backoff = 0;
    f->stood_down = false;
    f->early = report->known ? EARLY_LOOKS : f->early - (f->early > 0);
    if (report->sums > SUMS_MOST)
        less(f);
    else if (report->sums < SUMS_MOST / 3)
        f->limit = f->limit * 2 < f->settings->flush_batches ? f->limit * 2 : f->settings->flush_batches;
    f->statement_ms = f->settings->database_statement_ms;
    f->pg_used = mono_now();
    probe(f, true, "flush committed");
    if (report->went_back) {
        went_back(f);
        return;
    }
    if (f->auditing) {
        f->auditing = false;
        f->audit_due = mono_after_ms(mono_now(), AUDIT_MS / 2 + jitter(AUDIT_MS));
        end_turn(f, 0);
        return;
    }
    publish(f);
}

static void on_attempt(void *arg, const struct flush_report *report)
{
    struct flusher *f = arg;
    bool connection = report->result == FLUSH_LOST || report->result == FLUSH_AMBIGUOUS;

    if (report->result == FLUSH_COMMITTED) {
        committed(f, report);
        return;
    }
    f->auditing = false;
    f->unlocked = false;
    count(f, METRIC_flush_failures_total, 1);
    count(f, METRIC_flush_ambiguous_total, report->result == FLUSH_AMBIGUOUS);
    count(f, METRIC_flush_retries_deadlock_total, report->result == FLUSH_DEADLOCK);
    count(f, METRIC_flush_retries_timeout_total,
          report->result == FLUSH_TIMEOUT || report->result == FLUSH_TOO_LONG);
    if (report->result == FLUSH_STAND_DOWN) {
        stand_down(f, report->text);
        return;
    }
    log_warn("flush_failed", "step=%s ambiguous=%d reason=\"%s\"", report->step,
             report->result == FLUSH_AMBIGUOUS, report->text);
    if (!connection)
        less(f);
    end_turn_backing_off(f);
}

/* --- reading the queue ------------------------------------------------------------------------------ */

static void start_attempt(struct flusher *f)
{
    struct flush_ask ask = {
        .load = &f->load,
        .nowait = f->unlocked,
        .look_early = f->early > 0,
        .statement_ms = f->statement_ms,
    };

    attempt_run(f->attempt, &ask, on_attempt, f);
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
        redis_failed(f, "published", text_of(reply, reason));
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
    give_up_lock(f);
    end_turn(f, f->settings->lock_ttl_ms + jitter(f->settings->lock_ttl_ms));
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
        leave(f);
        return;
    }
    if (f->empty_since.micros == mono_never().micros)
        f->empty_since = now;
    if (mono_ms_between(f->empty_since, now) >= f->settings->lock_linger_ms)
        give_up_lock(f);
    end_turn_calmly(f);
}

static void on_queue(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;
    char sha1[41];

    if (!redis_said(reply, "ok") || reply->items < 5) {
        redis_failed(f, "peek", text_of(reply, reason));
        return;
    }
    snprintf(f->queue.generation, sizeof f->queue.generation, "%s", reply->item[1].text);
    f->waiting = redis_item_number(reply, 3);
    if (take_envelopes(f, reply, sha1)) {
        less(f);
        log_error("out_of_memory", "envelopes=%zu", reply->items - 5);
        end_turn_backing_off(f);
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
        redis_failed(f, "audit", text_of(reply, reason));
        return;
    }
    for (size_t i = 0; i + 1 < reply->items; i += 2)
        if (load_note_epoch(&f->load, reply->item[i].text) == 0)
            load_epoch(&f->load, reply->item[i].text)->published = version_of(&reply->item[i + 1]);
    if (f->load.epochs == 0) {
        f->audit_due = mono_after_ms(mono_now(), AUDIT_MS / 2 + jitter(AUDIT_MS));
        end_turn(f, 0);
        return;
    }
    f->auditing = true;
    start_attempt(f);
}

static void on_audit_peek(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (!redis_said(reply, "ok") || reply->items < 5) {
        redis_failed(f, "peek", text_of(reply, reason));
        return;
    }
    snprintf(f->queue.generation, sizeof f->queue.generation, "%s", reply->item[1].text);
    f->waiting = 0;
    load_clear(&f->load);
    queue_all_published(&f->queue, on_all_published, f);
}

static void read_queue(struct flusher *f)
{
    if (mono_reached(mono_now(), f->audit_due) && !f->unlocked)
        queue_peek(&f->queue, 0, 0, on_audit_peek, f);
    else
        queue_peek(&f->queue, f->limit, f->settings->flush_bytes, on_queue, f);
}

/* --- looking without the lock ------------------------------------------------------------------------ */

static void on_holder(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (!reply || reply->kind == REDIS_ERROR)
        redis_failed(f, "holder", text_of(reply, reason));
    else if (reply->kind == REDIS_NIL)
        ensure_database(f);
    else if (f->draining)
        leave(f);
    else
        end_turn_calmly(f);
}

static void on_look(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    if (!redis_said(reply, "ok") || reply->items < 5)
        redis_failed(f, "peek", text_of(reply, reason));
    else if (redis_item_number(reply, 3) > 0 ||
             (!f->draining && mono_reached(mono_now(), f->audit_due)))
        queue_holder(&f->queue, on_holder, f);
    else if (f->draining)
        leave(f);
    else
        end_turn_calmly(f);
}

static void turn(void *arg)
{
    struct flusher *f = arg;

    if (f->busy)
        return;
    f->busy = true;
    f->turn_began = mono_now();
    if (f->gate_closed) {
        give_up_lock(f);
        if (f->draining)
            leave(f);
        else
            end_turn_calmly(f);
    } else if (!schema_install(f->schema)[0]) {
        ensure_database(f); /* first start: an empty database gets its schema before the first event */
    } else if (lease_held(&f->lease, f->turn_began)) {
        ensure_database(f);
    } else {
        if (f->lease.state == LEASE_HELD && lease_unanswered(&f->lease, f->turn_began))
            lease_is_lost(f);
        queue_peek(&f->queue, 0, 0, on_look, f);
    }
}

/* --- life -------------------------------------------------------------------------------------------- */

static void on_redis(void *arg, bool up, const char *reason)
{
    struct flusher *f = arg;

    if (up)
        count(f, METRIC_redis_connects_total, 1);
    else
        log_debug("redis_down", "reason=\"%s\"", reason ? reason : "");
}

static void record(void *self, const struct msg *msg)
{
    struct flusher *f = self;

    if (msg->kind != MSG_gate || strcmp(msg->gate.name, "database") != 0)
        return;
    f->gate_closed = !msg->gate.open;
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
    harness_untimer(&f->turn_timer);
    harness_untimer(&f->renew_timer);
    harness_untimer(&f->idle_timer);
    attempt_close(&f->attempt);
    flush_close(&f->flush);
    schema_close(&f->schema);
    load_free(&f->load);
    free(f);
}

static int open_stores(struct flusher *f, struct err *err)
{
    const struct settings *s = f->settings;
    char name[160];
    struct redis_options redis = {
        .url = s->redis_url,
        .client = name,
        .connect_ms = s->redis_connect_ms,
        .command_ms = s->redis_command_ms,
        .backoff_max_ms = s->redis_backoff_max_ms,
        .reply_bytes_max = s->flush_bytes + REPLY_SLACK_BYTES,
    };
    struct pg_options pg = {s->database_url, "spendd db_flusher", s->database_connect_ms,
                            s->database_socket_timeout_ms};

    snprintf(name, sizeof name, "spendd-db_flusher-%s", s->instance);
    f->redis = redis_open(f->harness, &redis, on_redis, f, err);
    f->pg = f->redis ? pg_open(f->harness, &pg, err) : NULL;
    f->schema = f->pg ? schema_open(f->pg, s, &layout_spendd, err) : NULL;
    f->flush = f->schema ? flush_open(f->pg, s, &layout_spendd, f->schema, err) : NULL;
    f->attempt = f->flush ? attempt_open(f->flush, s, err) : NULL;
    return f->attempt ? 0 : -1;
}

static void *open_flusher(struct harness *harness, int *code, struct err *err)
{
    struct flusher *f = calloc(1, sizeof *f);
    char dropped[256] = "";

    *code = EXIT_CONFIGURATION;
    if (!f || sodium_init() < 0) {
        err_set(err, "out of memory, or libsodium does not start");
        free(f);
        return NULL;
    }
    mallopt(M_MMAP_THRESHOLD, MMAP_FROM_BYTES); /* what one large flush took goes back */
    f->harness = harness;
    f->settings = harness_settings(harness);
    if (pg_url_check(f->settings->database_url, dropped, sizeof dropped, err) ||
        open_stores(f, err)) {
        free(f);
        return NULL;
    }
    if (dropped[0])
        log_warn("url_parameters_ignored", "names=\"%s\"", dropped);
    queue_init(&f->queue, f->redis, f->settings);
    lease_init(&f->lease, f->settings->lock_ttl_ms);
    f->limit = f->settings->flush_batches < LIMIT_FIRST ? f->settings->flush_batches : LIMIT_FIRST;
    f->statement_ms = f->settings->database_statement_ms;
    f->schema_due = f->target_said = mono_now();
    f->audit_due = mono_now();
    f->empty_since = mono_never();
    f->turn_timer = harness_timer(harness, turn, f);
    f->renew_timer = harness_timer(harness, renew, f);
    f->idle_timer = harness_timer(harness, close_idle, f);
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
};
