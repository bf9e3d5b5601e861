/*
 * layout_litellm.c - LiteLLM's own tables: eleven of entities, six of days, and SpendLogs (litellm_log.c).
 *
 * Nothing is ever made in LiteLLM's schema: its migrations drop what they do not know.  What is ours lies in
 * spendd's own one, the tables that keep the sums of a missing table of LiteLLM among it.
 * The schema is the one that schema= of database.url names, else public, as LiteLLM's engine reads it.
 * Sums of amounts are exact up to the row that goes up, where they become a float8 (money.h).
 * Owns its statements; pure, the flush sends them; dying here loses nothing.
 */
#include "workers/db_flusher/litellm_inside.h"

#include "workers/db_flusher/copy.h"

#include <stdlib.h>
#include <string.h>

#define UPDATE false
#define UPSERT true
const struct litellm_words litellm_words[LITELLM_TABLES] = {
#define ENTITY(name, table, id, second, manner)                                                    \
    {"kept_" #name, table, id, second, manner, METRIC_litellm_missed_##name##_total},
#define DAILY(name, table, column) {"kept_daily_" #name, table, column, "", true, METRICS},
#include "workers/db_flusher/litellm.def"
#undef ENTITY
#undef DAILY
};

const char *const litellm_text_columns[LITELLM_TEXTS] = {
    [LITELLM_WHO] = "who",
    [LITELLM_DATE] = "date",
    [LITELLM_API_KEY] = "api_key",
    [LITELLM_MODEL] = "model",
    [LITELLM_PROVIDER] = "custom_llm_provider",
    [LITELLM_TOOL] = "mcp_namespaced_tool_name",
    [LITELLM_ENDPOINT] = "endpoint",
    [LITELLM_MODEL_GROUP] = "model_group",
    [LITELLM_REQUEST_ID] = "request_id",
};

const char *const litellm_count_columns[TALLY_COUNTS] = {
    [TALLY_PROMPT] = "prompt_tokens",
    [TALLY_COMPLETION] = "completion_tokens",
    [TALLY_CACHE_READ] = "cache_read_input_tokens",
    [TALLY_CACHE_CREATION] = "cache_creation_input_tokens",
    [TALLY_REQUESTS] = "api_requests",
    [TALLY_SUCCESSFUL] = "successful_requests",
    [TALLY_FAILED] = "failed_requests",
};

#define IS_COUNT true
#define IS_AMOUNT false
#define EXTRA(name, kind) {#name, IS_##kind},
const struct litellm_extra_column litellm_extra_columns[LITELLM_EXTRAS] = {
#include "workers/db_flusher/litellm.def"
};
#undef EXTRA

/* --- rows ----------------------------------------------------------------------------------------- */

static void entity_row(const struct layout *layout, unsigned table, struct text *text,
                       const struct sum *sum, const struct tally *tally)
{
    struct slice id, second;

    (void)layout;
    (void)table;
    litellm_entity_key(sum, tally, &id, &second);
    copy_row(text, 3);
    copy_key(text, id);
    copy_key(text, second);
    copy_double(text, amount_double(sum->spend));
}

/* Key columns are "" where they are absent, the others NULL. */
static void daily_row(const struct layout *layout, unsigned table, struct text *text,
                      const struct sum *sum, const struct tally *tally)
{
    static const amount_t none[LITELLM_EXTRAS];
    const amount_t *extra = tally_extra(tally, sum);
    struct slice column[LITELLM_TEXTS];

    (void)layout;
    (void)table;
    litellm_daily_key(sum, tally, column);
    extra = extra ? extra : none;
    copy_row(text, LITELLM_TEXTS + 1 + TALLY_COUNTS + LITELLM_EXTRAS);
    for (unsigned i = 0; i < LITELLM_TEXTS; i++)
        (i < LITELLM_KEYS ? copy_key : copy_slice)(text, column[i]);
    copy_double(text, amount_double(sum->spend));
    for (unsigned i = 0; i < TALLY_COUNTS; i++)
        copy_bigint(text, sum->count[i]);
    for (unsigned i = 0; i < LITELLM_EXTRAS; i++)
        if (litellm_extra_columns[i].count)
            copy_bigint(text, (int64_t)extra[i]);
        else
            copy_double(text, amount_double(extra[i]));
}

/* --- life ----------------------------------------------------------------------------------------- */

static int add(const struct layout *layout, struct tally *const table[LAYOUT_TABLES],
               const struct event *event, unsigned pieces)
{
    (void)pieces; /* a table is its own piece */
    return layout->litellm->full ? litellm_fan_out(layout, table, event) : 0;
}

static int open_layout(struct layout *layout, struct err *err)
{
    layout->litellm = calloc(1, sizeof *layout->litellm);
    if (!layout->litellm)
        return err_set(err, "out of memory");
    layout->tables = LITELLM_TABLES;
    layout->takes_events = strcmp(layout->settings->litellm_events, "off") != 0;
    layout->litellm->full = strcmp(layout->settings->litellm_events, "full") == 0;
    for (unsigned t = 0; t < LITELLM_TABLES; t++) {
        layout->table[t].name = litellm_words[t].table;
        layout->table[t].row = t < LITELLM_ENTITIES ? entity_row : daily_row;
    }
    return 0;
}

static void close_layout(struct layout *layout)
{
    if (!layout->litellm)
        return;
    for (unsigned t = 0; t < LITELLM_TABLES; t++)
        for (unsigned i = 0; i < SQLS; i++)
            text_free(&layout->litellm->sql[t][i]);
    text_free(&layout->litellm->log_create);
    text_free(&layout->litellm->log_insert);
    text_free(&layout->litellm->log_others);
    free(layout->litellm);
}

/* What is kept for a table that is missing. */
#define KIND_COUNT "bigint"
#define KIND_AMOUNT "float8"
#define EXTRA(name, kind) ", " #name " " KIND_##kind

static const char tables_sql[] =
    "CREATE TABLE IF NOT EXISTS @.kept_daily (who text, date text, api_key text, model text, "
    "custom_llm_provider text, mcp_namespaced_tool_name text, endpoint text, model_group text, "
    "request_id text, spend float8, prompt_tokens bigint, completion_tokens bigint, "
    "cache_read_input_tokens bigint, cache_creation_input_tokens bigint, api_requests bigint, "
    "successful_requests bigint, failed_requests bigint, "
    "PRIMARY KEY (who, date, api_key, model, custom_llm_provider, mcp_namespaced_tool_name, endpoint)"
#include "workers/db_flusher/litellm.def"
    ");\n"
#undef EXTRA
#define ENTITY(name, table, id, second, manner)                                                    \
    "CREATE TABLE IF NOT EXISTS @.kept_" #name " (id text NOT NULL, second text NOT NULL, "        \
    "amount float8 NOT NULL, PRIMARY KEY (id, second));\n"
#define DAILY(name, table, column)                                                                 \
    "CREATE TABLE IF NOT EXISTS @.kept_daily_" #name " (LIKE @.kept_daily INCLUDING ALL);\n"
#include "workers/db_flusher/litellm.def"
    ;

const struct layout_kind layout_litellm = {
    .name = "litellm",
    .tables_sql = tables_sql,
    .marker = "kept_user",
    .keeps_log = false,
    .pieces = 1,
    .open = open_layout,
    .close = close_layout,
    .add = add,
    .look = litellm_look,
    .learn = litellm_learn,
};
