/*
 * test_supervision.c - the pure files of the supervisor: a child's table, backoff, the gate.
 *
 * links: supervisor/child.c supervisor/backoff.c supervisor/gate.c common/base/jitter.c common/base/err.c common/base/clock.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/attr.h"
#include "supervisor/backoff.h"
#include "supervisor/child.h"
#include "supervisor/gate.h"

#include <string.h>

/* Each state x event, written a second time by hand: rows in the order of enum child_state, columns
 * START HOLD STOP IS_UP DUE EXITED REFUSED SILENT RELOAD. */
#define N CHILD_NOTHING
#define BAD CHILD_BUG
static const enum child_action actions[CHILD_STATES][CHILD_EVENTS] = {
    {CHILD_SPAWN, N, N, BAD, N, BAD, BAD, BAD, N},
    {CHILD_SPAWN, N, N, BAD, N, BAD, BAD, BAD, N},
    {N, CHILD_DRAIN, CHILD_DRAIN, N, N, CHILD_RETRY, N, CHILD_ABORT, N},
    {N, CHILD_DRAIN, CHILD_DRAIN, N, N, CHILD_RETRY, N, CHILD_ABORT, N},
    {N, N, CHILD_DRAIN, N, N, CHILD_SETTLE, CHILD_SETTLE, CHILD_ABORT, N},
    {N, N, N, BAD, CHILD_SPAWN, BAD, BAD, BAD, CHILD_SETTLE},
    {N, N, N, BAD, N, BAD, BAD, BAD, CHILD_SETTLE},
};

#define S CHILD_STOPPED
#define H CHILD_HELD
#define G CHILD_STARTING
#define R CHILD_READY
#define D CHILD_DRAINING
#define B CHILD_BACKOFF
#define F CHILD_FAILED
static const enum child_state states[CHILD_STATES][CHILD_EVENTS] = {
    {G, H, S, S, S, S, S, S, S}, {G, H, S, H, H, H, H, H, H}, {G, D, D, R, G, B, F, G, G},
    {R, D, D, R, R, B, F, R, R}, {D, D, D, D, D, S, S, D, D}, {B, H, S, B, G, B, B, B, S},
    {F, F, S, F, F, F, F, F, S},
};

static void every_state_and_event(void **unused)
{
    (void)unused;
    for (unsigned state = 0; state < CHILD_STATES; state++)
        for (unsigned event = 0; event < CHILD_EVENTS; event++) {
            struct child_step step = child_step((enum child_state)state, (enum child_event)event);

            assert_int_equal(step.action, actions[state][event]);
            assert_int_equal(step.next, states[state][event]);
        }
}

static const struct backoff_rules rules = {200, 10000, 60000, 5};

static mono_t at(int64_t ms)
{
    return (mono_t){ms * 1000};
}

static void unready_backs_off_at_once(void **unused)
{
    static const int64_t bounds[] = {200, 400, 800, 1600, 3200, 6400, 10000, 10000};
    struct backoff backoff = {0}, other = {0};

    (void)unused;
    for (size_t i = 0; i < COUNT_OF(bounds); i++) {
        assert_int_equal(backoff_died(&backoff, &rules, false, at((int64_t)i), UINT32_MAX), bounds[i]);
        assert_int_equal(backoff_died(&other, &rules, false, at((int64_t)i), 0), 0);
    }
    backoff_ready(&backoff);
    assert_int_equal(backoff_died(&backoff, &rules, false, at(9), UINT32_MAX), 200);
}

static void ready_restarts_at_once_until_it_flaps(void **unused)
{
    struct backoff backoff = {0};

    (void)unused;
    for (int64_t i = 0; i < 4; i++)
        assert_int_equal(backoff_died(&backoff, &rules, true, at(i), UINT32_MAX), 0);
    assert_int_equal(backoff_died(&backoff, &rules, true, at(5), UINT32_MAX), 200);
    assert_int_equal(backoff_died(&backoff, &rules, true, at(6), UINT32_MAX), 400);
    assert_int_equal(backoff_died(&backoff, &rules, true, at(7), 0), 0);
    /* A minute of peace and it is forgotten. */
    assert_int_equal(backoff_died(&backoff, &rules, true, at(60001), UINT32_MAX), 0);
}

static void gate_opens_and_closes(void **unused)
{
    struct gate gate;

    (void)unused;
    gate_init(&gate);
    assert_false(gate.open);
    assert_true(gate_probed(&gate, false, "refused", 3));
    assert_string_equal(gate.why, "refused");
    assert_false(gate_probed(&gate, false, "refused", 3));
    assert_true(gate_probed(&gate, true, "", 3));
    assert_true(gate.open);
    assert_false(gate_probed(&gate, false, "gone", 3));
    assert_false(gate_probed(&gate, false, "gone", 3));
    assert_false(gate_probed(&gate, true, "", 3));
    assert_false(gate_probed(&gate, false, "gone", 3));
    assert_false(gate_probed(&gate, false, "gone", 3));
    assert_true(gate_probed(&gate, false, "gone", 3));
    assert_false(gate.open);
    assert_string_equal(gate.why, "gone");
    assert_true(gate_probed(&gate, false, "read only", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_and_event),
        cmocka_unit_test(unready_backs_off_at_once),
        cmocka_unit_test(ready_restarts_at_once_until_it_flaps),
        cmocka_unit_test(gate_opens_and_closes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
