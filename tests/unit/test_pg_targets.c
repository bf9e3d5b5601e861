/*
 * test_pg_targets.c - the lists of a URL -> where one connect may try.
 * links: common/pg/targets.c
 * libs:
 */
#include "common/pg/targets.h"

#include "common/base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void lists_are_split(void **state)
{
    static const struct {
        const char *hosts, *addresses, *ports, *want; /* host|address|port; */
        bool names;
    } row[] = {
        {NULL, NULL, NULL, "||;", false},
        {"db", NULL, "5433", "db||5433;", true},
        {"/run/pg", NULL, NULL, "/run/pg||;", false},
        {"@abstract", NULL, NULL, "@abstract||;", false},
        {"a,b", NULL, "1,2", "a||1;b||2;", true},
        {"a,b,c", NULL, "1", "a||1;b||1;c||1;", true},
        {"10.0.0.1,::1", NULL, "", "10.0.0.1|10.0.0.1|;::1|::1|;", false},
        {"db", "10.0.0.1", "1", "db|10.0.0.1|1;", false},
        {NULL, "10.0.0.1,10.0.0.2", "1", "|10.0.0.1|1;|10.0.0.2|1;", false},
        {"db,/run/pg", "10.0.0.1,", NULL, "db|10.0.0.1|;/run/pg||;", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct pg_targets targets;
        char have[256] = "";

        assert_int_equal(
            pg_targets_split(&targets, row[i].hosts, row[i].addresses, row[i].ports), 0);
        for (size_t n = 0; n < targets.count; n++)
            snprintf(have + strlen(have), sizeof have - strlen(have), "%s|%s|%s;",
                     targets.target[n].host, targets.target[n].address, targets.target[n].port);
        assert_string_equal(have, row[i].want);
        assert_int_equal(pg_targets_have_names(&targets), row[i].names);
    }
}

static void bounds_hold(void **state)
{
    struct pg_targets targets, other;
    char long_host[400], many[200] = "a";

    (void)state;
    memset(long_host, 'x', sizeof long_host - 1);
    long_host[sizeof long_host - 1] = '\0';
    assert_int_equal(pg_targets_split(&targets, long_host, NULL, NULL), -1);
    assert_int_equal(pg_targets_split(&targets, "a", NULL, "123456789"), -1);
    for (int i = 0; i < 40; i++)
        strcat(many, ",a");
    assert_int_equal(pg_targets_split(&targets, many, NULL, NULL), 0);
    assert_int_equal(targets.count, TARGETS_MAX);
    assert_false(pg_targets_add(&targets, "a", "", ""));
    assert_int_equal(pg_targets_split(&targets, "a", NULL, "1"), 0);
    assert_int_equal(pg_targets_split(&other, "a", NULL, "1"), 0);
    assert_true(pg_targets_equal(&targets, &other));
    assert_int_equal(pg_targets_split(&other, "a", NULL, "2"), 0);
    assert_false(pg_targets_equal(&targets, &other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_split),
        cmocka_unit_test(bounds_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
