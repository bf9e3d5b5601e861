/*
 * flush_up.c - the flush sends its rows up into temporary tables, each made where there are rows for it.
 *
 * Nothing is locked meanwhile: no timeout of PostgreSQL ends a session that waits for its client inside
 * COPY.  If we die on any line: the temporary tables go with the session.
 */
#include "workers/db_flusher/flush_steps.h"

#include <stdlib.h>
#include <string.h>

bool flush_copy(struct flush *flush, const char *create, const char *sql, bool (*row)(struct flush *))
{
    flush->row = row;
    if (!rows_begin(flush))
        return false;
    text_clear(&flush->sql);
    text_sql(&flush->sql, create, schema_quoted(flush->schema));
    text_put(&flush->sql, "; ");
    text_put(&flush->sql, sql);
    pg_copy(flush->pg, flush->sql.data, flush_deadline_ms(flush), rows_give, flush_answered, flush);
    return true;
}

/* What arrived must be what was made. */
int step_take_copy(struct flush *flush, const struct pg_answer *answer)
{
    if (flush->rows.failed)
        return flush_stop(flush, FLUSH_TOO_LONG, "out of memory");
    if (answer->affected != flush->sent_rows)
        return flush_stop(flush, FLUSH_STAND_DOWN, "COPY took another number of rows than was sent");
    return 0;
}

bool step_ask_copy_log(struct flush *flush)
{
    struct text create = {0};
    bool copies;

    flush->log_rows = 0;
    if (load_plan(flush->ask.load) || rows_order(flush)) {
        flush->rows.failed = true;
        pg_disconnect(flush->pg); /* answered LOST: tried again */
        return flush_query(flush, "SELECT", 0, NULL);
    }
    if (!layout_logs(flush->layout) || flush->ordered == 0)
        return false;
    /* Of the log only the columns that we know: a newer schema, or somebody else, may have added more. */
    text_clear(&create);
    text_put(&create, "CREATE TEMP TABLE spendd_log ON COMMIT DROP AS SELECT ");
    text_put(&create, rows_log_columns);
    text_put(&create, ", NULL::int AS i FROM @.spend_log WITH NO DATA");
    copies = flush_copy(flush, create.failed ? "" : create.data,
                  "COPY pg_temp.spendd_log FROM STDIN (FORMAT binary)", rows_log);
    text_free(&create);
    return copies;
}

int step_take_copy_log(struct flush *flush, const struct pg_answer *answer)
{
    flush->log_rows = answer->affected;
    return step_take_copy(flush, answer);
}

bool step_ask_copy_ids(struct flush *flush)
{
    flush->seen_rows = flush->id_rows = 0;
    return flush_copy(flush, "CREATE TEMP TABLE spendd_id (i int, day date, arb date, id uuid, "
                       "event_id text COLLATE \"C\", epoch uuid, seq bigint, n int, digest bigint, "
                       "put boolean) ON COMMIT DROP",
                "COPY pg_temp.spendd_id FROM STDIN (FORMAT binary)", rows_ids);
}

int step_take_copy_ids(struct flush *flush, const struct pg_answer *answer)
{
    flush->id_rows = answer->affected;
    return step_take_copy(flush, answer);
}

bool step_ask_copy_dead(struct flush *flush)
{
    flush->dead_rows = 0;
    return flush_copy(flush, "CREATE TEMP TABLE spendd_dead (day date, event_id bytea, digest bytea, class text, "
                       "reason text, record bytea, epoch uuid, seq bigint, n int) ON COMMIT DROP",
                "COPY pg_temp.spendd_dead FROM STDIN (FORMAT binary)", rows_dead);
}

int step_take_copy_dead(struct flush *flush, const struct pg_answer *answer)
{
    flush->dead_rows = answer->affected;
    return step_take_copy(flush, answer);
}

/* Asks nothing: makes what the next steps send. */
bool step_ask_sums(struct flush *flush)
{
    memset(flush->sums_sent, 0, sizeof flush->sums_sent);
    if (sums_make(flush) == 0)
        return false;
    pg_disconnect(flush->pg); /* no memory: nothing was done, tried again with less */
    return flush_query(flush, "SELECT", 0, NULL);
}

bool step_ask_copy_sums(struct flush *flush)
{
    const struct layout_table *table = &flush->layout->table[flush->table];

    flush->piece = 0;
    return flush_copy(flush, table->create, table->copy, sums_row);
}

int step_take_copy_sums(struct flush *flush, const struct pg_answer *answer)
{
    flush->sums_sent[flush->table] = answer->affected;
    return step_take_copy(flush, answer);
}
