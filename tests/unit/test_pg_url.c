/*
 * test_pg_url.c - database.url as gateways write it, into what libpq takes.
 * links: common/pg/url.c common/base/err.c
 * libs: libpq
 */
#include "common/pg/pg.h"
#include "common/pg/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct row {
    const char *url, *dropped, *host, *dbname, *sslrootcert;
    int rc;
} rows[] = {
    {"postgresql://u:p@db:5433/spend", "", "db", "spend", NULL, 0},
    {"postgres://u@db/s?schema=public", "schema", "db", "s", NULL, 0},
    {"postgres://u@db/s?connection_limit=3&sslmode=require&pool_timeout=9",
     "connection_limit, pool_timeout", "db", "s", NULL, 0},
    {"postgres://u@db/s?sslmode=require&pgbouncer=true", "pgbouncer", "db", "s", NULL, 0},
    {"postgres://u@db/s?sslcert=/ca.pem&sslaccept=strict", "sslaccept", "db", "s", "/ca.pem", 0},
    {"postgres:///s?host=/run/pg&socket_timeout=1&statement_cache_size=0",
     "socket_timeout, statement_cache_size", "/run/pg", "s", NULL, 0},
    {"host=/tmp dbname=x", "", "/tmp", "x", NULL, 0},
    {"postgres://u@db/s?ssImode=require", "", NULL, NULL, NULL, -1},
    {"mysql://u:secret@db/s", "", NULL, NULL, NULL, -1},
    {"host='unclosed", "", NULL, NULL, NULL, -1},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct pg_parameters p;
        struct err err = {{0}};
        char dropped[256];
        int rc = pg_parameters_parse(&p, rows[i].url, dropped, sizeof dropped, &err);

        assert_int_equal(rc, rows[i].rc);
        if (rc) {
            assert_null(strstr(err.text, "secret"));
            continue;
        }
        assert_string_equal(dropped, rows[i].dropped);
        assert_string_equal(pg_parameters_get(&p, "host"), rows[i].host);
        assert_string_equal(pg_parameters_get(&p, "dbname"), rows[i].dbname);
        if (rows[i].sslrootcert)
            assert_string_equal(pg_parameters_get(&p, "sslrootcert"), rows[i].sslrootcert);
        pg_parameters_clear(&p);
    }
}

static void test_identifier(void **state)
{
    char quoted[16];

    (void)state;
    assert_int_equal(pg_identifier("spendd", quoted, sizeof quoted), 0);
    assert_string_equal(quoted, "\"spendd\"");
    assert_int_equal(pg_identifier("a\"b", quoted, sizeof quoted), 0);
    assert_string_equal(quoted, "\"a\"\"b\"");
    assert_int_equal(pg_identifier("much too long for it", quoted, sizeof quoted), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_identifier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
