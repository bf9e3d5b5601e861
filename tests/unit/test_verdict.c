/*
 * test_verdict.c - what a store said about itself -> may the gate open?
 *
 * links: workers/health_checker/verdict.c workers/health_checker/figures.c common/base/clock.c
 * libs:
 */
#include "workers/health_checker/verdict.h"

#include "common/base/attr.h"
#include "common/pg/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Rows say what is not good: the later initialiser of a member wins. */
#pragma GCC diagnostic ignored "-Woverride-init"
#define GOOD                                                                                       \
    .server_version = 150018, .encoding = "UTF8", .schema = SCHEMA_THERE,                          \
    .schema_version = SCHEMA_VERSION, .migrate = true, .may_temporary = true, .may_write = true

static void database_rows(void **state)
{
    static const struct {
        struct database_facts facts;
        bool passed;
        const char *says; /* a part of the detail; "" = nothing at all */
    } rows[] = {
        {{GOOD}, true, ""},
        {{GOOD, .schema_version = SCHEMA_VERSION_MOST}, true, ""},
        {{GOOD, .schema_version = SCHEMA_VERSION_MOST + 1}, false, "upgrade spendd"},
        {{GOOD, .server_version = 130004}, false, "PostgreSQL 13 is too old"},
        {{GOOD, .in_recovery = true}, false, "standby"},
        {{GOOD, .read_only = true}, false, "read-only"},
        {{GOOD, .encoding = "SQL_ASCII"}, false, "SQL_ASCII"},
        {{GOOD, .schema = SCHEMA_ABSENT, .may_create = true}, true, "flusher will make it"},
        {{GOOD, .schema = SCHEMA_ABSENT}, false, "spendd --migrate"},
        {{GOOD, .schema = SCHEMA_ABSENT, .may_create = true, .migrate = false}, false, "--migrate"},
        {{GOOD, .schema_version = 0, .may_create = true}, true, "has version 0"},
        {{GOOD, .schema_version = 0}, false, "may not create"},
        {{GOOD, .schema_version = 0, .may_create = true, .migrate = false}, false, "--migrate"},
        {{GOOD, .may_temporary = false}, false, "GRANT TEMPORARY"},
        {{GOOD, .may_write = false}, false, "GRANT SELECT, INSERT, UPDATE"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct verdict verdict;

        verdict_database(&rows[i].facts, &verdict);
        assert_int_equal(verdict.passed, rows[i].passed);
        assert_non_null(strstr(verdict.detail, rows[i].says));
        if (rows[i].says[0] == '\0')
            assert_string_equal(verdict.detail, "");
    }
}

static void redis_rows(void **state)
{
    static const struct {
        const char *info;
        bool passed;
        const char *says;
    } rows[] = {
        {NULL, true, "unknown"},
        {"", true, "unknown"},
        {"maxmemory_policy:noeviction\r\nmaxmemory:100\r\nrole:master\r\n", true, ""},
        {"maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", true, ""},
        {"maxmemory:5\r\nmaxmemory_policy:allkeys-lru\r\n", true, "allkeys-lru can evict"},
        {"maxmemory:5\r\nmaxmemory_policy:volatile-lru\r\n", true, ""},
        {"role:slave\r\nmaxmemory_policy:noeviction", false, "replica"},
        {"xrole:slave\nmaxmemory_policy:noeviction", true, ""},
        {"role", true, "unknown"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct verdict verdict;

        verdict_redis(rows[i].info, rows[i].info ? strlen(rows[i].info) : 0, &verdict);
        assert_int_equal(verdict.passed, rows[i].passed);
        assert_non_null(strstr(verdict.detail, rows[i].says));
        if (rows[i].says[0] == '\0')
            assert_string_equal(verdict.detail, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(database_rows),
        cmocka_unit_test(redis_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
