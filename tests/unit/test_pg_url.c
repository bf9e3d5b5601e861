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
    const char *url, *ignored, *host, *dbname, *sslmode, *sslrootcert;
} rows[] = {
    {"postgresql://u:p@db:5433/spend", "", "db", "spend", NULL, NULL},
    {"postgres://u@db/s?schema=public", "schema", "db", "s", NULL, NULL},
    {"postgres://u@db/s?connection_limit=3&sslmode=require&pool_timeout=9",
     "connection_limit, pool_timeout", "db", "s", "require", NULL},
    {"postgres://u@db/s?sslmode=require&pgbouncer=true", "", "db", "s", "require", NULL},
    {"postgres:///s?host=/run/pg&socket_timeout=1&statement_cache_size=0", "socket_timeout",
     "/run/pg", "s", NULL, NULL},
    {"postgres://u@db/s?max_idle_connection_lifetime=300&connect_timeout=5",
     "max_idle_connection_lifetime", "db", "s", NULL, NULL},
    {"host=/tmp dbname=x", "", "/tmp", "x", NULL, NULL},
    {"host=a,b port=1,2 dbname=x", "", "a,b", "x", NULL, NULL},
    {"postgresql://u@a:1,b:2/x?target_session_attrs=read-write", "", "a,b", "x", NULL, NULL},
    /* Prisma's dialect of TLS: sslcert is a CA unless a key comes with it. */
    {"postgres://u@db/s?sslmode=require&sslcert=/ca.pem", "", "db", "s", "require", "/ca.pem"},
    {"postgres://u@db/s?sslcert=/ca.pem&sslaccept=strict", "", "db", "s", "verify-full", "/ca.pem"},
    {"postgres://u@db/s?sslmode=require&sslaccept=strict", "", "db", "s", "verify-full", "system"},
    {"postgres://u@db/s?sslmode=verify-ca&sslaccept=strict&sslrootcert=/r", "", "db", "s",
     "verify-ca", "/r"},
    {"postgres://u@db/s?sslmode=disable&sslaccept=strict", "", "db", "s", "disable", NULL},
    {"postgres://u@db/s?sslmode=require&sslaccept=accept_invalid_certs", "", "db", "s", "require",
     NULL},
    {"postgres://u@db/s?sslmode=require&sslcert=/ca.pem&sslaccept=accept_invalid_certs", "", "db",
     "s", "require", "/dev/null/none"},
    {"postgres://u@db/s?sslidentity=/id.p12&sslpassword=x&sslmode=require", "sslidentity", "db", "s",
     "require", NULL},
    {"postgres://u@db/s?sslcert=/c.pem&sslkey=/k.pem", "", "db", "s", NULL, NULL},
};

static void check(const struct pg_parameters *p, const char *keyword, const char *want)
{
    const char *have = pg_parameters_get(p, keyword);

    if (want)
        assert_string_equal(have, want);
    else
        assert_null(have);
}

static void what_is_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct pg_parameters p;
        struct err err = {{0}};
        char ignored[256];

        assert_int_equal(pg_parameters_parse(&p, rows[i].url, ignored, sizeof ignored, &err), 0);
        assert_string_equal(ignored, rows[i].ignored);
        check(&p, "host", rows[i].host);
        check(&p, "dbname", rows[i].dbname);
        check(&p, "sslmode", rows[i].sslmode);
        check(&p, "sslrootcert", rows[i].sslrootcert);
        pg_parameters_clear(&p);
    }
}

static void what_is_refused(void **state)
{
    static const struct {
        const char *url, *says;
    } wrong[] = {
        {"postgres://u:secret@db/s?ssImode=require", "unknown query parameter"},
        {"postgres://u:secret@db/s?sslaccept=maybe", "sslaccept"},
        {"mysql://u:secret@db/s", "does not parse"},
        {"host='unclosed password=secret", "does not parse"},
        {"host=db connection_limit=5 password=secret", "does not parse"},
        {"service=prod password=secret", "service"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct pg_parameters p;
        struct err err = {{0}};

        assert_int_equal(pg_parameters_parse(&p, wrong[i].url, NULL, 0, &err), -1);
        assert_non_null(strstr(err.text, wrong[i].says));
        assert_non_null(strstr(err.text, "database.url")); /* refusals.def knows it by this */
        assert_null(strstr(err.text, "secret"));
        assert_int_equal(p.count, 0);
    }
}

static void a_file_is_read_later(void **state)
{
    struct err err = {{0}};

    (void)state;
    assert_int_equal(pg_url_check("file:/nowhere", NULL, 0, &err), 0);
}

static void identifiers(void **state)
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
        cmocka_unit_test(what_is_taken),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(a_file_is_read_later),
        cmocka_unit_test(identifiers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
