/*
 * schema.c - spendd's own schema and the partitions of its log.  See schema.h.
 *
 *   look -> (migrate -> look) -> list partitions -> make one day -> ... -> drop one -> ... -> ready
 *
 * Looking is in a transaction too: a look that waits for somebody's lock must end on the server when it
 * ends here, and limits without a transaction would stay with a pooler's session.
 * Migration is one transaction under an advisory lock and says IF NOT EXISTS everywhere: two instances
 * at their first start make one schema.  A partition is made under the shard's row lock, in one
 * transaction that moves the day's rows out of the default partition first (PostgreSQL refuses it
 * otherwise).  If we die on any line, that transaction is rolled back and the next start does it.
 * Partition work that fails for a lock is left for the next time: rows go to the default partition
 * meanwhile and are counted all the same.
 */
#include "workers/db_flusher/schema.h"

#include "common/base/log.h"
#include "common/pg/schema.h"
#include "common/pg/transaction.h"
#include "workers/db_flusher/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_QUOTED 132
#define DAYS_MAX 72
#define DROPS_PER_CHECK 16
#define ADVISORY_KEY "7308895133900989540" /* "spendd" and a number: ours alone */

struct schema {
    struct pg *pg;
    const struct settings *settings;
    const struct layout *layout;
    char quoted[NAME_MAX_QUOTED];
    char install[40];
    bool migrated; /* in this check */
    bool open;     /* the looking's transaction */
    bool usable;   /* in this check: the schema is there and of our version */
    int races;     /* likewise: lost, each to another flusher */
    day_t today;
    bool have[DAYS_MAX]; /* partitions of today - 1, today, ... */
    day_t drop[DROPS_PER_CHECK];
    int drops, at;
    struct text sql;
    schema_fn *done;
    void *arg;
};

#define COLUMN_TEXT " text COLLATE \"C\""
#define COLUMN_COUNT " bigint NOT NULL DEFAULT 0"
#define COLUMN_MONEY " numeric NOT NULL"
#define COLUMN_TIME " timestamptz"
#define COLUMN_TAGS " text[]"
#define COLUMN_JSON " json"

/* Ledger rows are never purged: a batch whose row were gone would have to be refused or counted again,
 * and an instance that was idle for long still goes on under its old epoch.  A row per start is small.
 *
 * json, not jsonb: jsonb refuses \u0000 and huge numbers, and no valid event may be refused. */
static const char tables_sql[] =
    "CREATE TABLE IF NOT EXISTS @.shard (shard int PRIMARY KEY);\n"
    "INSERT INTO @.shard VALUES (0) ON CONFLICT DO NOTHING;\n"
    "CREATE TABLE IF NOT EXISTS @.ledger (epoch uuid NOT NULL, shard int NOT NULL, "
    "applied int8multirange NOT NULL DEFAULT '{}', version bigint NOT NULL DEFAULT 0, "
    "created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(), "
    "PRIMARY KEY (epoch, shard)) WITH (fillfactor = 50);\n"
    "CREATE TABLE IF NOT EXISTS @.spend_log (day date NOT NULL"
#define FIELD(name, kind, flags) ", " #name COLUMN_##kind
#include "common/event/fields.def"
#undef FIELD
    ", start_time_given boolean NOT NULL, epoch uuid NOT NULL, seq bigint NOT NULL, n int NOT NULL, "
    "PRIMARY KEY (day, event_id)) PARTITION BY RANGE (day);\n"
    "CREATE TABLE IF NOT EXISTS @.spend_log_default PARTITION OF @.spend_log DEFAULT;\n"
    "CREATE TABLE IF NOT EXISTS @.seen (day date NOT NULL, id uuid NOT NULL, digest bigint NOT NULL, "
    "epoch uuid NOT NULL, seq bigint NOT NULL, n int NOT NULL, at timestamptz NOT NULL DEFAULT now(), "
    "PRIMARY KEY (day, id));\n"
    "CREATE INDEX IF NOT EXISTS seen_at ON @.seen USING brin (at);\n"
    "CREATE TABLE IF NOT EXISTS @.dead_letter (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
    "day date NOT NULL, event_id bytea NOT NULL, digest bytea NOT NULL, class text NOT NULL, "
    "reason text NOT NULL, record bytea NOT NULL, epoch uuid, seq bigint, n int, "
    "at timestamptz NOT NULL DEFAULT now(), UNIQUE (day, event_id, digest));\n"
    "CREATE INDEX IF NOT EXISTS dead_letter_poison ON @.dead_letter (day, event_id) "
    "WHERE class = 'poison';\n"
    "CREATE TABLE IF NOT EXISTS @.claim (id text PRIMARY KEY, state text NOT NULL, "
    "at timestamptz NOT NULL DEFAULT now());\n"
    "CREATE TABLE IF NOT EXISTS @.schema_version (version int NOT NULL, install uuid NOT NULL, "
    "at timestamptz NOT NULL DEFAULT now());\n"
    "INSERT INTO @.schema_version (version, install) SELECT 1, gen_random_uuid() "
    "WHERE NOT EXISTS (SELECT FROM @.schema_version);\n";

static void look(struct schema *schema);
static void list_partitions(struct schema *schema);
static void make_next(struct schema *schema);
static void drop_next(struct schema *schema);

const char *schema_quoted(const struct schema *schema)
{
    return schema->quoted;
}

const char *schema_install(const struct schema *schema)
{
    return schema->install;
}

static int64_t deadline_ms(const struct schema *schema)
{
    return schema->settings->database_statement_ms + schema->settings->database_socket_timeout_ms;
}

static void finish(struct schema *schema, enum schema_result result, const char *why)
{
    if (schema->open) /* not all was asked that there was to ask */
        pg_disconnect(schema->pg);
    schema->open = false;
    schema->done(schema->arg, result, PG_REFUSED_NOT, why);
}

/* By the refusal's class: later, or for a human.  Work on a schema that is usable without it is always
 * for later. */
static void failed(struct schema *schema, const struct pg_answer *answer)
{
    const struct refusal *row = pg_refusal_row(answer->refusal);
    bool later = schema->usable || !row || row->class < REFUSAL_STAND_DOWN;

    schema->open = false;
    pg_disconnect(schema->pg); /* whatever transaction stands open is rolled back */
    schema->done(schema->arg, later ? SCHEMA_LOST : SCHEMA_WRONG, answer->refusal, answer->text);
}

/* A transaction's first words, behind the end of the one that is open. */
static void begin(struct schema *schema)
{
    const struct settings *s = schema->settings;
    const struct pg_limits limits = {s->database_statement_ms, s->database_lock_ms,
                                     s->database_socket_timeout_ms};
    char first[PG_BEGIN_BYTES];

    pg_begin_text(first, &limits);
    text_clear(&schema->sql);
    text_put(&schema->sql, schema->open ? "COMMIT; " : "");
    text_put(&schema->sql, first);
    text_put(&schema->sql, "SET LOCAL client_min_messages = warning;\n");
    schema->open = false;
}

static void run(struct schema *schema, pg_answer_fn *answer)
{
    if (schema->sql.failed)
        finish(schema, SCHEMA_LOST, "out of memory");
    else
        pg_query(schema->pg, schema->sql.data, 0, NULL, deadline_ms(schema), answer, schema);
}

/* --- look, migrate ------------------------------------------------------------------------------ */

static void on_migrated(void *arg, const struct pg_answer *answer)
{
    struct schema *schema = arg;

    if (answer->outcome != PG_OK) {
        failed(schema, answer);
        return;
    }
    schema->migrated = true;
    log_info("schema_migrated", "schema=%s version=%d", schema->settings->database_schema,
             SCHEMA_VERSION);
    look(schema);
}

static void migrate(struct schema *schema, bool schema_there)
{
    begin(schema);
    text_put(&schema->sql, "SELECT pg_advisory_xact_lock(" ADVISORY_KEY ");\n");
    if (!schema_there) /* IF NOT EXISTS asks for the right to make it even where it is there */
        text_sql(&schema->sql, "CREATE SCHEMA IF NOT EXISTS @;\n", schema->quoted);
    text_sql(&schema->sql, tables_sql, schema->quoted);
    text_sql(&schema->sql, schema->layout->kind->tables_sql, schema->quoted);
    text_put(&schema->sql, "COMMIT");
    run(schema, on_migrated);
}

static void on_version(void *arg, const struct pg_answer *answer)
{
    struct schema *schema = arg;
    int version;

    if (answer->outcome != PG_OK) {
        failed(schema, answer);
        return;
    }
    if (answer->rows != 1 || !pg_value(answer, 0, 0) || !pg_value(answer, 0, 1)) {
        finish(schema, SCHEMA_WRONG, "schema_version must have one row");
        return;
    }
    version = atoi(pg_value(answer, 0, 0));
    snprintf(schema->install, sizeof schema->install, "%s", pg_value(answer, 0, 1));
    schema->usable = version >= SCHEMA_VERSION && version <= SCHEMA_VERSION_MOST;
    if (!schema->usable)
        finish(schema, SCHEMA_WRONG, "the schema has a version that this build does not know");
    else
        list_partitions(schema);
}

static void on_look(void *arg, const struct pg_answer *answer)
{
    struct schema *schema = arg;
    bool there, tables;

    if (answer->outcome != PG_OK || answer->rows != 1) {
        failed(schema, answer);
        return;
    }
    if (strcmp(pg_value(answer, 0, 2), "UTF8") != 0) {
        finish(schema, SCHEMA_WRONG, "the database's encoding must be UTF8");
        return;
    }
    there = pg_value(answer, 0, 0)[0] == 't';
    tables = pg_value(answer, 0, 1)[0] == 't';
    if (!tables && schema->settings->database_migrate && !schema->migrated) {
        migrate(schema, there);
        return;
    }
    if (!tables) {
        finish(schema, SCHEMA_WRONG, "no schema, and database.migrate is off: run spendd --migrate");
        return;
    }
    text_clear(&schema->sql);
    text_sql(&schema->sql, "SELECT version, install FROM @.schema_version", schema->quoted);
    run(schema, on_version);
}

static void ask_facts(void *arg, const struct pg_answer *answer)
{
    struct schema *schema = arg;
    const char *values[] = {schema->settings->database_schema, schema->layout->kind->marker};

    if (answer->outcome != PG_OK) {
        failed(schema, answer);
        return;
    }
    schema->open = true;
    pg_query(schema->pg,
             "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1), "
             "2 = (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
             "ON n.oid = c.relnamespace WHERE nspname = $1 AND relname IN ('schema_version', $2)), "
             "current_setting('server_encoding')",
             2, values, deadline_ms(schema), on_look, schema);
}

static void look(struct schema *schema)
{
    schema->open = false;
    begin(schema);
    run(schema, ask_facts);
}

/* --- partitions --------------------------------------------------------------------------------- */

static void compact_day(day_t day, char text[16])
{
    char dashed[16];

    day_text(day, dashed, sizeof dashed);
    snprintf(text, 16, "%.4s%.2s%.2s", dashed, dashed + 5, dashed + 8);
}

static void note_partition(struct schema *schema, int64_t day)
{
    int64_t from = schema->today - 1;

    if (day >= from && day < from + DAYS_MAX)
        schema->have[day - from] = true;
    if (day < schema->today - schema->settings->spend_log_keep_days &&
        schema->drops < DROPS_PER_CHECK)
        schema->drop[schema->drops++] = (day_t)day;
}

static void on_partitions(void *arg, const struct pg_answer *answer)
{
    struct schema *schema = arg;

    if (answer->outcome != PG_OK) {
        failed(schema, answer);
        return;
    }
    memset(schema->have, 0, sizeof schema->have);
    schema->drops = 0;
    for (int row = 0; row < answer->rows; row++)
        note_partition(schema, strtoll(pg_value(answer, row, 0), NULL, 10));
    schema->at = 0;
    make_next(schema);
}

static void on_forgotten(void *arg, const struct pg_answer *answer);

static void list_partitions(struct schema *schema)
{
    const char *values[] = {schema->settings->database_schema};

    if (!layout_logs(schema->layout)) {
        schema->open = false;
        pg_query(schema->pg, "COMMIT", 0, NULL, deadline_ms(schema), on_forgotten, schema);
        return;
    }
    pg_query(schema->pg,
             "SELECT to_date(substr(c.relname, 12), 'YYYYMMDD') - date '1970-01-01' "
             "FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid "
             "JOIN pg_catalog.pg_class p ON p.oid = i.inhparent "
             "JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace "
             "WHERE n.nspname = $1 AND p.relname = 'spend_log' AND c.relname ~ '^spend_log_p[0-9]{8}$'",
             1, values, deadline_ms(schema), on_partitions, schema);
}

static void on_raced(void *arg, const struct pg_answer *answer)
{
    struct schema *schema = arg;

    if (answer->outcome != PG_OK)
        failed(schema, answer);
    else
        list_partitions(schema);
}

/* Fifty instances that start together all find the same partitions missing.  Who comes second is told that
 * the table is one already: it looks again.  Each round finds one more made, so the rounds are bounded. */
static bool raced(struct schema *schema, const struct pg_answer *answer)
{
    if (answer->outcome != PG_REFUSED || strcmp(answer->sqlstate, "42809") != 0 ||
        schema->races++ >= DAYS_MAX)
        return false;
    text_clear(&schema->sql);
    text_put(&schema->sql, "ROLLBACK");
    run(schema, on_raced);
    return true;
}

static void on_made(void *arg, const struct pg_answer *answer)
{
    struct schema *schema = arg;

    if (raced(schema, answer))
        return;
    if (answer->outcome != PG_OK) {
        failed(schema, answer);
        return;
    }
    schema->at++;
    make_next(schema);
}

static void make_next(struct schema *schema)
{
    int days = (int)schema->settings->spend_log_ahead_days + 2;
    char name[16], from[16], to[16];
    struct text *sql = &schema->sql;
    day_t day;

    while (schema->at < days && schema->have[schema->at])
        schema->at++;
    if (schema->at >= days) {
        schema->at = 0;
        drop_next(schema);
        return;
    }
    day = schema->today - 1 + schema->at;
    compact_day(day, name);
    day_text(day, from, sizeof from);
    day_text(day + 1, to, sizeof to);
    begin(schema);
    text_sql(sql, "SELECT FROM @.shard WHERE shard = 0 FOR UPDATE;\n", schema->quoted);
    /* The parent first, as every ALTER of a foreign hand does: the other order is a deadlock. */
    text_sql(sql, "LOCK TABLE ONLY @.spend_log IN SHARE UPDATE EXCLUSIVE MODE;\n", schema->quoted);
    text_sql(sql, "CREATE TABLE IF NOT EXISTS @.spend_log_p", schema->quoted);
    text_put(sql, name);
    text_sql(sql, " (LIKE @.spend_log INCLUDING ALL);\nWITH moved AS (DELETE FROM @.spend_log_default"
                  " WHERE day = '", schema->quoted);
    text_put(sql, from);
    text_sql(sql, "' RETURNING *) INSERT INTO @.spend_log_p", schema->quoted);
    text_put(sql, name);
    text_sql(sql, " SELECT * FROM moved;\nALTER TABLE @.spend_log ATTACH PARTITION @.spend_log_p",
             schema->quoted);
    text_format(sql, "%s FOR VALUES FROM ('%s') TO ('%s');\nCOMMIT", name, from, to);
    run(schema, on_made);
}

static void on_dropped(void *arg, const struct pg_answer *answer)
{
    struct schema *schema = arg;

    if (answer->outcome != PG_OK) {
        failed(schema, answer);
        return;
    }
    schema->at++;
    drop_next(schema);
}

/* Behind the dropped partitions: what lies in the default partition, and what `seen` may forget. */
static void forget_sql(struct schema *schema)
{
    struct text *sql = &schema->sql;
    long long keep = (long long)schema->settings->spend_log_keep_days;
    char limit[16];

    day_text((day_t)(schema->today - keep), limit, sizeof limit);
    text_sql(sql, "DELETE FROM @.spend_log_default", schema->quoted);
    text_format(sql, " WHERE day < '%s';\n", limit);
    text_sql(sql, "DELETE FROM @.seen", schema->quoted);
    text_format(sql, " WHERE at < now() - interval '%lld days';\n", keep);
}

static void on_forgotten(void *arg, const struct pg_answer *answer)
{
    struct schema *schema = arg;

    if (answer->outcome != PG_OK)
        failed(schema, answer);
    else
        finish(schema, SCHEMA_READY, "");
}

static void drop_next(struct schema *schema)
{
    char name[16];

    begin(schema);
    text_sql(&schema->sql, "SELECT FROM @.shard WHERE shard = 0 FOR UPDATE;\n", schema->quoted);
    if (schema->at >= schema->drops) {
        forget_sql(schema);
        text_put(&schema->sql, "COMMIT");
        run(schema, on_forgotten);
        return;
    }
    compact_day(schema->drop[schema->at], name);
    text_sql(&schema->sql, "DROP TABLE IF EXISTS @.spend_log_p", schema->quoted);
    text_format(&schema->sql, "%s;\nCOMMIT", name);
    run(schema, on_dropped);
}

/* --- life ----------------------------------------------------------------------------------------- */

void schema_check(struct schema *schema, day_t today, schema_fn *done, void *arg)
{
    schema->today = today;
    schema->done = done;
    schema->arg = arg;
    schema->migrated = schema->usable = false;
    schema->races = 0;
    look(schema);
}

struct schema *schema_open(struct pg *pg, const struct settings *settings,
                           const struct layout *layout, struct err *err)
{
    struct schema *schema = calloc(1, sizeof *schema);

    if (!schema) {
        err_set(err, "out of memory");
        return NULL;
    }
    schema->pg = pg;
    schema->settings = settings;
    schema->layout = layout;
    if (pg_identifier(settings->database_schema, schema->quoted, sizeof schema->quoted)) {
        err_set(err, "database.schema is too long");
        schema_close(&schema);
    }
    return schema;
}

void schema_close(struct schema **schema)
{
    if (*schema)
        text_free(&(*schema)->sql);
    free(*schema);
    *schema = NULL;
}
