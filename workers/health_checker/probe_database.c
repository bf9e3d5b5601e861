/*
 * probe_database.c - is there a PostgreSQL that the flusher could write to?  See probe.h.
 *
 *   connect (real credentials) -> begin -> facts -> version of the schema, if it is there -> commit
 *   -> figures for the watch -> verdict -> close
 *
 * A connection is opened for each probe and closed after it: what worked a minute ago on an old
 * connection says nothing about whether the flusher could connect now, and one connection less is
 * held. Only reads.  Each step has its deadline in the door, and a shorter one on the server: a probe
 * that waits for somebody's lock must not leave a session behind each time.  If we die on any line the
 * server drops the session; nothing was changed.
 */
#include "workers/health_checker/probe.h"

#include "common/harness/harness.h"
#include "common/pg/pg.h"
#include "common/pg/transaction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* $1 = schema.  The right to create: in the schema if it exists, else in the database.  Tables of ours
 * are written by name, so a table that stands there for somebody else's reasons does not matter. */
#define FACTS_SQL                                                                                  \
    "SELECT current_setting('server_version_num'), pg_catalog.pg_is_in_recovery(),"                \
    " current_setting('transaction_read_only'), current_setting('server_encoding'),"               \
    " EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"                  \
    "  ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'schema_version'),"          \
    " CASE WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1)"                 \
    "  THEN pg_catalog.has_schema_privilege($1, 'CREATE')"                                         \
    "  ELSE pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') END,"       \
    " pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'),"              \
    " NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"              \
    "  ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname IN"                            \
    "  ('schema_version', 'shard', 'ledger', 'spend_log', 'seen', 'dead_letter', 'spend',"         \
    "   'spend_daily') AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE')"                   \
    "  AND pg_catalog.has_table_privilege(c.oid, 'SELECT')"                                        \
    "  AND (c.relname IN ('schema_version', 'shard')"                                              \
    "   OR pg_catalog.has_table_privilege(c.oid, 'INSERT'))"                                       \
    "  AND (c.relname IN ('schema_version', 'spend_log', 'seen', 'dead_letter')"                   \
    "   OR pg_catalog.has_table_privilege(c.oid, 'UPDATE'))))"

/* What the role may not see is NULL.  Whose backend_type is hidden from us has a user if it is a client. */
#define WATCH_SQL                                                                                  \
    "SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE datid IS NOT NULL"  \
    "  AND usesysid IS NOT NULL AND COALESCE(backend_type, 'client backend') = 'client backend'),"  \
    " current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8," \
    " CASE WHEN pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') THEN"                          \
    "  (SELECT COALESCE(pg_catalog.max(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - xact_start)), 0)::int8"  \
    "   FROM pg_catalog.pg_stat_activity WHERE xact_start IS NOT NULL"                             \
    "   AND pid <> pg_catalog.pg_backend_pid()) END"

enum column {
    SERVER_VERSION, IN_RECOVERY, READ_ONLY, ENCODING, SCHEMA, MAY_CREATE, MAY_TEMPORARY, MAY_WRITE,
    COLUMNS
};

struct probe_database {
    struct harness *harness;
    probe_done_fn *done; /* NULL: being freed, nobody is told */
    void *arg;
    struct pg *pg;
    struct database_facts facts;
    struct figures figures;
};

static void finish(struct probe_database *probe, const struct verdict *verdict)
{
    if (probe->done == NULL)
        return;
    pg_disconnect(probe->pg);
    probe->done(probe->arg, verdict);
}

static void full(struct figures *figures, const char *why)
{
    figures->value[WATCH_database_connections_percent] = 100;
    snprintf(figures->detail[WATCH_database_connections_percent], sizeof figures->detail[0], "%.119s", why);
}

static void fail(struct probe_database *probe, const char *what, const struct pg_answer *answer)
{
    const struct refusal *row = pg_refusal_row(answer->refusal);
    struct verdict verdict = {.passed = false};

    snprintf(verdict.detail, sizeof verdict.detail, "%s: %.150s%s%s", what,
             row ? answer->text : "not what was asked for", row ? ", " : "", row ? row->name : "");
    if (row) {
        verdict.scarce = row->class == REFUSAL_RETRY_SLOWLY;
        stats_add(harness_stats(probe->harness), (enum metric)row->metric, 1);
        if (strcmp(row->name, "too_many_clients") == 0)
            full(&probe->figures, answer->text);
    }
    finish(probe, &verdict);
}

static int64_t deadline_ms(const struct probe_database *probe)
{
    return harness_settings(probe->harness)->database_socket_timeout_ms;
}

static void on_ended(void *arg, const struct pg_answer *answer)
{
    struct probe_database *probe = arg;
    struct verdict verdict;

    if (answer->outcome != PG_OK) {
        fail(probe, "commit", answer);
        return;
    }
    verdict_database(&probe->facts, &verdict);
    finish(probe, &verdict);
}

/* An end that a pooler likes: a session that is left inside a transaction is of no use to it. */
static void end(struct probe_database *probe)
{
    pg_query(probe->pg, "COMMIT", 0, NULL, deadline_ms(probe), on_ended, probe);
}

static int64_t number(const struct pg_answer *answer, int column)
{
    const char *value = pg_value(answer, 0, column);

    return value != NULL ? strtoll(value, NULL, 10) : FIGURE_UNKNOWN;
}

/* A role that may not ask knows nothing; that is no failure. */
static void on_watched(void *arg, const struct pg_answer *answer)
{
    struct probe_database *probe = arg;
    struct figures *figures = &probe->figures;

    if (answer->outcome == PG_OK && answer->rows == 1 && answer->columns == 3) {
        figures->value[WATCH_database_connections_percent] = figures_percent(number(answer, 0), number(answer, 1));
        snprintf(figures->detail[WATCH_database_connections_percent], sizeof figures->detail[0], "%lld of %lld",
                 (long long)number(answer, 0), (long long)number(answer, 1));
        figures->value[WATCH_database_transaction_s] = number(answer, 2);
    }
    end(probe);
}

static void ask_watch(struct probe_database *probe)
{
    probe->figures.value[WATCH_database_read_only] = probe->facts.read_only;
    probe->figures.value[WATCH_database_replica] = probe->facts.in_recovery;
    pg_query(probe->pg, WATCH_SQL, 0, NULL, deadline_ms(probe), on_watched, probe);
}

static void on_version(void *arg, const struct pg_answer *answer)
{
    struct probe_database *probe = arg;
    const char *value;

    if (answer->outcome != PG_OK) {
        fail(probe, "reading schema_version", answer);
        return;
    }
    value = answer->rows > 0 ? pg_value(answer, 0, 0) : NULL;
    probe->facts.schema_version = value ? atoi(value) : 0;
    ask_watch(probe);
}

static void ask_version(struct probe_database *probe)
{
    char schema[160], sql[256];

    if (pg_identifier(harness_settings(probe->harness)->database_schema, schema, sizeof schema) !=
        0) {
        struct verdict verdict = {.passed = false, .detail = "database.schema is no identifier"};

        finish(probe, &verdict);
        return;
    }
    snprintf(sql, sizeof sql, "SELECT version FROM %s.schema_version", schema);
    pg_query(probe->pg, sql, 0, NULL, deadline_ms(probe), on_version, probe);
}

static bool truth(const struct pg_answer *answer, enum column column)
{
    const char *value = pg_value(answer, 0, (int)column);

    return value != NULL && (value[0] == 't' || strcmp(value, "on") == 0);
}

static void read_facts(struct database_facts *facts, const struct pg_answer *answer, bool migrate)
{
    const char *version = pg_value(answer, 0, SERVER_VERSION);
    const char *encoding = pg_value(answer, 0, ENCODING);

    *facts = (struct database_facts){
        .server_version = version ? atoi(version) : 0,
        .in_recovery = truth(answer, IN_RECOVERY),
        .read_only = truth(answer, READ_ONLY),
        .schema = truth(answer, SCHEMA) ? SCHEMA_THERE : SCHEMA_ABSENT,
        .may_create = truth(answer, MAY_CREATE),
        .may_temporary = truth(answer, MAY_TEMPORARY),
        .may_write = truth(answer, MAY_WRITE),
        .migrate = migrate,
    };
    snprintf(facts->encoding, sizeof facts->encoding, "%s", encoding ? encoding : "?");
}

static void on_facts(void *arg, const struct pg_answer *answer)
{
    struct probe_database *probe = arg;

    if (answer->outcome != PG_OK || answer->rows != 1 || answer->columns != COLUMNS) {
        fail(probe, "query", answer);
        return;
    }
    read_facts(&probe->facts, answer, harness_settings(probe->harness)->database_migrate);
    if (probe->facts.schema == SCHEMA_THERE && probe->facts.may_write)
        ask_version(probe);
    else
        ask_watch(probe);
}

static void on_begun(void *arg, const struct pg_answer *answer)
{
    struct probe_database *probe = arg;
    const char *schema = harness_settings(probe->harness)->database_schema;

    if (answer->outcome == PG_OK)
        pg_query(probe->pg, FACTS_SQL, 1, &schema, deadline_ms(probe), on_facts, probe);
    else
        fail(probe, "begin", answer);
}

static void on_connected(void *arg, const struct pg_answer *answer)
{
    struct probe_database *probe = arg;
    const int64_t limit = deadline_ms(probe) / 2;
    const struct pg_limits limits = {limit, limit / 2, deadline_ms(probe)};
    char sql[PG_BEGIN_BYTES];

    if (answer->outcome != PG_OK) {
        fail(probe, "connect", answer);
        return;
    }
    stats_add(harness_stats(probe->harness), METRIC_database_connects_total, 1);
    pg_begin_text(sql, &limits);
    pg_query(probe->pg, sql, 0, NULL, deadline_ms(probe), on_begun, probe);
}

void probe_database_start(struct probe_database *probe)
{
    if (pg_busy(probe->pg))
        return;
    figures_unknown(&probe->figures);
    pg_connect(probe->pg, on_connected, probe);
}

const struct figures *probe_database_figures(const struct probe_database *probe)
{
    return &probe->figures;
}

struct probe_database *probe_database_new(struct harness *harness, probe_done_fn *done, void *arg,
                                          struct err *err)
{
    const struct settings *settings = harness_settings(harness);
    const struct pg_options options = {
        .url = settings->database_url,
        .application = "spendd health_checker",
        .connect_ms = settings->database_connect_ms,
        .socket_timeout_ms = settings->database_socket_timeout_ms,
    };
    struct probe_database *probe = calloc(1, sizeof *probe);

    if (probe == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    *probe = (struct probe_database){.harness = harness, .done = done, .arg = arg};
    probe->pg = pg_open(harness, &options, err);
    if (probe->pg == NULL)
        probe_database_free(&probe);
    return probe;
}

void probe_database_free(struct probe_database **probe)
{
    if (*probe == NULL)
        return;
    (*probe)->done = NULL;
    pg_close(&(*probe)->pg);
    free(*probe);
    *probe = NULL;
}
