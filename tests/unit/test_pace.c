/*
 * test_pace.c - when the database is probed.
 * links: workers/health_checker/pace.c
 * libs:
 */
#include "workers/health_checker/pace.h"

#include "common/base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void rows(void **state)
{
    static const struct {
        struct pace_facts facts; /* ever, passed, gate_open, holder, flushed, idle_due, stood_down */
        enum pace pace;
    } row[] = {
        {{false, false, false, false, false, false, false}, PACE_PROBE},
        {{true, false, true, false, false, false, false}, PACE_PROBE},
        {{true, false, true, true, true, false, false}, PACE_PROBE}, /* what failed is seen to work by a probe */
        {{true, true, false, false, false, false, false}, PACE_PROBE},
        {{true, true, true, false, false, false, false}, PACE_WAIT},
        {{true, true, true, false, true, false, false}, PACE_WAIT},
        {{true, true, true, false, false, true, false}, PACE_PROBE},
        {{true, true, true, true, true, false, false}, PACE_PROVED},
        {{true, true, true, true, true, true, false}, PACE_PROVED},
        {{true, true, true, true, false, false, false}, PACE_PROBE}, /* holds the lock and does not get on */
        {{true, true, true, false, false, false, true}, PACE_PROBE}, /* the flusher has found something */
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(row); i++)
        assert_int_equal(pace_decide(&row[i].facts), row[i].pace);
}

static void scarce_things_are_asked_for_less_often(void **state)
{
    (void)state;
    assert_int_equal(pace_pause_ms(5000, 0), 5000);
    assert_int_equal(pace_pause_ms(5000, 1), 10000);
    assert_int_equal(pace_pause_ms(5000, 2), 20000);
    assert_int_equal(pace_pause_ms(5000, 4000000000u), 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows),
        cmocka_unit_test(scarce_things_are_asked_for_less_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
