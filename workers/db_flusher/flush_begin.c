/*
 * flush_begin.c - the flush opens its transaction, looks whose schema this is, and takes its locks.
 *
 * The schema is looked at twice: before
 * the rows go up, to know what must go up with them, and under the lock, because it may have changed.
 * Each locking statement stands alone and ends in a Sync: the server's timeouts end it if we freeze.
 * If we die on any line: the server rolls back, nothing happened.
 */
#include "workers/db_flusher/flush_steps.h"

#include "common/base/log.h"
#include "common/pg/schema.h"
#include "common/pg/transaction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool step_ask_begin(struct flush *flush)
{
    struct text *sql = &flush->sql;
    const struct pg_limits limits = {flush->ask.statement_ms, flush->settings->database_lock_ms,
                                     flush->settings->database_socket_timeout_ms};
    char first[PG_BEGIN_BYTES];

    pg_begin_text(first, &limits);
    text_clear(sql);
    text_put(sql, first);
    /* Look-ups go by index, however little is known about fresh temporary tables. */
    text_put(sql, "SET LOCAL jit = off; SET LOCAL enable_hashjoin = off; "
                  "SET LOCAL enable_mergejoin = off; SET LOCAL DateStyle = ISO; "
                  "SET LOCAL TimeZone = 'UTC'; SET LOCAL bytea_output = hex; ");
    text_put(sql, "SELECT set_config('synchronous_commit', 'on', true) "
                  "WHERE current_setting('synchronous_commit') IN ('off', 'local')");
    if (sql->failed)
        pg_disconnect(flush->pg);
    pg_query(flush->pg, sql->data, 0, NULL, flush_deadline_ms(flush), flush_answered, flush);
    return true;
}

/* Of the other arbiter only the days of this flush matter: the look-up that it asks for is by day. */
#define CHECK_SQL                                                                                  \
    "SELECT version, install, EXISTS (SELECT FROM @.dead_letter WHERE class = 'poison'), "         \
    "CASE WHEN $1 THEN EXISTS (SELECT FROM @.seen WHERE day BETWEEN $2 AND $3) "                   \
    "ELSE EXISTS (SELECT FROM @.spend_log WHERE day BETWEEN $2 AND $3) END FROM @.schema_version"

/* First and last day of the events that have one of their own. */
static void days_of(const struct load *load, char first[16], char last[16])
{
    const struct load_event *low = NULL, *high = NULL;

    for (size_t i = 0; i < load->events; i++) {
        const struct load_event *event = &load->event[i];

        if (!event->timed)
            continue;
        low = !low || event->day < low->day ? event : low;
        high = !high || event->day > high->day ? event : high;
    }
    snprintf(first, 16, "infinity"); /* none: an empty range */
    snprintf(last, 16, "-infinity");
    if (low) {
        day_text(low->day, first, 16);
        day_text(high->day, last, 16);
    }
}

bool step_ask_check(struct flush *flush)
{
    char first[16], last[16];
    const char *values[] = {layout_logs(flush->layout) ? "t" : "f", first, last};

    days_of(flush->ask.load, first, last);
    return flush_query(flush, CHECK_SQL, 3, values);
}

static int take_check(struct flush *flush, const struct pg_answer *answer, bool *deep)
{
    if (answer->rows != 1 || strcmp(pg_value(answer, 0, 1), schema_install(flush->schema)) != 0)
        return flush_stop(flush, FLUSH_STAND_DOWN, "the schema was replaced by another one");
    if (atoi(pg_value(answer, 0, 0)) > SCHEMA_VERSION_MOST)
        return flush_stop(flush, FLUSH_STAND_DOWN, "the schema is newer than this build");
    *deep = pg_value(answer, 0, 2)[0] == 't' ||
            (flush->settings->dedupe_database && pg_value(answer, 0, 3)[0] == 't');
    return 0;
}

int step_take_check_hint(struct flush *flush, const struct pg_answer *answer)
{
    return take_check(flush, answer, &flush->deep);
}

bool step_ask_lock(struct flush *flush)
{
    return flush_query(flush, flush->ask.nowait
                            ? "SELECT shard FROM @.shard WHERE shard = 0 FOR UPDATE NOWAIT"
                            : "SELECT shard FROM @.shard WHERE shard = 0 FOR UPDATE", 0, NULL);
}

int step_take_lock(struct flush *flush, const struct pg_answer *answer)
{
    if (answer->rows != 1)
        return flush_stop(flush, FLUSH_STAND_DOWN, "the row of shard 0 is missing");
    log_debug("flush_started", "batches=%zu events=%zu trial=%d", flush->ask.load->batches,
              flush->ask.load->events, flush->ask.trial);
    return 0;
}

/* Under the lock: if something came up that the rows were not sent up for, again. */
int step_take_check_locked(struct flush *flush, const struct pg_answer *answer)
{
    bool deep;

    if (take_check(flush, answer, &deep))
        return -1;
    if (deep && !flush->deep)
        return flush_stop(flush, FLUSH_AGAIN, "another arbiter came into use");
    return 0;
}

