/*
 * test_ranges.c - what is applied of an epoch: read strictly, or not at all.
 * links: common/batch/ranges.c
 */
#include "common/batch/ranges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void holds_what_lies_within(void **state)
{
    (void)state;
    for (uint64_t seq = 0; seq < 40; seq++)
        assert_int_equal(ranges_have("{[1,6),[8,9),[20,30)}", seq),
                         (seq >= 1 && seq < 6) || seq == 8 || (seq >= 20 && seq < 30));
    assert_int_equal(ranges_have("{}", 1), 0);
    assert_int_equal(ranges_have("{(,5)}", 4), 1);
    assert_int_equal(ranges_have("{(,5)}", 5), 0);
    assert_int_equal(ranges_have("{[5,)}", 4000000), 1);
    assert_int_equal(ranges_have("{(,)}", 1), 1);
}

static void refuses_what_postgresql_does_not_write(void **state)
{
    static const char *const bad[] = {
        "",          "{",         "[1,2)",    "{[1,2]}",  "{[1,2)",    "{[1,2)}x",
        "{[,2)}",    "{(1,2)}",   "{[1,2),}", "{ [1,2)}", "{[a,2)}",   "{,[1,2)}",
        "{[1,2),x}", "{[1 ,2)}",  "{[ 1,2)}", "{[+1,2)}", "{[1;2)}",   "{[1,2)[3,4)}",
        "{[1,99999999999999999999)}", "{[99999999999999999999,2)}"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (ranges_have(bad[i], 1) != -1)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(ranges_have("{}", UINT64_MAX), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_lies_within),
        cmocka_unit_test(refuses_what_postgresql_does_not_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
