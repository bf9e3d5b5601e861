/*
 * test_flusher_pure.c - what the flusher decides: lease, bisection, multiranges, sums, SQL text.
 * links: workers/db_flusher/lease.c workers/db_flusher/poison.c workers/db_flusher/tally.c workers/db_flusher/merge.c workers/db_flusher/text.c workers/db_flusher/sha1.c common/money/money.c common/event/event.c common/base/err.c common/base/clock.c
 * libs: libsodium
 */
#include "workers/db_flusher/lease.h"
#include "workers/db_flusher/load.h"
#include "workers/db_flusher/merge.h"
#include "workers/db_flusher/poison.h"
#include "workers/db_flusher/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static mono_t at(int64_t ms)
{
    return (mono_t){ms * 1000};
}

static void test_lease(void **state)
{
    struct lease lease;

    (void)state;
    lease_init(&lease, 15000);
    assert_false(lease_held(&lease, at(0)));
    lease_asked(&lease, at(100));
    assert_false(lease_held(&lease, at(100)));
    lease_granted(&lease); /* counted from the question, not from the answer */
    assert_true(lease_held(&lease, at(15099)));
    assert_false(lease_held(&lease, at(15100)));
    lease_asked(&lease, at(5000));
    assert_false(lease_unanswered(&lease, at(9000)));
    assert_true(lease_held(&lease, at(15099)));
    lease_asked(&lease, at(10000));
    lease_granted(&lease);
    assert_true(lease_held(&lease, at(24999)));
    assert_true(lease_unanswered(&lease, at(25000)));
    assert_int_equal(lease.state, LEASE_NONE);
    lease_asked(&lease, at(30000));
    assert_false(lease_refused(&lease));
    lease_asked(&lease, at(30000));
    lease_granted(&lease);
    assert_true(lease_refused(&lease));
    lease_asked(&lease, at(30000));
    assert_false(lease_unanswered(&lease, at(30001)));
    assert_int_equal(lease.state, LEASE_NONE);
}

/* Runs a hunt against a rule: an event is bad by itself, or when the sum of weights overflows. */
static enum poison_state hunt(struct poison *poison, uint8_t *verdict, size_t count,
                              const int *weight, int most)
{
    poison_begin(poison, verdict, count, 20);
    poison_trial(poison, false);
    while (poison->state == POISON_TRY) {
        int sum = 0;

        for (size_t i = 0; i < count; i++)
            sum += poison_included(poison, i) ? weight[i] : 0;
        poison_trial(poison, sum > most);
    }
    return poison->state;
}

static void test_poison(void **state)
{
    static int weight[1000];
    static uint8_t verdict[1000];
    struct poison poison;

    (void)state;
    for (size_t count = 1; count <= 1000; count = count * 3 + 1) {
        memset(weight, 0, sizeof weight);
        weight[0] = 100;
        weight[count / 2] = 100;
        weight[count - 1] = 100;
        assert_int_equal(hunt(&poison, verdict, count, weight, 99), POISON_DONE);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(verdict[i] == VERDICT_BAD, weight[i] == 100);
    }
    for (size_t i = 0; i < 1000; i++)
        weight[i] = 1; /* good each, too much together: the last one overflows */
    assert_int_equal(hunt(&poison, verdict, 1000, weight, 999), POISON_DONE);
    assert_int_equal(poison.bad, 1);
    assert_int_equal(verdict[999], VERDICT_BAD);
    for (size_t i = 0; i < 1000; i++)
        weight[i] = 100;
    assert_int_equal(hunt(&poison, verdict, 1000, weight, 99), POISON_SCHEMA);
    assert_true(poison.trials <= poison.most_trials);
    poison_begin(&poison, verdict, 10, 20);
    poison_trial(&poison, true); /* the synthetic one refused */
    assert_int_equal(poison.state, POISON_SCHEMA);
}

#define S(text) ((struct slice){text, sizeof(text) - 1})

static void test_text(void **state)
{
    struct text text = {0};

    (void)state;
    text_sql(&text, "SELECT FROM @.a, @.b", "\"s\"");
    assert_string_equal(text.data, "SELECT FROM \"s\".a, \"s\".b");
    text_free(&text);
}

static void test_member(void **state)
{
    char to[128];
    size_t length;

    (void)state;
    length = merge_team_member(S("t\"1\\"), S("u\n\x01\x7f\xc3\xa9"), to, sizeof to);
    to[length] = '\0';
    assert_string_equal(to, "[\"t\\\"1\\\\\",\"u\\n\\u0001\x7f\xc3\xa9\"]");
}

static void test_merge(void **state)
{
    struct event event = {.spend = MONEY_MAX - 1, .api_key = S("k"), .user_id = S("u"),
                          .team_id = S("t"), .model = S("m"), .prompt_tokens = 3,
                          .completion_tokens = 4, .status = S("failure")};
    struct tally entities, days;
    struct slice id, column[DAILY_KEY_COLUMNS];
    day_t day;

    (void)state;
    event.tags = (struct tag_set){.count = 2, .tag = {S("a"), S("b")}};
    event.received = -1; /* the day before 1970 */
    tally_init(&entities, 7);
    tally_init(&days, 8);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(merge_event(&entities, &days, &event, ~0u), 0);
    event.model = S("n");
    assert_int_equal(merge_event(&entities, &days, &event, ~0u), 0);
    tally_sort(&entities);
    tally_sort(&days);
    assert_int_equal(entities.used, 6); /* key, two tags, team, member, user: in the order of names */
    assert_int_equal(days.used, 12);
    assert_int_equal(merge_entity(tally_key(&entities, &entities.sum[0]), entities.sum[0].length, &id),
                     ENTITY_key);
    assert_true(entities.sum[0].spend == (money_sum_t)1001 * (MONEY_MAX - 1));
    assert_int_equal(entities.sum[0].count[TALLY_REQUESTS], 1001);
    assert_int_equal(entities.sum[0].count[TALLY_FAILED], 1001);
    assert_int_equal(merge_day(tally_key(&days, &days.sum[0]), days.sum[0].length, &day, column),
                     ENTITY_key);
    assert_int_equal(day, -1);
    assert_int_equal(column[2].length, 1);
    assert_memory_equal(column[2].data, "m", 1);
    assert_int_equal(days.sum[1].count[TALLY_PROMPT], 3);
    tally_free(&entities);
    tally_free(&days);
}

static void test_sha1(void **state)
{
    char hex[41];
    char long_one[119];

    (void)state;
    load_sha1("abc", 3, hex);
    assert_string_equal(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
    load_sha1("", 0, hex);
    assert_string_equal(hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    memset(long_one, 'a', sizeof long_one);
    load_sha1(long_one, sizeof long_one, hex);
    assert_string_equal(hex, "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lease), cmocka_unit_test(test_poison),
        cmocka_unit_test(test_text),  cmocka_unit_test(test_member), cmocka_unit_test(test_merge),
        cmocka_unit_test(test_sha1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
