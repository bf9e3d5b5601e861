/*
 * test_pending.c - which batches are forgotten, which are asked for again.
 * links: workers/redis_writer/pending.c common/batch/ranges.c common/batch/envelope.c common/batch/record.c common/batch/crc32c.c common/base/clock.c common/base/err.c
 */
#include "workers/redis_writer/pending.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define REPUSH_MS 1000

static const mono_t start = {1000000000};

struct asked {
    uint64_t seq[64];
    size_t count;
    bool deaf;
};

static bool ask(void *arg, const struct pending_batch *batch)
{
    struct asked *asked = arg;

    if (asked->deaf)
        return false;
    asked->seq[asked->count++ % 64] = batch->identity.seq;
    return true;
}

static void push(struct pending *pending, uint64_t seq, int64_t ticket, int64_t popped, mono_t now)
{
    struct pending_batch batch = {.identity = {"e", 0, seq}, .ticket = ticket, .popped = popped};

    assert_int_equal(pending_pushed(pending, &batch, now, REPUSH_MS), 0);
}

static void apply(struct pending *pending, const char *text)
{
    pending_applied(pending, "e", text);
}

static size_t sweep(struct pending *pending, int64_t popped, int64_t ms, struct asked *asked)
{
    asked->count = 0;
    pending_sweep(pending, popped, mono_after_ms(start, ms), REPUSH_MS, ask, asked);
    return asked->count;
}

static void applied_is_forgotten(void **state)
{
    struct pending p = {0};
    struct asked asked = {0};

    (void)state;
    for (uint64_t seq = 1; seq <= 300; seq++)
        push(&p, seq, (int64_t)seq, 0, start);
    apply(&p, "{[1,101),[102,301)}");
    assert_int_equal(p.count, 1);
    assert_int_equal(p.batch[0].identity.seq, 101);
    assert_int_equal(p.newest_applied, 300);
    /* Overtaken: one look of grace, then asked for, once. */
    assert_int_equal(sweep(&p, 0, 1, &asked), 0);
    assert_int_equal(sweep(&p, 0, 2, &asked), 1);
    assert_int_equal(asked.seq[0], 101);
    assert_int_equal(sweep(&p, 0, 3, &asked), 0);
    pending_cleanup(&p);
}

static void popped_and_not_applied_is_asked_for(void **state)
{
    struct pending p = {0};
    struct asked asked = {0};

    (void)state;
    push(&p, 1, 1, 0, start);
    push(&p, 2, 2, 0, start);
    assert_int_equal(sweep(&p, 1, 1, &asked), 0);
    asked.deaf = true; /* the lane could not be told: it is tried again */
    assert_int_equal(sweep(&p, 1, 2, &asked), 0);
    asked.deaf = false;
    assert_int_equal(sweep(&p, 1, 3, &asked), 1);
    assert_int_equal(asked.seq[0], 1);
    push(&p, 1, 3, 1, start);
    assert_int_equal(p.count, 2);
    assert_int_equal(sweep(&p, 1, 4, &asked), 0);
    pending_cleanup(&p);
}

static void time_counts_while_somebody_drains(void **state)
{
    static const int64_t due[] = {1000, 3000, 7000, 15000, 30000, 45000};
    struct pending p = {0};
    struct asked asked = {0};
    int64_t popped = 1;

    (void)state;
    push(&p, 7, 50, 0, start);
    assert_int_equal(sweep(&p, 0, 500000, &asked), 0); /* nothing popped: it stands there */
    for (size_t i = 0; i < COUNT_OF(due); i++) {
        assert_int_equal(sweep(&p, popped, due[i] - 1, &asked), 0);
        assert_int_equal(sweep(&p, popped, due[i], &asked), 1);
        popped++;
    }
    /* A lane that never answers is given up; its successor will be sent to from the start. */
    for (int i = 0; i < 20; i++)
        (void)sweep(&p, popped++, 60000 + i * 20000, &asked);
    assert_int_equal(p.count, 0);
    pending_cleanup(&p);
}

/* redis.repush_s is live: shorter holds for what is outstanding, longer for what comes. */
static void a_shorter_wait_holds_at_once(void **state)
{
    struct pending p = {0};
    struct asked asked = {0};

    (void)state;
    push(&p, 7, 50, 0, start);
    pending_hurry(&p, mono_after_ms(start, 100), 2 * REPUSH_MS);
    assert_int_equal(sweep(&p, 1, REPUSH_MS - 1, &asked), 0);
    pending_hurry(&p, mono_after_ms(start, 100), 50);
    assert_int_equal(sweep(&p, 1, 149, &asked), 0);
    assert_int_equal(sweep(&p, 1, 150, &asked), 1);
    pending_cleanup(&p);
}

static void tickets_tell_a_redis_that_went_back(void **state)
{
    struct pending p = {0};

    (void)state;
    assert_false(pending_went_back(&p, 0));
    push(&p, 1, 10, 0, start);
    assert_false(pending_went_back(&p, 10));
    assert_true(pending_went_back(&p, 9));
    pending_forget(&p);
    assert_false(pending_went_back(&p, 0));
    pending_cleanup(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applied_is_forgotten),
        cmocka_unit_test(popped_and_not_applied_is_asked_for),
        cmocka_unit_test(time_counts_while_somebody_drains),
        cmocka_unit_test(a_shorter_wait_holds_at_once),
        cmocka_unit_test(tickets_tell_a_redis_that_went_back),
    };

    return cmocka_run_group_tests_name("pending", tests, NULL, NULL);
}
