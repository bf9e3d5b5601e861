/*
 * litellm_sql.c - the statements of the layout "litellm", made of what the catalog has.
 *
 * Entities are added to by UPDATE ... FROM, which takes rows in any order it likes: so they are locked
 * first, sorted by the bytes of the id, as LiteLLM's own writers sort them.  (FOR NO KEY UPDATE: what the
 * UPDATE takes, no more.)  Days are inserted or added to, in the order of the index's columns.  What LiteLLM's
 * client would set, we set: updated_at, last_active, and the id of a new daily row.  Times are UTC without
 * zone.  Sums that are float8 there are added as float8, each once a flush.
 *
 * A table that is missing gets its sums in a table of ours that is shaped like the temporary one; bringing
 * them in is the same statement with that as its source.
 * Pure; dying here loses nothing.
 */
#include "workers/db_flusher/litellm_inside.h"

#include <stdio.h>
#include <string.h>

#define UTC_NOW "(now() AT TIME ZONE 'UTC')"

#define COUNT_COLUMNS                                                                              \
    "prompt_tokens bigint, completion_tokens bigint, cache_read_input_tokens bigint, "             \
    "cache_creation_input_tokens bigint, api_requests bigint, successful_requests bigint, "        \
    "failed_requests bigint"
#define EXTRA_COUNT "bigint"
#define EXTRA_AMOUNT "float8"
#define EXTRA(name, kind) ", " #name " " EXTRA_##kind
static const char daily_columns[] =
    "who text, date text, api_key text, model text, custom_llm_provider text, "
    "mcp_namespaced_tool_name text, endpoint text, model_group text, request_id text, spend float8, "
    COUNT_COLUMNS
#include "workers/db_flusher/litellm.def"
    ;
#undef EXTRA

/* --- pieces --------------------------------------------------------------------------------------- */

/* Names in a list, each with something before it. */
struct list {
    struct text *to;
    const char *between;
    unsigned count;
};

static void item(struct list *list, const char *format, const char *a, const char *b)
{
    if (list->count++)
        text_put(list->to, list->between);
    text_format(list->to, format, a, b);
}

static void target_name(struct text *to, const struct litellm *it, unsigned t)
{
    if (it->table[t].there) {
        text_put(to, it->quoted);
        text_format(to, ".\"%s\"", litellm_words[t].table);
    } else {
        text_format(to, "@.%s", litellm_words[t].name);
    }
}

/* --- entities ------------------------------------------------------------------------------------- */

/* Newer releases make the row of a member who stands in the team's own list.  The lock is the one that LiteLLM
 * takes to change that list: nobody comes back who is being removed.  (jsonb_contains is the operator that has
 * our placeholder in its name.) */
static void absent_members(struct text *to, const struct litellm *it, const char *target, const char *from)
{
    text_format(to, " FROM %s s JOIN %s", from, it->quoted);
    text_format(to, ".\"%s\" l ON l.team_id = s.id WHERE s.second <> '' AND ", litellm_words[LITELLM_team].table);
    text_put(to, "jsonb_contains(l.members_with_roles, jsonb_build_array(jsonb_build_object('user_id', s.second))) ");
    text_format(to, "AND NOT EXISTS (SELECT FROM %s t WHERE t.team_id = s.id AND t.user_id = s.second)", target);
}

static void make_members(struct text *to, const struct litellm *it, const char *target, const char *from)
{
    text_put(to, "SELECT pg_advisory_xact_lock(hashtext(id)) FROM (SELECT DISTINCT s.id COLLATE \"C\" AS id");
    absent_members(to, it, target, from);
    text_format(to, " ORDER BY 1) x; INSERT INTO %s (team_id, user_id) SELECT s.id, s.second", target);
    absent_members(to, it, target, from);
    text_put(to, " ON CONFLICT DO NOTHING; ");
}

static void match(struct text *to, const struct litellm_words *words)
{
    text_format(to, "t.\"%s\" = s.id", words->id);
    if (words->second[0])
        text_format(to, " AND t.\"%s\" = s.second", words->second);
}

static void lock_rows(struct text *to, const char *target, const char *from,
                      const struct litellm_words *words)
{
    text_format(to, "SELECT count(*) FROM (SELECT FROM %s t JOIN %s s ON ", target, from);
    match(to, words);
    text_put(to, " ORDER BY s.id COLLATE \"C\", s.second COLLATE \"C\" FOR NO KEY UPDATE OF t) x");
}

static void update_rows(struct text *to, const char *target, const char *from,
                        const struct litellm_words *words, const struct litellm_table *table)
{
    text_format(to, "UPDATE %s t SET spend = coalesce(t.spend, 0) + s.amount", target);
    if (table->total_spend)
        text_put(to, ", total_spend = coalesce(t.total_spend, 0) + s.amount");
    if (table->updated_at)
        text_put(to, ", updated_at = " UTC_NOW);
    if (table->last_active)
        text_put(to, ", last_active = " UTC_NOW);
    text_format(to, " FROM %s s WHERE ", from);
    match(to, words);
}

/* An id of "" names nobody, and makes no row. */
static void upsert_rows(struct text *to, const char *target, const char *from,
                        const struct litellm_words *words)
{
    text_format(to, "INSERT INTO %s AS t (\"%s\", spend) SELECT id, amount FROM %s ", target, words->id, from);
    text_format(to, "WHERE id <> '' ON CONFLICT (\"%s\") DO UPDATE SET spend = t.spend + excluded.spend",
                words->id);
}

static void build_entity(const struct litellm *it, unsigned t, struct text sql[SQLS])
{
    const struct litellm_words *words = &litellm_words[t];
    const struct litellm_table *table = &it->table[t];
    const char *target = sql[SQL_TARGET].data;
    char from[64], kept[64];

    snprintf(from, sizeof from, "pg_temp.spendd_%s", words->name);
    snprintf(kept, sizeof kept, "@.%s", words->name);
    text_format(&sql[SQL_CREATE], "CREATE TEMP TABLE spendd_%s (id text, second text, amount float8) "
                "ON COMMIT DROP", words->name);
    if (!table->there) {
        text_format(&sql[SQL_MERGE], "INSERT INTO %s AS t (id, second, amount) SELECT id, second, amount "
                    "FROM %s ON CONFLICT (id, second) DO UPDATE SET amount = t.amount + excluded.amount",
                    target, from);
        return;
    }
    if (words->upsert) {
        upsert_rows(&sql[SQL_MERGE], target, from, words);
    } else {
        if (t == LITELLM_team_member && it->newer)
            make_members(&sql[SQL_LOCK], it, target, from);
        lock_rows(&sql[SQL_LOCK], target, from, words);
        update_rows(&sql[SQL_MERGE], target, from, words, table);
    }
    if (!table->kept)
        return;
    if (words->upsert) {
        upsert_rows(&sql[SQL_MOVE], target, kept, words);
    } else {
        lock_rows(&sql[SQL_MOVE], target, kept, words);
        text_put(&sql[SQL_MOVE], "; ");
        update_rows(&sql[SQL_MOVE], target, kept, words, table);
    }
    text_format(&sql[SQL_MOVE], "; DELETE FROM %s", kept);
}

/* --- days ----------------------------------------------------------------------------------------- */

/* Each column that the target has: its name there, and in what it is filled from. */
struct daily_column {
    const char *name, *from;
    bool key, text;
};

#define DAILY_COLUMNS_MOST (LITELLM_TEXTS + 1 + TALLY_COUNTS + LITELLM_EXTRAS)

static unsigned daily_list(const struct litellm_words *words, const struct litellm_table *table,
                           struct daily_column column[DAILY_COLUMNS_MOST])
{
    bool there = table->there;
    unsigned count = 0;

    for (unsigned i = 0; i < LITELLM_TEXTS; i++)
        if (!there || table->has[i])
            column[count++] = (struct daily_column){
                there && i == LITELLM_WHO ? words->id : litellm_text_columns[i],
                litellm_text_columns[i], i < LITELLM_KEYS && (!there || table->key[i]), true};
    column[count++] = (struct daily_column){"spend", "spend", false, false};
    for (unsigned i = 0; i < TALLY_COUNTS; i++)
        column[count++] = (struct daily_column){litellm_count_columns[i], litellm_count_columns[i],
                                                false, false};
    for (unsigned i = 0; i < LITELLM_EXTRAS; i++)
        if (!there || table->extra[i])
            column[count++] = (struct daily_column){litellm_extra_columns[i].name,
                                                    litellm_extra_columns[i].name, false, false};
    return count;
}

/* `fold`: rows of the source may be one row here, because the index has fewer columns than our key. */
struct daily_insert {
    const char *target, *from;
    const struct daily_column *column;
    unsigned columns;
    bool there, fold;
};

static void daily_select(struct text *to, const struct daily_insert *insert)
{
    struct list values = {to, ", ", 0}, keys = {to, ", ", 0};

    text_put(to, insert->there ? "SELECT gen_random_uuid()::text, " UTC_NOW ", " : "SELECT ");
    for (unsigned i = 0; i < insert->columns; i++) {
        const struct daily_column *column = &insert->column[i];

        item(&values, !insert->fold || column->key ? "%s" : column->text ? "min(%s)" : "sum(%s)",
             column->from, "");
    }
    text_format(to, " FROM %s", insert->from);
    if (!insert->fold)
        return;
    text_put(to, " GROUP BY ");
    for (unsigned i = 0; i < insert->columns; i++)
        if (insert->column[i].key)
            item(&keys, "%s", insert->column[i].from, "");
    keys.count = 0;
    text_put(to, " ORDER BY ");
    for (unsigned i = 0; i < insert->columns; i++)
        if (insert->column[i].key)
            item(&keys, "%s COLLATE \"C\"", insert->column[i].from, "");
}

static void daily_upsert(struct text *to, const struct daily_insert *insert)
{
    struct list names = {to, ", ", 0}, keys = {to, ", ", 0}, sets = {to, ", ", 0};

    text_format(to, "INSERT INTO %s AS t (%s", insert->target, insert->there ? "id, updated_at, " : "");
    for (unsigned i = 0; i < insert->columns; i++)
        item(&names, "\"%s\"", insert->column[i].name, "");
    text_put(to, ") ");
    daily_select(to, insert);
    text_put(to, " ON CONFLICT (");
    for (unsigned i = 0; i < insert->columns; i++)
        if (insert->column[i].key)
            item(&keys, "\"%s\"", insert->column[i].name, "");
    text_put(to, ") DO UPDATE SET ");
    for (unsigned i = 0; i < insert->columns; i++) {
        const char *name = insert->column[i].name;

        if (!insert->column[i].text)
            item(&sets, "%s = t.%s + ", name, name);
        if (!insert->column[i].text)
            text_format(to, "excluded.%s", name);
        else if (strcmp(name, "request_id") == 0)
            item(&sets, "request_id = coalesce(excluded.request_id, t.request_id)", "", "");
    }
    text_put(to, insert->there ? ", updated_at = excluded.updated_at" : "");
}

static void build_daily(const struct litellm *it, unsigned t, struct text sql[SQLS])
{
    const struct litellm_words *words = &litellm_words[t];
    const struct litellm_table *table = &it->table[t];
    struct daily_column column[DAILY_COLUMNS_MOST];
    char from[64], kept[64];
    struct daily_insert insert = {.target = sql[SQL_TARGET].data, .from = from, .column = column,
                                  .there = table->there};

    snprintf(from, sizeof from, "pg_temp.spendd_%s", words->name);
    snprintf(kept, sizeof kept, "@.%s", words->name);
    insert.columns = daily_list(words, table, column);
    for (unsigned i = 0; table->there && i < LITELLM_KEYS; i++)
        insert.fold |= !table->key[i];
    text_format(&sql[SQL_CREATE], "CREATE TEMP TABLE spendd_%s (", words->name);
    text_put(&sql[SQL_CREATE], daily_columns);
    text_put(&sql[SQL_CREATE], ") ON COMMIT DROP");
    daily_upsert(&sql[SQL_MERGE], &insert);
    if (!table->there || !table->kept)
        return;
    insert.from = kept;
    insert.fold = true; /* and in order: they lie there as they came */
    daily_upsert(&sql[SQL_MOVE], &insert);
    text_format(&sql[SQL_MOVE], "; DELETE FROM %s", kept);
}

/* --- all ------------------------------------------------------------------------------------------ */

int litellm_build(struct layout *layout)
{
    struct litellm *it = layout->litellm;
    bool failed = false;

    for (unsigned t = 0; t < LITELLM_TABLES; t++) {
        struct text *sql = it->sql[t];
        struct layout_table *table = &layout->table[t];

        for (unsigned i = 0; i < SQLS; i++)
            text_clear(&sql[i]);
        target_name(&sql[SQL_TARGET], it, t);
        text_format(&sql[SQL_COPY], "COPY pg_temp.spendd_%s FROM STDIN (FORMAT binary)",
                    litellm_words[t].name);
        if (t < LITELLM_ENTITIES)
            build_entity(it, t, sql);
        else
            build_daily(it, t, sql);
        for (unsigned i = 0; i < SQLS; i++)
            failed |= sql[i].failed;
        table->target = sql[SQL_TARGET].data;
        table->create = sql[SQL_CREATE].data;
        table->copy = sql[SQL_COPY].data;
        table->move = sql[SQL_MOVE].used ? sql[SQL_MOVE].data : NULL;
        table->lock = sql[SQL_LOCK].used ? sql[SQL_LOCK].data : NULL;
        table->merge = sql[SQL_MERGE].data;
        table->kept = !it->table[t].there;
        table->missed = it->table[t].there ? litellm_words[t].missed : METRICS;
    }
    return failed ? -1 : 0;
}
