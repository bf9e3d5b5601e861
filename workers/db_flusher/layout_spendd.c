/*
 * layout_spendd.c - our own tables: spend (per entity) and spend_daily (per entity, day, dimensions).
 *
 * Rows come up sorted by the index of their table and are read as they lie (a temporary table that was
 * filled once is read from its beginning), so that neighbours in the index are touched together, and no
 * server sorts nine text columns again.  Where a writer that is not ours takes the same rows in another
 * order, PostgreSQL ends one of the two, and the flush is made again.
 * Exact: numeric and bigint.  Pure; the flush sends it.
 */
#include "workers/db_flusher/layout.h"

#include "workers/db_flusher/copy.h"
#include "workers/db_flusher/merge.h"

#include <string.h>

/* A piece is a type of entities: both tables have it in their key. */
static int add(const struct layout *layout, struct tally *const table[LAYOUT_TABLES],
               const struct event *event, unsigned pieces)
{
    (void)layout;
    return merge_event(table[0], table[1], event, pieces);
}

static void spend_row(const struct layout *layout, unsigned table, struct text *text,
                      const struct sum *sum, const struct tally *tally)
{
    struct slice id;
    unsigned type = merge_entity(tally_key(tally, sum), sum->length, &id);

    (void)layout;
    (void)table;
    copy_row(text, 5);
    copy_string(text, entity_name(type));
    copy_key(text, id);
    copy_money(text, sum->spend);
    copy_bigint(text, sum->count[TALLY_PROMPT] + sum->count[TALLY_COMPLETION]);
    copy_bigint(text, sum->count[TALLY_REQUESTS]);
}

static void daily_row(const struct layout *layout, unsigned table, struct text *text,
                      const struct sum *sum, const struct tally *tally)
{
    struct slice column[DAILY_KEY_COLUMNS];
    day_t day;
    unsigned type = merge_day(tally_key(tally, sum), sum->length, &day, column);

    (void)layout;
    (void)table;
    copy_row(text, 3 + DAILY_KEY_COLUMNS + TALLY_COUNTS);
    copy_day(text, day);
    copy_string(text, entity_name(type));
    for (int i = 0; i < DAILY_KEY_COLUMNS; i++)
        copy_key(text, column[i]);
    copy_money(text, sum->spend);
    for (int i = 0; i < TALLY_COUNTS; i++)
        copy_bigint(text, sum->count[i]);
}

#define C_TEXT " text COLLATE \"C\" NOT NULL"
#define DAILY_KEYS                                                                                 \
    "date, entity_type, entity_id, api_key, model, model_group, custom_llm_provider, "            \
    "mcp_namespaced_tool_name, endpoint"
#define DAILY_SUMS                                                                                 \
    "spend, prompt_tokens, completion_tokens, cache_read_input_tokens, "                           \
    "cache_creation_input_tokens, requests, successful_requests, failed_requests"
#define DAILY_COLUMNS                                                                              \
    "date date NOT NULL, entity_type" C_TEXT ", entity_id" C_TEXT ", api_key" C_TEXT               \
    " DEFAULT '', model" C_TEXT " DEFAULT '', model_group" C_TEXT                                  \
    " DEFAULT '', custom_llm_provider" C_TEXT " DEFAULT '', mcp_namespaced_tool_name" C_TEXT       \
    " DEFAULT '', endpoint" C_TEXT " DEFAULT '', spend numeric NOT NULL, "                         \
    "prompt_tokens bigint NOT NULL, completion_tokens bigint NOT NULL, "                           \
    "cache_read_input_tokens bigint NOT NULL, cache_creation_input_tokens bigint NOT NULL, "       \
    "requests bigint NOT NULL, successful_requests bigint NOT NULL, "                              \
    "failed_requests bigint NOT NULL"
#define SPEND_COLUMNS                                                                              \
    "entity_type" C_TEXT ", entity_id" C_TEXT ", spend numeric NOT NULL, tokens bigint NOT NULL, " \
    "requests bigint NOT NULL"
#define SUM(column) #column " = t." #column " + excluded." #column ", "

static const struct layout_table tables[] = {
    {
        .name = "spend",
        .target = "@.spend",
        .create = "CREATE TEMP TABLE spendd_spend (" SPEND_COLUMNS ") ON COMMIT DROP",
        .copy = "COPY pg_temp.spendd_spend FROM STDIN (FORMAT binary)",
        .merge = "INSERT INTO @.spend AS t (entity_type, entity_id, spend, tokens, requests) "
                 "SELECT entity_type, entity_id, spend, tokens, requests FROM pg_temp.spendd_spend "
                 "ON CONFLICT (entity_type, entity_id) DO UPDATE SET " SUM(spend) SUM(tokens)
                     SUM(requests) "updated_at = now()",
        .missed = METRICS,
        .row = spend_row,
    },
    {
        .name = "spend_daily",
        .target = "@.spend_daily",
        .create = "CREATE TEMP TABLE spendd_daily (" DAILY_COLUMNS ") ON COMMIT DROP",
        .copy = "COPY pg_temp.spendd_daily FROM STDIN (FORMAT binary)",
        .merge = "INSERT INTO @.spend_daily AS t (" DAILY_KEYS ", " DAILY_SUMS ") "
                 "SELECT " DAILY_KEYS ", " DAILY_SUMS " FROM pg_temp.spendd_daily"
                 " ON CONFLICT (" DAILY_KEYS ") DO UPDATE SET " SUM(spend) SUM(prompt_tokens)
                     SUM(completion_tokens) SUM(cache_read_input_tokens)
                         SUM(cache_creation_input_tokens) SUM(requests) SUM(successful_requests)
                             SUM(failed_requests) "updated_at = now()",
        .missed = METRICS,
        .row = daily_row,
    },
};

static int open_layout(struct layout *layout, struct err *err)
{
    (void)err;
    layout->tables = COUNT_OF(tables);
    memcpy(layout->table, tables, sizeof tables);
    layout->known = layout->takes_events = true;
    return 0;
}

const struct layout_kind layout_spendd = {
    .name = "spendd",
    .tables_sql =
        "CREATE TABLE IF NOT EXISTS @.spend (" SPEND_COLUMNS ", updated_at timestamptz NOT NULL "
        "DEFAULT now(), PRIMARY KEY (entity_type, entity_id)) WITH (fillfactor = 70);\n"
        "CREATE TABLE IF NOT EXISTS @.spend_daily (" DAILY_COLUMNS ", updated_at timestamptz NOT "
        "NULL DEFAULT now(), PRIMARY KEY (" DAILY_KEYS ")) WITH (fillfactor = 80);\n",
    .marker = "spend",
    .keeps_log = true,
    .pieces = ENTITY_TYPES,
    .open = open_layout,
    .add = add,
};
