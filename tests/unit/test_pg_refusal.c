/*
 * test_pg_refusal.c - what PostgreSQL, a pooler or libpq says -> the row of refusals.def.
 * links: common/pg/pg_refusal.c
 * libs:
 */
#include "common/pg/pg_refusal.h"

#include "common/base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *sqlstate, *text;
    enum pg_refusal refusal;
    enum refusal_class class;
} heard[] = {
    {"53300", "sorry, too many clients already", PG_REFUSED_too_many_clients, REFUSAL_RETRY_SLOWLY},
    {"53300", "remaining connection slots are reserved for non-replication superuser connections",
     PG_REFUSED_too_many_clients, REFUSAL_RETRY_SLOWLY},
    {"08P01", "no more connections allowed (max_client_conn)", PG_REFUSED_too_many_clients,
     REFUSAL_RETRY_SLOWLY},
    {"08P01", "query_wait_timeout", PG_REFUSED_pooler_waits, REFUSAL_RETRY_SOON},
    {"08P01", "server conn crashed?", PG_REFUSED_connection_lost, REFUSAL_RETRY_SOON},
    {"57P03", "the database system is starting up", PG_REFUSED_starting_up, REFUSAL_RETRY_SOON},
    {"57P01", "terminating connection due to administrator command", PG_REFUSED_shut_down,
     REFUSAL_RETRY_SOON},
    {"57014", "canceling statement due to statement timeout", PG_REFUSED_statement_timeout,
     REFUSAL_RETRY_SOON},
    {"25P03", "", PG_REFUSED_session_timeout, REFUSAL_RETRY_SOON},
    {"25006", "cannot execute INSERT in a read-only transaction", PG_REFUSED_read_only,
     REFUSAL_STAND_DOWN},
    {"", "session is read-only", PG_REFUSED_read_only, REFUSAL_STAND_DOWN},
    {"53100", "could not extend file: No space left on device", PG_REFUSED_disk_full,
     REFUSAL_STAND_DOWN},
    {"53200", "out of memory", PG_REFUSED_no_memory, REFUSAL_RETRY_SOON},
    {"40P01", "deadlock detected", PG_REFUSED_deadlock, REFUSAL_RETRY_SOON},
    {"40001", "could not serialize access", PG_REFUSED_serialization, REFUSAL_RETRY_SOON},
    {"55P03", "canceling statement due to lock timeout", PG_REFUSED_lock_timeout, REFUSAL_RETRY_SOON},
    {"28P01", "password authentication failed for user \"x\"", PG_REFUSED_password, REFUSAL_OPERATOR},
    {"28000", "no pg_hba.conf entry for host", PG_REFUSED_password, REFUSAL_OPERATOR},
    {"", "fe_sendauth: no password supplied", PG_REFUSED_password, REFUSAL_OPERATOR},
    {"3D000", "database \"x\" does not exist", PG_REFUSED_no_database, REFUSAL_OPERATOR},
    {"42501", "permission denied for table spend", PG_REFUSED_no_rights, REFUSAL_OPERATOR},
    {"42P01", "relation does not exist", PG_REFUSED_schema, REFUSAL_OPERATOR},
    {"23514", "new row violates check constraint", PG_REFUSED_data, REFUSAL_OPERATOR},
    {"22003", "bigint out of range", PG_REFUSED_data, REFUSAL_OPERATOR},
    {"XX001", "could not read block", PG_REFUSED_broken, REFUSAL_OPERATOR},
    {"99999", "?", PG_REFUSED_other, REFUSAL_STAND_DOWN},
    {"", "SSL error: certificate verify failed: certificate has expired", PG_REFUSED_tls_expired,
     REFUSAL_OPERATOR},
    {"", "SSL error: certificate verify failed", PG_REFUSED_tls_certificate, REFUSAL_OPERATOR},
    {"", "server certificate for \"a\" does not match host name \"b\"", PG_REFUSED_tls_host_name,
     REFUSAL_OPERATOR},
    {"", "root certificate file \"/x\" does not exist", PG_REFUSED_tls_file, REFUSAL_OPERATOR},
    {"", "server does not support SSL, but SSL was required", PG_REFUSED_tls_not_offered,
     REFUSAL_OPERATOR},
    {"", "cannot resolve db: Name or service not known", PG_REFUSED_unresolved, REFUSAL_RETRY_SOON},
    {"", "cannot resolve the host: deadline passed", PG_REFUSED_unresolved, REFUSAL_RETRY_SOON},
    {"", "deadline passed while logging in", PG_REFUSED_deadline, REFUSAL_RETRY_SOON},
    {"", "connection to server on socket failed: No such file or directory",
     PG_REFUSED_unreachable, REFUSAL_RETRY_SOON},
    {"", "secret /etc/url: No such file or directory", PG_REFUSED_settings, REFUSAL_OPERATOR},
    {"", "server closed the connection unexpectedly", PG_REFUSED_connection_lost,
     REFUSAL_RETRY_SOON},
};

static void rows_are_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(heard); i++) {
        enum pg_refusal found = pg_refusal_find(heard[i].sqlstate, heard[i].text);

        assert_string_equal(pg_refusal_row(found)->name, pg_refusal_row(heard[i].refusal)->name);
        assert_int_equal(pg_refusal_row(found)->class, heard[i].class);
    }
}

static void what_halves(void **state)
{
    (void)state;
    assert_true(pg_refusal_halves(PG_REFUSED_lock_timeout));
    assert_true(pg_refusal_halves(PG_REFUSED_deadline));
    assert_false(pg_refusal_halves(PG_REFUSED_shut_down));
    assert_false(pg_refusal_halves(PG_REFUSED_NOT));
    assert_null(pg_refusal_row(PG_REFUSED_NOT));
}

static void every_row_is_complete(void **state)
{
    (void)state;
    for (int i = 0; i < PG_REFUSALS; i++) {
        const struct refusal *row = pg_refusal_row((enum pg_refusal)i);

        assert_true(row->first_ms > 0);
        assert_true(strlen(row->means) > 10);
        assert_int_not_equal(row->class, REFUSAL_NORMAL);
    }
}

static void verbose_text_is_parsed(void **state)
{
    static const struct {
        const char *verbose, *sqlstate, *line;
    } row[] = {
        {"connection to server at \"db\", port 1 failed: FATAL:  28P01: password authentication failed\n"
         "LOCATION:  auth_failed, auth.c:326\n",
         "28P01", "connection to server at \"db\", port 1 failed: FATAL: password authentication failed"},
        {"failed: FATAL:  53300: sorry\n", "53300", "failed: FATAL: sorry"},
        {"failed: FATAL:  53300: ", "53300", "failed: FATAL: "},
        {"failed: Connection refused\n\tIs the server running?\n", "", "failed: Connection refused"},
        {"FATAL:  oddly: said", "", "FATAL:  oddly: said"},
        {"FATAL:  28P0", "", "FATAL:  28P0"},
        {"", "", ""},
    };
    char sqlstate[6], line[128];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        pg_refusal_parse(row[i].verbose, sqlstate, line, sizeof line);
        assert_string_equal(sqlstate, row[i].sqlstate);
        assert_string_equal(line, row[i].line);
    }
    pg_refusal_parse(row[0].verbose, sqlstate, line, 20);
    assert_int_equal(strlen(line), 19);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_found),
        cmocka_unit_test(what_halves),
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(verbose_text_is_parsed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
