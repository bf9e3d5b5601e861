/*
 * test_money.c - the money table: every text a provider has ever sent, and what it must become.
 *
 * links: common/money/money.c common/base/err.c
 * libs:
 */
#include "common/money/money.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *text;
    int64_t pico;
} good[] = {
    {"0", 0},
    {"-0", 0},
    {"0.0", 0},
    {"-0.000e5", 0},
    {"0e400", 0},
    {"0e-999999999999999999999", 0},
    {"1", 1000000000000},
    {"0.1", 100000000000},
    {"0.2", 200000000000},
    {"0.3", 300000000000},
    {"0.30000000000000004", 300000000000},
    {"1e-12", 1},
    {"-1e-12", -1},
    {"1E-7", 100000},
    {"1e+2", 100000000000000},
    {"1000e-10", 100000},
    {"0.0000000000005", 0},            /* tie: to even, 0 */
    {"0.0000000000015", 2},            /* tie: to even, 2 */
    {"0.0000000000025", 2},            /* tie: to even, 2 */
    {"0.00000000000250000000000000000000000000000000000000001", 3},
    {"0.0000000000005000000000000000000000000000000000001", 1},
    {"0.00000000000049999999999999999999999999999999999999", 0},
    {"-0.0000000000015", -2},
    {"5e-13", 0},
    {"51e-14", 1},
    {"15e-13", 2},
    {"9e-13", 1},
    {"9e-14", 0},
    {"1e-400", 0},
    {"1e-99999999999999999999", 0},
    {"0.12345678901234567", 123456789012}, /* 17 digits */
    {"0.00012345678901234567", 123456789},
    {"999999.999999999999", 999999999999999999},
    {"-999999.999999999999", -999999999999999999},
    {"999999.9999999999994", 999999999999999999},
    {"000001.5", 1500000000000},
    {"0.000000000000000000000000000000000000000000001e45", 1000000000000},
    {"1000000000000000000000000000000000000000000000e-45", 1000000000000},
    {"123456789012345678901234567890123456789012345678901234567890e-60", 123456789012},
};

static const char *const bad[] = {
    "",     "-",     "+1",   ".5",   "5.",    "1e",     "1e+",   "0x10",   "NaN",
    "nan",  "inf",   "-Infinity",    "1 ",    " 1",     "1,5",   "1.2.3",  "--1",
    "1e5.5", "12a",  "1e400", "1000000", "-1000000", "999999.9999999999995",
    "1e6",  "1e99999999999999999999", "1000000000000000000000000000000000000000",
    "\xef\xbc\x91", "1_000",
};

static void parses(void **state)
{
    struct err err;
    int64_t pico;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        if (money_parse(good[i].text, strlen(good[i].text), &pico, &err) != 0)
            fail_msg("%s: %s", good[i].text, err.text);
        if (pico != good[i].pico)
            fail_msg("%s: %lld", good[i].text, (long long)pico);
    }
}

static void refuses(void **state)
{
    struct err err;
    int64_t pico;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (money_parse(bad[i], strlen(bad[i]), &pico, &err) == 0)
            fail_msg("%s was taken for %lld", bad[i], (long long)pico);
    assert_int_equal(money_parse("1\0", 2, &pico, &err), -1);
}

static void a_tenth_and_a_fifth(void **state)
{
    int64_t a, b;
    char text[MONEY_TEXT];
    struct err err;

    (void)state;
    assert_int_equal(money_parse("0.1", 3, &a, &err), 0);
    assert_int_equal(money_parse("0.2", 3, &b, &err), 0);
    money_text((money_sum_t)a + b, text);
    assert_string_equal(text, "0.3");
}

static void says(void **state)
{
    static const struct {
        int64_t pico;
        const char *text;
    } rows[] = {
        {0, "0"},
        {1, "0.000000000001"},
        {-1, "-0.000000000001"},
        {1000000000000, "1"},
        {10000000000000, "10"},
        {100000000000, "0.1"},
        {-1500000000000, "-1.5"},
        {INT64_MAX, "9223372.036854775807"},
        {INT64_MIN, "-9223372.036854775808"},
    };
    char text[MONEY_TEXT];
    money_sum_t largest = (money_sum_t)(((unsigned __int128)1 << 127) - 1);

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(money_text(rows[i].pico, text), strlen(rows[i].text));
        assert_string_equal(text, rows[i].text);
    }
    money_text(largest, text);
    assert_string_equal(text, "170141183460469231731687303.715884105727");
    money_text(-largest - 1, text);
    assert_string_equal(text, "-170141183460469231731687303.715884105728");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(refuses),
        cmocka_unit_test(a_tenth_and_a_fifth),
        cmocka_unit_test(says),
    };

    return cmocka_run_group_tests_name("money", tests, NULL, NULL);
}
