/*
 * test_jitter.c - how pauses grow, where they end, and that nothing of their range is left out.
 *
 * links: common/base/jitter.c common/base/clock.c
 * libs:
 */
#include "common/base/jitter.h"

#include "common/base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void the_bound_doubles_and_ends(void **state)
{
    static const int64_t bounds[] = {50, 100, 200, 400, 800, 1600, 3200, 5000, 5000};

    (void)state;
    for (unsigned i = 0; i < COUNT_OF(bounds); i++) {
        assert_int_equal(jitter_bound_ms(50, 5000, i), bounds[i]);
        assert_int_equal(jitter_backoff_ms(50, 5000, i, 0), 0);
        assert_int_equal(jitter_backoff_ms(50, 5000, i, UINT32_MAX), bounds[i]);
    }
    assert_int_equal(jitter_bound_ms(50, 5000, UINT32_MAX), 5000);
    assert_int_equal(jitter_bound_ms(50, 10, 0), 10); /* the cap is below the first */
    assert_int_equal(jitter_bound_ms(0, 5000, 1000), 0);
}

static void the_whole_range_is_used_evenly(void **state)
{
    size_t seen[11] = {0};

    (void)state;
    for (uint64_t dice = 0; dice <= UINT32_MAX; dice += UINT32_MAX / 1100) {
        int64_t ms = jitter_ms(10, (uint32_t)dice);

        assert_in_range(ms, 0, 10);
        seen[ms]++;
    }
    for (size_t i = 0; i < COUNT_OF(seen); i++)
        assert_in_range(seen[i], 99, 102);
    assert_int_equal(jitter_ms(0, UINT32_MAX), 0);
    assert_int_equal(jitter_ms(-7, UINT32_MAX), 0);
    assert_int_equal(jitter_ms(INT64_MAX / 2, UINT32_MAX) > INT64_MAX / 4, 1);
}

static void dice_differ(void **state)
{
    uint32_t first = jitter_dice();
    unsigned same = 0;

    (void)state;
    for (int i = 0; i < 8; i++)
        same += jitter_dice() == first;
    assert_in_range(same, 0, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bound_doubles_and_ends),
        cmocka_unit_test(the_whole_range_is_used_evenly),
        cmocka_unit_test(dice_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
