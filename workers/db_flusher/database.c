/*
 * database.c - the flusher's way to a usable database: connected, its schema there, and the one that
 * this Redis belongs to.  Goes on to the lock, or to the queue where the lock is held.
 *
 * If we die on any line: schema work is in transactions of its own; the rest is looking.
 */
#include "workers/db_flusher/flusher.h"

#include "common/base/log.h"

#include <string.h>

#define SCHEMA_CHECK_MS 3600000

static void on_target(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;
    bool same = redis_said(reply, "ok") && reply->items > 1 && reply->item[1].text &&
                strcmp(reply->item[1].text, schema_install(f->schema)) == 0;

    if (same) {
        if (lease_held(&f->lease, mono_now()))
            reading_begin(f);
        else
            hold_take(f);
        return;
    }
    if (!redis_said(reply, "ok")) {
        turn_redis_failed(f, "target", reply, reason);
        return;
    }
    if (mono_reached(mono_now(), f->target_said)) {
        log_error("wrong_database", "install=%s reason=\"this Redis belongs to another database\"",
                  schema_install(f->schema));
        f->target_said = mono_after_ms(mono_now(), 60000);
    }
    harness_status(f->harness, "this Redis belongs to another database: not flushing");
    hold_give_up(f);
    if (f->draining)
        hold_leave(f);
    else
        turn_end_calmly(f);
}

static void on_schema(void *arg, enum schema_result result, const char *why)
{
    struct flusher *f = arg;
    mono_t now = mono_now();

    if (result == SCHEMA_WRONG) {
        turn_stand_down(f, why);
        return;
    }
    if (result == SCHEMA_LOST) {
        log_warn("schema_unfinished", "reason=\"%s\"", why);
        if (!schema_install(f->schema)[0]) {
            turn_end_backing_off(f);
            return;
        }
        f->schema_due = mono_after_ms(now, AUDIT_MS); /* partitions: counted all the same meanwhile */
        turn_end(f, 0);
        return;
    }
    f->schema_due = mono_after_ms(now, SCHEMA_CHECK_MS / 2 + turn_jitter(SCHEMA_CHECK_MS / 2));
    turn_probe(f, true, "schema usable");
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
        flusher_count(f, METRIC_database_connects_total, 1);
        database_ready(f);
        return;
    }
    log_warn("database_unreachable", "reason=\"%s\"", answer->text);
    turn_probe(f, false, answer->text);
    hold_give_up(f);
    if (f->draining)
        hold_leave(f);
    else
        turn_end_backing_off(f);
}

void database_ensure(struct flusher *f)
{
    if (pg_connected(f->pg))
        database_ready(f);
    else
        pg_connect(f->pg, on_connected, f);
}

/* Closed by us before the cloud drops it. */
void database_close_idle(void *arg)
{
    struct flusher *f = arg;
    int64_t idle = f->settings->database_max_idle_s * 1000;

    if (!f->busy && pg_connected(f->pg) && mono_ms_between(f->pg_used, mono_now()) >= idle) {
        log_debug("database_closed", "reason=idle");
        pg_disconnect(f->pg);
    }
    timer_in_ms(f->idle_timer, 1000);
}
