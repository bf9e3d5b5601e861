/*
 * litellm_catalog.c - what LiteLLM's schema really has, read at each connect.
 *
 * LiteLLM's tables grow from release to release: columns come, indexes get wider, whole tables appear.
 * Nothing is assumed but names: of each table of litellm.def the columns that we know, and of a daily one
 * the unique index that its rows are merged by.  A table that is missing (or has no `spend`, as agents before
 * 1.82; or no such index) is not written, and reported by name; its sums are kept in a table of our own schema
 * of the same shape, and brought in by the first flush after it has appeared.  So an operator with an
 * older LiteLLM has all the rest counted, and loses nothing by upgrading later.
 * Only a schema that has no LiteLLM at all is refused: that is the wrong one.
 * Decides by the answer alone; dying here loses nothing.
 */
#include "workers/db_flusher/litellm_inside.h"

#include <stdio.h>
#include <string.h>

#define ENTITY(name, table, id, second, manner) "'" table "', "
#define DAILY(name, table, column) "'" table "', "
static const char names[] =
#include "workers/db_flusher/litellm.def"
    "'LiteLLM_SpendLogs'";
#undef ENTITY
#undef DAILY

enum column { TABLE, KIND, GROUP, COLUMN }; /* of the answer, sorted by them */

/* Rows: table, 'c', '', column; table, 'i', index, column; name of ours, 'k', '', ''. */
static const char columns_sql[] =
    "WITH t AS (SELECT c.oid, c.relname::text name FROM pg_catalog.pg_class c "
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relname IN (";
static const char indexes_sql[] =
    ")) SELECT name, 'c' kind, '' index, a.attname::text FROM t "
    "JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid WHERE a.attnum > 0 AND NOT a.attisdropped "
    "UNION ALL SELECT name, 'i', i.indexrelid::text, a.attname::text FROM t "
    "JOIN pg_catalog.pg_index i ON i.indrelid = t.oid "
    "JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (i.indkey::int2[]) "
    "WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL "
    "AND i.indnatts = i.indnkeyatts";

void litellm_look(struct layout *layout, const char *schema, struct text *sql)
{
    struct litellm *it = layout->litellm;

    snprintf(it->schema, sizeof it->schema, "%s", schema[0] ? schema : "public");
    text_put(sql, columns_sql);
    text_put(sql, names);
    text_put(sql, indexes_sql);
    for (unsigned t = 0; t < LITELLM_TABLES; t++) {
        text_format(sql, " UNION ALL SELECT '%s', 'k', '', '' WHERE EXISTS (SELECT FROM ", litellm_words[t].name);
        text_put(sql, "@.");
        text_format(sql, "%s)", litellm_words[t].name);
    }
    text_put(sql, " ORDER BY 1, 2, 3, 4");
}

/* Is there a row that says so?  `group` NULL: in any. */
static bool says(const struct pg_answer *answer, const char *table, char kind, const char *group,
                 const char *column)
{
    for (int row = 0; row < answer->rows; row++)
        if (pg_value(answer, row, KIND)[0] == kind && strcmp(pg_value(answer, row, TABLE), table) == 0 &&
            (!group || strcmp(pg_value(answer, row, GROUP), group) == 0) &&
            strcmp(pg_value(answer, row, COLUMN), column) == 0)
            return true;
    return false;
}

static bool has_column(const struct pg_answer *answer, const char *table, const char *column)
{
    return says(answer, table, 'c', NULL, column);
}

static const char *text_column(const struct litellm_words *words, unsigned text)
{
    return text == LITELLM_WHO ? words->id : litellm_text_columns[text];
}

/* Is this one index made of key columns alone, day and whose among them?  Then they are the table's key. */
static bool take_index(struct litellm_table *table, const struct litellm_words *words,
                       const struct pg_answer *answer, int first)
{
    const char *index = pg_value(answer, first, GROUP);
    bool key[LITELLM_KEYS] = {false};
    int columns = 0, known = 0;

    for (int row = first; row < answer->rows && strcmp(pg_value(answer, row, GROUP), index) == 0; row++)
        columns++;
    for (unsigned i = 0; i < LITELLM_KEYS; i++) {
        key[i] = says(answer, words->table, 'i', index, text_column(words, i));
        known += key[i];
    }
    if (columns != known || !key[LITELLM_WHO] || !key[LITELLM_DATE])
        return false;
    memcpy(table->key, key, sizeof key);
    return true;
}

static bool learn_daily(struct litellm_table *table, const struct litellm_words *words,
                        const struct pg_answer *answer)
{
    const char *before = "";

    for (unsigned i = 0; i < LITELLM_TEXTS; i++)
        table->has[i] = has_column(answer, words->table, text_column(words, i));
    for (unsigned i = 0; i < LITELLM_EXTRAS; i++)
        table->extra[i] = has_column(answer, words->table, litellm_extra_columns[i].name);
    for (unsigned i = 0; i < TALLY_COUNTS; i++)
        if (!has_column(answer, words->table, litellm_count_columns[i]))
            return false;
    for (int row = 0; row < answer->rows; row++) {
        if (pg_value(answer, row, KIND)[0] != 'i' || strcmp(pg_value(answer, row, TABLE), words->table) != 0 ||
            strcmp(pg_value(answer, row, GROUP), before) == 0)
            continue;
        before = pg_value(answer, row, GROUP);
        if (take_index(table, words, answer, row))
            return true;
    }
    return false;
}

static bool learn_entity(struct litellm_table *table, const struct litellm_words *words,
                         const struct pg_answer *answer)
{
    table->updated_at = has_column(answer, words->table, "updated_at");
    table->last_active = has_column(answer, words->table, "last_active");
    table->total_spend = has_column(answer, words->table, "total_spend");
    return has_column(answer, words->table, words->id) &&
           (words->second[0] == '\0' || has_column(answer, words->table, words->second));
}

static void note_missing(struct litellm *it, const char *name)
{
    size_t used = strlen(it->missing);

    it->missing_count++;
    snprintf(it->missing + used, sizeof it->missing - used, "%s%s", used ? ", " : "", name);
}

int litellm_learn(struct layout *layout, const struct pg_answer *answer, struct err *err)
{
    struct litellm *it = layout->litellm;

    it->missing[0] = '\0';
    it->missing_count = 0;
    if (strcmp(it->schema, layout->settings->database_schema) == 0)
        return err_set(err, "database.schema is LiteLLM's own: its migrations would drop our tables");
    if (strchr(it->schema, '@') || pg_identifier(it->schema, it->quoted, sizeof it->quoted))
        return err_set(err, "LiteLLM's schema has a name that is too long, or an @ in it");
    if (!has_column(answer, "LiteLLM_SpendLogs", "request_id") ||
        !has_column(answer, "LiteLLM_VerificationToken", "spend"))
        return err_set(err, "the schema %s has no tables of LiteLLM: is schema= of database.url right, and "
                       "has LiteLLM migrated it?", it->schema);
    for (unsigned t = 0; t < LITELLM_TABLES; t++) {
        const struct litellm_words *words = &litellm_words[t];
        struct litellm_table *table = &it->table[t];

        *table = (struct litellm_table){.kept = says(answer, words->name, 'k', "", "")};
        table->there = t < LITELLM_ENTITIES ? learn_entity(table, words, answer)
                                            : learn_daily(table, words, answer);
        table->there = table->there && has_column(answer, words->table, "spend");
        if (!table->there)
            note_missing(it, words->table);
    }
    it->newer = it->table[LITELLM_team_member].total_spend &&
                has_column(answer, litellm_words[LITELLM_team].table, "members_with_roles");
    it->timed = it->table[LITELLM_ENTITIES + LITELLM_DAILY_user].extra[LITELLM_timed_requests];
    for (unsigned i = 0; i < LITELLM_LOG_COLUMNS; i++)
        it->log[i] = has_column(answer, "LiteLLM_SpendLogs", litellm_log_columns[i].name);
    return litellm_build(layout) || litellm_build_log(layout) ? err_set(err, "out of memory") : 0;
}
