/*
 * migrate.c - `spendd --migrate`: this executable started for one task.  Connects, makes or upgrades the
 * schema as the flusher would, says so, and leaves.
 *
 * For operators whose daemon runs with database.migrate off, or under a role that may not create: the
 * supervisor hands us its settings with database.migrate on.  Needs no Redis and no lock: migrations are
 * transactions under an advisory lock, so it may run beside living instances.
 * If we die on any line, the transaction under way is rolled back and the next try does it.
 */
#include "common/harness/harness.h"
#include "common/pg/schema.h"
#include "workers/db_flusher/flusher.h"
#include "workers/db_flusher/layout.h"
#include "workers/db_flusher/schema.h"

#include <stdlib.h>

#define EXIT_REFUSED 1 /* a human must act on the database */

struct migration {
    struct harness *harness;
    struct pg *pg;
    struct layout *layout;
    struct schema *schema;
};

static void on_schema(void *arg, enum schema_result result, enum pg_refusal refusal, const char *why)
{
    static const int codes[] = {
        [SCHEMA_READY] = EXIT_ASKED, [SCHEMA_LOST] = EXIT_TEMPORARY, [SCHEMA_WRONG] = EXIT_REFUSED};
    struct migration *migration = arg;

    (void)refusal;
    if (result == SCHEMA_READY)
        harness_status(migration->harness, "schema %s is ready, version %d",
                       harness_settings(migration->harness)->database_schema, SCHEMA_VERSION);
    else
        harness_status(migration->harness, "%.150s", why);
    harness_leave(migration->harness, codes[result]);
}

static void on_connected(void *arg, const struct pg_answer *answer)
{
    struct migration *migration = arg;

    if (answer->outcome == PG_OK) {
        schema_check(migration->schema, wall_day(wall_now()), on_schema, migration);
        return;
    }
    harness_status(migration->harness, "no connection: %.130s", answer->text);
    harness_leave(migration->harness, EXIT_TEMPORARY);
}

static void drain_migration(void *self, mono_t deadline)
{
    struct migration *migration = self;

    (void)deadline; /* nobody waits for us any more: what is not committed is rolled back */
    harness_leave(migration->harness, EXIT_TEMPORARY);
}

static void close_migration(void *self)
{
    struct migration *migration = self;

    pg_close(&migration->pg);
    schema_close(&migration->schema);
    layout_close(&migration->layout);
    free(migration);
}

static void *open_migration(struct harness *harness, int *code, struct err *err)
{
    const struct settings *s = harness_settings(harness);
    const struct pg_options options = {s->database_url, "spendd migrate", s->database_connect_ms,
                                       s->database_socket_timeout_ms};
    struct migration *migration = calloc(1, sizeof *migration);

    *code = EXIT_CONFIGURATION;
    if (migration == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    migration->harness = harness;
    if (pg_url_check(s->database_url, NULL, 0, err) == 0)
        migration->pg = pg_open(harness, &options, err);
    if (migration->pg != NULL)
        migration->layout = layout_open(s, err);
    if (migration->layout != NULL)
        migration->schema = schema_open(migration->pg, s, migration->layout, err);
    if (migration->schema == NULL) {
        close_migration(migration);
        return NULL;
    }
    pg_connect(migration->pg, on_connected, migration);
    return migration;
}

const struct worker migrate_task = {
    .name = "migrate",
    .open = open_migration,
    .drain = drain_migration,
    .close = close_migration,
    .task = &give_back_task,
};
