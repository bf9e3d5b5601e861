/*
 * verdict.c - what a store said about itself -> can spendd work with it?  See verdict.h.
 * Pure.  The order of the checks is the order in which an operator would mend things.
 */
#include "workers/health_checker/verdict.h"

#include "common/base/attr.h"
#include "common/pg/schema.h"
#include "workers/health_checker/figures.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SERVER_LEAST 140000 /* int8multirange */

static void say(struct verdict *verdict, bool passed, const char *format, ...) PRINTF_LIKE(3, 4);

static void say(struct verdict *verdict, bool passed, const char *format, ...)
{
    va_list ap;

    verdict->passed = passed;
    verdict->risky = verdict->scarce = false;
    va_start(ap, format);
    vsnprintf(verdict->detail, sizeof verdict->detail, format, ap);
    va_end(ap);
}

/* The schema is absent, or older than this build writes. */
static void verdict_missing(const struct database_facts *facts, struct verdict *verdict)
{
    char what[64] = "the schema is absent";

    if (facts->schema == SCHEMA_THERE)
        snprintf(what, sizeof what, "the schema has version %d, this build needs %d",
                 facts->schema_version, SCHEMA_VERSION);
    if (!facts->migrate)
        say(verdict, false, "%s and database.migrate is off: run spendd --migrate", what);
    else if (!facts->may_create)
        say(verdict, false,
            "%s and this role may not create it: run spendd --migrate as one that may", what);
    else
        say(verdict, true, "%s, the flusher will make it", what);
}

void verdict_database(const struct database_facts *facts, struct verdict *verdict)
{
    if (facts->server_version < SERVER_LEAST)
        say(verdict, false, "PostgreSQL %d is too old, spendd needs %d or later",
            facts->server_version / 10000, SERVER_LEAST / 10000);
    else if (facts->in_recovery)
        say(verdict, false, "read-only: the server is a standby in recovery");
    else if (facts->read_only)
        say(verdict, false, "read-only: transactions of this role or database are read-only");
    else if (strcmp(facts->encoding, "UTF8") != 0)
        say(verdict, false, "the database has encoding %s, spendd needs UTF8", facts->encoding);
    else if (!facts->may_temporary)
        say(verdict, false, "this role may not make temporary tables: GRANT TEMPORARY ON DATABASE");
    else if (!facts->may_write)
        say(verdict, false,
            "this role may not write to spendd's tables: GRANT SELECT, INSERT, UPDATE, and USAGE on "
            "the schema");
    else if (facts->schema == SCHEMA_ABSENT || facts->schema_version < SCHEMA_VERSION)
        verdict_missing(facts, verdict);
    else if (facts->schema_version > SCHEMA_VERSION_MOST)
        say(verdict, false, "the schema has version %d, this build knows %d to %d: upgrade spendd",
            facts->schema_version, SCHEMA_VERSION, SCHEMA_VERSION_MOST);
    else
        say(verdict, true, "%s", "");
}

/* Keys without a time to live are evicted under allkeys-* alone; the lock may go at any time. */
static void verdict_eviction(const char *policy, const char *bound, struct verdict *verdict)
{
    say(verdict, true, "%s", "");
    if (!info_evicts(policy, bound))
        return;
    say(verdict, true,
        "maxmemory-policy %s can evict the queue: it would be pushed again each time; noeviction is "
        "right here",
        policy);
    verdict->risky = true;
}

void verdict_redis(const char *info, size_t length, struct verdict *verdict)
{
    char role[32], policy[32], bound[32];

    if (info == NULL) {
        say(verdict, true, "maxmemory-policy unknown: INFO is not permitted");
        return;
    }
    info_value(info, length, "role", role, sizeof role);
    info_value(info, length, "maxmemory_policy", policy, sizeof policy);
    info_value(info, length, "maxmemory", bound, sizeof bound);
    if (strcmp(role, "slave") == 0)
        say(verdict, false, "read-only: this Redis is a replica");
    else if (policy[0] == '\0')
        say(verdict, true, "maxmemory-policy unknown: INFO does not tell");
    else
        verdict_eviction(policy, bound, verdict);
}
