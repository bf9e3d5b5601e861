/*
 * test_loop.c - timers in order, watches taken away from within callbacks.
 *
 * links: common/harness/loop.c common/harness/timers.c common/base/err.c common/base/clock.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/harness/loop.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMERS 500

struct seen {
    struct timer *timer;
    int64_t when;
    unsigned *order;
    int64_t *last;
};

static void in_order(void *arg)
{
    struct seen *seen = arg;

    assert_true(seen->when >= *seen->last);
    *seen->last = seen->when;
    ++*seen->order;
}

static mono_t at(int64_t micros)
{
    return (mono_t){micros};
}

static void timers_fire_in_order(void **unused)
{
    static struct seen seen[TIMERS];
    struct timers timers = {0};
    unsigned fired = 0;
    int64_t last = -1;

    (void)unused;
    srandom(1);
    for (int i = 0; i < TIMERS; i++) {
        seen[i] = (struct seen){NULL, random() % 1000, &fired, &last};
        seen[i].timer = timers_add(&timers, in_order, &seen[i]);
        timer_at(seen[i].timer, at(random() % 1000));
        timer_at(seen[i].timer, at(seen[i].when)); /* replaces */
    }
    for (int i = 0; i < TIMERS; i += 5)
        timer_stop(seen[i].timer);
    assert_int_equal(timers_fire(&timers, at(-1)), 0);
    timers_fire(&timers, at(499));
    assert_true(last <= 499);
    timers_fire(&timers, at(1000));
    assert_int_equal(fired, TIMERS - TIMERS / 5);
    assert_true(timers_next(&timers).micros == mono_never().micros);
    for (int i = 0; i < TIMERS; i++)
        harness_untimer(&seen[i].timer);
    timers_cleanup(&timers);
}

static void again(void *arg)
{
    struct seen *seen = arg;

    ++*seen->order;
    timer_at(seen->timer, at(0));
}

static void free_itself(void *arg)
{
    harness_untimer(arg);
}

static void timer_set_again_waits(void **unused)
{
    struct timers timers = {0};
    unsigned fired = 0;
    struct seen seen = {NULL, 0, &fired, NULL};
    struct timer *once;

    (void)unused;
    seen.timer = timers_add(&timers, again, &seen);
    once = timers_add(&timers, free_itself, &once);
    timer_at(seen.timer, at(0));
    timer_at(once, at(1));
    while (once != NULL)
        timers_fire(&timers, at(5));
    assert_true(fired <= 4);
    harness_untimer(&seen.timer);
    timers_cleanup(&timers);
}

struct pair {
    struct watch *mine, *other;
    struct loop *loop;
    int called;
};

/* Takes away itself and the other; the other must not be called in this turn. */
static void take_both(void *arg, short revents)
{
    struct pair *pair = arg;

    assert_true(revents & POLLIN);
    pair->called++;
    harness_unwatch(&pair->mine);
    harness_unwatch(&pair->other);
}

static bool look_once(void *arg)
{
    int *left = arg;

    return (*left)-- > 0;
}

static void unwatch_within_callback(void **unused)
{
    struct loop loop = {0};
    struct pair pair = {.loop = &loop};
    int ends[2], looks = 3;

    (void)unused;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    pair.mine = loop_watch(&loop, ends[0], POLLIN, take_both, &pair);
    pair.other = loop_watch(&loop, ends[0], POLLIN, take_both, &pair);
    loop_turn(&loop, 1000);
    assert_int_equal(pair.called, 1);
    loop_before_sleep(&loop, look_once, &looks);
    loop_turn(&loop, -1); /* would sleep for ever without the look */
    assert_int_equal(loop.count, 0);
    pair.mine = loop_watch(&loop, ends[0], 0, take_both, &pair);
    loop_turn(&loop, -1);
    assert_int_equal(pair.called, 1); /* events 0: not looked at */
    watch_events(pair.mine, POLLIN);
    loop_turn(&loop, -1);
    assert_int_equal(pair.called, 2);
    close(ends[0]);
    close(ends[1]);
    loop_cleanup(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order),
        cmocka_unit_test(timer_set_again_waits),
        cmocka_unit_test(unwatch_within_callback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
