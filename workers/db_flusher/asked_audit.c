/*
 * asked_audit.c - the audit: the sums of PostgreSQL computed again from what they are the sums of.
 *
 *   each kept day   spend_daily of the day against the log rows of the day
 *   all together    spend of each entity against its days in spend_daily
 *
 * Each comparison is one statement, and one statement sees one state of the database: since a flush
 * changes log, days and totals in one transaction, no lock is needed and nobody waits for a row.  What does
 * wait is this instance's flusher, for it has one connection; so the days are done one at a time, each
 * with a time limit, and flushes go on between them.  Reads only.
 *
 * What cannot be computed again is said, not guessed: days whose log rows were dropped, days of which
 * there are none, and days on which events were counted while the log was off (their keys are in `seen`);
 * of the layout litellm nothing at all can be.
 * If we die on any line: nothing was changed, and the asker got no last answer.
 *
 *   items  {"differences": [{"table", "date", "entity_type", "entity_id", "api_key", "model", "endpoint",
 *           "spend", "spend_computed", "requests", "requests_computed", "tokens", "tokens_computed"}]},
 *          {"not_computed": [{"date", "why"}]}
 *   then   {"days", "sums", "differences", "not_computed", "retention_days"}; status 409 if there is a
 *          difference
 */
#include "workers/db_flusher/asked.h"

#include "common/admin/words.h"
#include "common/base/log.h"
#include "common/json/json_put.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTED_MOST 100 /* differences of one comparison; the others are counted */
#define AHEAD_DAYS 3    /* an event may be of the day after tomorrow */

#define KEYS                                                                                       \
    "entity_type, entity_id, api_key, model, model_group, custom_llm_provider, "                   \
    "mcp_namespaced_tool_name, endpoint"

/* Every entity that an event names, as merge.c does: to_json escapes as json_text there. */
#define ENTITIES                                                                                   \
    "(SELECT 'key', api_key UNION ALL SELECT 'user', user_id UNION ALL SELECT 'end_user', end_user " \
    "UNION ALL SELECT 'team', team_id UNION ALL SELECT 'organization', organization_id "           \
    "UNION ALL SELECT 'agent', agent_id UNION ALL SELECT 'tag', unnest(tags) UNION ALL "           \
    "SELECT 'team_member', '[' || to_json(team_id)::text || ',' || to_json(user_id)::text || ']' " \
    "WHERE team_id <> '' AND user_id <> '') e (entity_type, entity_id)"

/* Rows: table, date, keys (3), stored and computed, differs; first the number of sums compared. */
#define DAY_SQL                                                                                    \
    "WITH l AS (SELECT e.entity_type COLLATE \"C\" entity_type, e.entity_id COLLATE \"C\" entity_id, " \
    "coalesce(api_key, '') api_key, coalesce(model, '') model, "                                   \
    "coalesce(model_group, '') model_group, "                                                      \
    "coalesce(custom_llm_provider, '') custom_llm_provider, "                                      \
    "coalesce(mcp_namespaced_tool_name, '') mcp_namespaced_tool_name, "                            \
    "coalesce(endpoint, '') endpoint, sum(spend) c1, sum(prompt_tokens) c2, "                      \
    "sum(completion_tokens) c3, sum(cache_read_input_tokens) c4, "                                 \
    "sum(cache_creation_input_tokens) c5, count(*)::numeric c6, "                                  \
    "(count(*) FILTER (WHERE status IS DISTINCT FROM 'failure'))::numeric c7, "                    \
    "(count(*) FILTER (WHERE status = 'failure'))::numeric c8 FROM @.spend_log CROSS JOIN LATERAL " \
    ENTITIES " WHERE day = $1::date AND e.entity_id <> '' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8), "      \
    "d AS (SELECT " KEYS ", spend s1, prompt_tokens::numeric s2, completion_tokens::numeric s3, "  \
    "cache_read_input_tokens::numeric s4, cache_creation_input_tokens::numeric s5, "               \
    "requests::numeric s6, successful_requests::numeric s7, failed_requests::numeric s8 "          \
    "FROM @.spend_daily WHERE date = $1::date), "                                                  \
    "j AS (SELECT *, (s1, s2, s3, s4, s5, s6, s7, s8) IS DISTINCT FROM "                           \
    "(c1, c2, c3, c4, c5, c6, c7, c8) differs FROM l FULL JOIN d USING (" KEYS ")), "              \
    "n AS (SELECT count(*) sums, count(*) FILTER (WHERE differs) bad FROM j) "                     \
    "SELECT n.sums::text, n.bad::text, 'spend_daily', $1::date::text, entity_type, entity_id, api_key, " \
    "model, endpoint, s1::text, c1::text, s6::text, c6::text, (s2 + s3)::text, (c2 + c3)::text "   \
    "FROM n LEFT JOIN (SELECT * FROM j WHERE differs ORDER BY " KEYS " LIMIT $2::int) x ON true"

#define TOTALS_SQL                                                                                 \
    "WITH l AS (SELECT entity_type, entity_id, sum(spend) c1, sum(requests) c6, "                  \
    "sum(prompt_tokens + completion_tokens) c2 FROM @.spend_daily GROUP BY 1, 2), "                \
    "d AS (SELECT entity_type, entity_id, spend s1, requests::numeric s6, tokens::numeric s2 "     \
    "FROM @.spend), j AS (SELECT *, (s1, s6, s2) IS DISTINCT FROM (c1, c6, c2) differs "           \
    "FROM l FULL JOIN d USING (entity_type, entity_id)), "                                         \
    "n AS (SELECT count(*) sums, count(*) FILTER (WHERE differs) bad FROM j) "                     \
    "SELECT n.sums::text, n.bad::text, 'spend', NULL, entity_type, entity_id, NULL, NULL, NULL, "  \
    "s1::text, c1::text, s6::text, c6::text, s2::text, c2::text FROM n LEFT JOIN "                 \
    "(SELECT * FROM j WHERE differs ORDER BY 1, 2 LIMIT $1::int) x ON true"

#define LOOK_SQL                                                                                   \
    "SELECT EXISTS (SELECT FROM @.spend_log WHERE day = $1::date), "                               \
    "EXISTS (SELECT FROM @.spend_daily WHERE date = $1::date), "                                   \
    "EXISTS (SELECT FROM @.seen WHERE day = $1::date)"

enum column { SUMS, BAD, TABLE, DATE };

static const char *const members[] = {
    "table", "date", "entity_type", "entity_id", "api_key", "model", "endpoint", "spend",
    "spend_computed", "requests", "requests_computed", "tokens", "tokens_computed"};

static void next_day(struct flusher *f);

/* --- what one comparison found -------------------------------------------------------------------- */

static void take_compared(struct flusher *f, const struct pg_answer *answer)
{
    struct audit_ask *audit = &f->asked->audit;
    struct json_out *out = f->asked->out;
    int64_t bad = strtoll(pg_value(answer, 0, BAD), NULL, 10);

    audit->compared += strtoll(pg_value(answer, 0, SUMS), NULL, 10);
    audit->differences += bad;
    if (bad == 0)
        return;
    json_clear(out);
    json_object(out);
    json_key(out, "differences");
    json_array(out);
    for (int row = 0; row < answer->rows; row++) {
        json_object(out);
        for (size_t i = 0; i < COUNT_OF(members); i++)
            json_put_text(out, members[i], pg_value(answer, row, TABLE + (int)i));
        json_end(out);
    }
    json_end(out);
    json_end(out);
    asked_item(f);
}

static void not_computed(struct flusher *f, const char *why)
{
    struct json_out *out = f->asked->out;
    char date[16];

    f->asked->audit.skipped++;
    json_clear(out);
    json_object(out);
    json_key(out, "not_computed");
    json_array(out);
    json_object(out);
    json_put_text(out, "date", f->asked->audit.last ? day_text((day_t)f->asked->audit.day, date, sizeof date) : NULL);
    json_put_text(out, "why", why);
    json_end(out);
    json_end(out);
    json_end(out);
    asked_item(f);
}

/* --- the end -------------------------------------------------------------------------------------- */

static void finish(struct flusher *f)
{
    const struct audit_ask *audit = &f->asked->audit;
    struct json_out *out = f->asked->out;
    char why[80];

    json_clear(out);
    json_object(out);
    if (audit->differences > 0) {
        snprintf(why, sizeof why, "%lld of %lld sums differ", (long long)audit->differences,
                 (long long)audit->compared);
        json_put_text(out, "error", why);
        log_error("audit_differs", "sums=%lld differences=%lld", (long long)audit->compared,
                  (long long)audit->differences);
    }
    json_put_number(out, "days", audit->days);
    json_put_number(out, "sums", audit->compared);
    json_put_number(out, "differences", audit->differences);
    json_put_number(out, "not_computed", (int64_t)audit->skipped);
    json_put_number(out, "retention_days", f->settings->spend_log_keep_days);
    json_end(out);
    asked_over(f, audit->differences > 0 ? 409 : 200);
}

static void compare_totals(struct flusher *f)
{
    char most[16];
    const char *values[] = {most};

    snprintf(most, sizeof most, "%d", LISTED_MOST);
    text_clear(&f->asked->sql);
    text_sql(&f->asked->sql, TOTALS_SQL, schema_quoted(f->schema));
    f->asked->take = take_compared;
    f->asked->after = finish;
    asked_query(f, false, f->asked->audit.statement_ms, 1, values);
}

/* --- a day ---------------------------------------------------------------------------------------- */

static void day_done(struct flusher *f)
{
    f->asked->audit.day++;
    f->asked->part = next_day;
    asked_part_done(f);
}

static void compare_day(struct flusher *f)
{
    char day[16], most[16];
    const char *values[] = {day, most};

    day_text((day_t)f->asked->audit.day, day, sizeof day);
    snprintf(most, sizeof most, "%d", LISTED_MOST);
    text_clear(&f->asked->sql);
    text_sql(&f->asked->sql, DAY_SQL, schema_quoted(f->schema));
    f->asked->audit.days++;
    f->asked->take = take_compared;
    f->asked->after = day_done;
    asked_query(f, false, f->asked->audit.statement_ms, 2, values);
}

static void take_look(struct flusher *f, const struct pg_answer *answer)
{
    bool log = pg_value(answer, 0, 0)[0] == 't', daily = pg_value(answer, 0, 1)[0] == 't';
    bool seen = pg_value(answer, 0, 2)[0] == 't';

    f->asked->after = day_done;
    if (seen)
        not_computed(f, "events of this day were counted while spend_log was off");
    else if (daily && !log)
        not_computed(f, "there are no log rows of this day");
    else if (log)
        f->asked->after = compare_day;
}

static void next_day(struct flusher *f)
{
    char day[16];
    const char *values[] = {day};

    if (f->asked->audit.day > f->asked->audit.last) {
        compare_totals(f);
        return;
    }
    day_text((day_t)f->asked->audit.day, day, sizeof day);
    text_clear(&f->asked->sql);
    text_sql(&f->asked->sql, LOOK_SQL, schema_quoted(f->schema));
    f->asked->take = take_look;
    f->asked->after = day_done;
    asked_query(f, false, f->asked->audit.statement_ms, 1, values);
}

/* --- which days ----------------------------------------------------------------------------------- */

static int read_words(struct flusher *f, int64_t *days, struct err *err)
{
    const char *words[ERRAND_WORDS_MAX], *plain[ERRAND_WORDS_MAX], *number = NULL, *time = NULL;
    const struct words_option options[] = {{"--days", &number, NULL}, {"--for", &time, NULL}};
    size_t count = errand_count(f->asked->errand), others;

    for (size_t i = 1; i < count; i++)
        words[i - 1] = errand_word(f->asked->errand, i);
    if (words_read(count - 1, words, options, COUNT_OF(options), plain, &others, err) != 0 ||
        (number != NULL && words_number(number, 1, 3650, days, err) != 0) ||
        (time != NULL && duration_read(time, &f->asked->audit.statement_ms, err) != 0))
        return -1;
    return others == 0 ? 0 : err_set(err, "audit [--days N] [--for T]");
}

void asked_audit(struct flusher *f)
{
    struct audit_ask *audit = &f->asked->audit;
    int64_t days = f->settings->spend_log_keep_days, today = wall_day(wall_now());
    struct err err;

    *audit = (struct audit_ask){.statement_ms = f->settings->database_statement_ms};
    if (read_words(f, &days, &err) != 0) {
        asked_refuse(f, 400, "%s", err.text);
        return;
    }
    if (strcmp(f->settings->database_layout, "spendd") != 0) {
        not_computed(f, "LiteLLM's own tables: its pods add to them and reset them as well, its sums are "
                     "floating point and its log is not kept by us, so a difference would mean nothing. "
                     "Each event is counted once by ledger and seen, in one transaction with its sums");
        finish(f);
        return;
    }
    if (days > f->settings->spend_log_keep_days)
        days = f->settings->spend_log_keep_days;
    audit->day = today - days;
    audit->last = today + AHEAD_DAYS;
    next_day(f);
}
