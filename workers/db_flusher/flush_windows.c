/*
 * flush_windows.c - the flush adds to LiteLLM's budget windows, a table of its newest builds.
 *
 * A row holds what was spent in the window that began last: an increment of that window or an older one is
 * added, one of a newer window begins the row anew.  Of several increments of one row in this flush the order
 * of their windows is what counts, so they are folded first.
 * Where there is no row yet it begins with what SpendLogs say was spent in the window, less what the increments
 * cover: which logs of theirs are there already nobody knows, so it is the larger one of all logs less the
 * increments, and of the logs before their first request.  An element that does not tell when that was (earlier
 * builds) takes all logs: too much for one window, where too little would let a budget be passed.  All as
 * LiteLLM's own writer does it.
 *
 * If we die on any line: rolled back or committed with the claim that it stands for.
 */
#include "workers/db_flusher/flush_steps.h"
#include "workers/db_flusher/litellm_inside.h"

#define TABLE "\"LiteLLM_BudgetWindowSpend\""

/* What was spent before, of one that has this column; "startTime" has no zone, and is UTC. */
#define SEED(column)                                                                               \
    "(SELECT greatest(coalesce(sum(l.spend), 0) - w.newest::float8, coalesce(sum(l.spend) FILTER (WHERE " \
    "w.started IS NULL OR l.\"startTime\" < date_trunc('second', w.started)), 0)) FROM @.\"LiteLLM_SpendLogs\" l " \
    "WHERE l." column " = w.entity_id AND l.\"startTime\" >= w.last) "

/* '@': LiteLLM's schema. */
static const char merge_sql[] =
    "WITH i AS (SELECT *, max(window_start) OVER (PARTITION BY entity_type, entity_id, window_duration) "
    "AS last FROM json_to_recordset($1::json) AS r (entity_type text, entity_id text, "
    "window_duration text, window_start timestamp(3), spend numeric, started_at timestamp)), "
    "w AS (SELECT entity_type, coalesce(entity_id, '') AS entity_id, window_duration, last, "
    "coalesce(sum(spend), 0) AS whole, coalesce(sum(spend) FILTER (WHERE window_start = last), 0) AS newest, "
    "min(started_at) FILTER (WHERE window_start = last) AS started FROM i GROUP BY 1, 2, 3, 4) "
    "INSERT INTO @." TABLE " AS t (entity_type, entity_id, window_duration, window_start, spend, "
    "updated_at) SELECT entity_type, entity_id, window_duration, last, newest::float8 + CASE "
    "WHEN EXISTS (SELECT FROM @." TABLE " b WHERE b.entity_type = w.entity_type AND b.entity_id = w.entity_id "
    "AND b.window_duration = w.window_duration) THEN 0 WHEN entity_type = 'key' THEN " SEED("api_key")
    "WHEN entity_type = 'team' THEN " SEED("team_id") "ELSE 0 END, now() AT TIME ZONE 'UTC' FROM w ORDER BY 1, 2, 3 "
    "ON CONFLICT (entity_type, entity_id, window_duration) DO UPDATE SET "
    "spend = CASE WHEN t.window_start >= excluded.window_start THEN t.spend + (SELECT whole FROM w "
    "WHERE w.entity_type = t.entity_type AND w.entity_id = t.entity_id AND "
    "w.window_duration = t.window_duration) "
    "ELSE excluded.spend END, window_start = greatest(t.window_start, excluded.window_start), "
    "updated_at = excluded.updated_at";

static bool has_windows(const struct flush *flush)
{
    return flush->ask.windows && flush->ask.windows->count > 0 && flush->layout->litellm;
}

bool step_ask_windows_there(struct flush *flush)
{
    struct text name = {0};
    const char *values[1];

    if (!has_windows(flush))
        return false;
    text_format(&name, "%s." TABLE, flush->layout->litellm->quoted);
    values[0] = name.failed ? "" : name.data;
    flush_query(flush, "SELECT to_regclass($1) IS NOT NULL", 1, values);
    text_free(&name);
    return true;
}

int step_take_windows_there(struct flush *flush, const struct pg_answer *answer)
{
    flush->ask.windows->missing = answer->rows != 1 || pg_value(answer, 0, 0)[0] != 't';
    return flush->ask.windows->missing ? flush_stop(flush, FLUSH_AGAIN, "LiteLLM has no budget windows") : 0;
}

bool step_ask_windows(struct flush *flush)
{
    struct text sql = {0}, json = {0};
    const char *values[1];

    if (!has_windows(flush))
        return false;
    text_put(&json, "[");
    text_add(&json, flush->ask.windows->json.data, flush->ask.windows->json.used);
    text_put(&json, "]");
    text_sql(&sql, merge_sql, flush->layout->litellm->quoted);
    if (sql.failed || json.failed)
        pg_disconnect(flush->pg); /* answered LOST: nothing happened */
    values[0] = json.failed ? "[]" : json.data;
    pg_query(flush->pg, sql.failed ? "SELECT" : sql.data, 1, values, flush_deadline_ms(flush), flush_answered,
             flush);
    text_free(&sql);
    text_free(&json);
    return true;
}

int step_take_windows(struct flush *flush, const struct pg_answer *answer)
{
    flush->report.rows += answer->affected;
    return 0;
}
