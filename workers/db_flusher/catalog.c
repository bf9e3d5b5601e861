/*
 * catalog.c - the flusher looks what tables its layout really has, where they are not its own: once for
 * each connection and once an hour, more often while sums are kept for a table that is missing, and as soon
 * as PostgreSQL has refused a statement for its schema (that ends the connection).  Says what is missing, once
 * for each change.
 *
 * The look is a transaction of its own, so that its limits end with it behind a pooler.
 * If we die on any line: it was looking.
 */
#include "workers/db_flusher/flusher.h"

#include "common/base/log.h"
#include "common/pg/transaction.h"
#include "workers/db_flusher/litellm_inside.h"

#include <string.h>

#define AGAIN_MS 30000 /* while sums are kept for a table that is missing */

static int64_t deadline_ms(const struct flusher *f)
{
    return f->settings->database_statement_ms + f->settings->database_socket_timeout_ms;
}

static void refused(struct flusher *f, const struct pg_answer *answer)
{
    bool stand_down = turn_refused(f, "catalog", answer->refusal, answer->text);

    pg_disconnect(f->pg); /* and with it our transaction */
    if (stand_down)
        turn_stand_down(f, answer->refusal, answer->text);
    else
        turn_end_refused(f, answer->refusal);
}

static void say_missing(struct flusher *f)
{
    const struct litellm *it = f->layout->litellm;

    stats_set(harness_stats(f->harness), METRIC_litellm_tables_missing, it->missing_count);
    f->keeps = false;
    for (unsigned t = 0; t < LITELLM_TABLES; t++)
        f->keeps |= it->table[t].kept && !it->table[t].there;
    if (strcmp(f->missing, it->missing) == 0)
        return;
    memcpy(f->missing, it->missing, sizeof f->missing);
    if (it->missing_count == 0)
        log_info("litellm_tables_complete", "schema=%s", it->schema);
    else
        log_warn("litellm_tables_missing", "schema=%s tables=\"%s\" reason=\"this LiteLLM does not have "
                 "them: what is summed for them is kept, and brought in when they appear\"", it->schema,
                 it->missing);
}

static void on_ended(void *arg, const struct pg_answer *answer)
{
    struct flusher *f = arg;

    if (answer->outcome != PG_OK) {
        refused(f, answer);
        return;
    }
    say_missing(f);
    f->layout->known = true;
    f->catalog_due = mono_after_ms(mono_now(), AGAIN_MS);
    catalog_ensure(f);
}

static void on_looked(void *arg, const struct pg_answer *answer)
{
    struct flusher *f = arg;
    struct err err = {{0}};

    if (answer->outcome != PG_OK)
        refused(f, answer);
    else if (f->layout->kind->learn(f->layout, answer, &err))
        turn_stand_down(f, PG_REFUSED_NOT, err.text);
    else
        pg_query(f->pg, "COMMIT", 0, NULL, deadline_ms(f), on_ended, f);
}

static void on_begun(void *arg, const struct pg_answer *answer)
{
    struct flusher *f = arg;
    const char *schema = pg_schema(f->pg)[0] ? pg_schema(f->pg) : "public";
    struct text sql = {0}, whole = {0};

    if (answer->outcome != PG_OK) {
        refused(f, answer);
        return;
    }
    f->layout->kind->look(f->layout, schema, &sql);
    text_sql(&whole, sql.failed ? "" : sql.data, schema_quoted(f->schema));
    pg_query(f->pg, whole.failed ? "" : whole.data, 1, &schema, deadline_ms(f), on_looked, f);
    text_free(&sql);
    text_free(&whole);
}

void catalog_ensure(struct flusher *f)
{
    const struct settings *s = f->settings;
    const struct pg_limits limits = {s->database_statement_ms, s->database_lock_ms,
                                     s->database_socket_timeout_ms};
    char first[PG_BEGIN_BYTES];

    if (!f->layout->known) {
        pg_begin_text(first, &limits);
        pg_query(f->pg, first, 0, NULL, deadline_ms(f), on_begun, f);
        return;
    }
    if (f->keeps)
        database_says(f, "database ready; not in LiteLLM's schema, kept: %.110s", f->missing);
    else
        database_says(f, "database ready");
    database_target(f);
}

void catalog_count(struct flusher *f, const struct flush_report *report)
{
    for (unsigned t = 0; t < f->layout->tables; t++)
        if (f->layout->table[t].missed != METRICS && report->missed[t] > 0)
            flusher_count(f, f->layout->table[t].missed, report->missed[t]);
    flusher_count(f, METRIC_litellm_rows_kept_total, report->kept);
    f->keeps |= report->kept > 0; /* until then a table that this release never had is no news for the status */
    flusher_count(f, METRIC_litellm_request_collisions_total, report->collided);
    flusher_count(f, METRIC_litellm_logs_there_total, report->there);
    flusher_count(f, METRIC_litellm_values_clamped_total, report->clamped);
    if (report->moved)
        log_info("litellm_kept_rows_moved", "reason=\"a table that was missing is there\"");
    if (report->moved || (report->kept > 0 && mono_reached(mono_now(), f->catalog_due)))
        f->layout->known = false; /* nothing is kept for it any more; or it may be there by now */
}
