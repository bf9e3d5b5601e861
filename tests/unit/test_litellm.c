/*
 * test_litellm.c - sums for LiteLLM's tables: what is added, refused, and taken apart again; amounts.
 * links: workers/db_flusher/litellm_sums.c workers/db_flusher/litellm_json.c workers/db_flusher/merge.c workers/db_flusher/tally.c workers/db_flusher/text.c common/money/money.c common/event/event.c common/base/err.c common/base/clock.c common/base/utf8.c
 * libs: libsodium
 */
#include "workers/db_flusher/litellm_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S(text) ((struct slice){text, (uint32_t)sizeof(text) - 1})

const char *const litellm_text_columns[LITELLM_TEXTS] = {"who", "date", "api_key", "model", "provider",
                                                         "tool", "endpoint", "group", "request"};
const struct litellm_extra_column litellm_extra_columns[LITELLM_EXTRAS] = {
    [LITELLM_compression_saved_tokens] = {"c", true},
    [LITELLM_total_response_time_ms] = {"t", true},
    [LITELLM_timed_requests] = {"n", true},
};

static struct sums *make(void)
{
    struct sums *sums = calloc(1, sizeof *sums);

    for (int i = 0; i < LAYOUT_TABLES; i++)
        tally_init(&sums->tally[i], 7);
    return sums;
}

static void drop(struct sums *sums)
{
    for (int i = 0; i < LAYOUT_TABLES; i++)
        tally_free(&sums->tally[i]);
    free(sums);
}

static amount_t amount(const char *text)
{
    amount_t value;

    assert_int_equal(amount_parse(text, strlen(text), &value), 0);
    return value;
}

static void amounts(void **state)
{
    static const char *const refused[] = {"NaN", "Infinity", "-Infinity", "", "1e9", "1e400", "-1e9", "0x1", "1,5"};
    static const char *const exact[] = {"1.2345678901234567e-05", "0.1", "1e-06", "123456.78901234567", "0",
                                        "-0.00012345678901234568", "9.999999999999999e-09", "999999999.9999999"};
    amount_t value, sum = 0;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        assert_int_equal(amount_parse(refused[i], strlen(refused[i]), &value), -1);
    for (size_t i = 0; i < COUNT_OF(exact); i++)
        assert_true(amount_double(amount(exact[i])) == strtod(exact[i], NULL));
    assert_true(amount("4e-25") == 0 && amount("6e-25") == 1 && amount("1e-24") == 1);
    assert_true(amount_of_pico(1) == amount("0.000000000001"));
    for (int i = 0; i < 1000000; i++) /* where floats would have drifted */
        sum += amount("0.1");
    assert_true(amount_double(sum) == 100000.0);
}

static void entities(void **state)
{
    struct sums *sums = make();
    char longest[2700];
    struct slice id, second;
    struct err err;
    const struct tally *members = &sums->tally[LITELLM_team_member];

    (void)state;
    memset(longest, 'x', sizeof longest);
    for (int i = 0; i < 2; i++)
        assert_int_equal(litellm_add_entity(sums, LITELLM_team_member, S("t"), S("u"), amount("0.25"), &err),
                         LITELLM_ADDED);
    assert_int_equal(litellm_add_entity(sums, LITELLM_team_member, S("t"), S(""), 1, &err), LITELLM_ADDED);
    assert_int_equal(members->used, 2);
    litellm_entity_key(&members->sum[0], members, &id, &second);
    assert_true(id.length == 1 && second.length == 1 && second.data[0] == 'u');
    assert_true(members->sum[0].spend == amount("0.5"));
    assert_int_equal(litellm_add_entity(sums, LITELLM_user, S("a\0b"), S(""), 1, &err), LITELLM_REFUSED);
    assert_int_equal(litellm_add_entity(sums, LITELLM_user, S("\xed\xa0\x80"), S(""), 1, &err), LITELLM_REFUSED);
    assert_int_equal(litellm_add_entity(sums, LITELLM_user, (struct slice){longest, sizeof longest}, S(""), 1, &err),
                     LITELLM_REFUSED);
    assert_int_equal(litellm_add_entity(sums, LITELLM_user, S("u"), S(""), 2 * amount("999999999"), &err),
                     LITELLM_REFUSED);
    assert_int_equal(sums->tally[LITELLM_user].used, 0);
    drop(sums);
}

static void days(void **state)
{
    struct sums *sums = make();
    struct litellm_day day = {.spend = amount("0.5"), .count = {1, 2, 3, 4, 5, 6, 7}};
    const struct tally *tags = &sums->tally[LITELLM_ENTITIES + LITELLM_DAILY_tag];
    struct slice text[LITELLM_TEXTS];
    struct err err;

    (void)state;
    for (unsigned i = 0; i < LITELLM_TEXTS; i++)
        day.text[i] = S("");
    assert_int_equal(litellm_add_daily(sums, LITELLM_DAILY_tag, &day, &err), LITELLM_REFUSED); /* no date */
    day.text[LITELLM_DATE] = S("2026-11-21");
    day.text[LITELLM_WHO] = S("tag");
    day.text[LITELLM_ENDPOINT] = S("/e");
    day.text[LITELLM_REQUEST_ID] = S("first");
    assert_int_equal(litellm_add_daily(sums, LITELLM_DAILY_tag, &day, &err), LITELLM_ADDED);
    day.text[LITELLM_REQUEST_ID] = S("second");
    day.extras = true;
    day.extra[LITELLM_timed_requests] = 1;
    day.extra[LITELLM_autorouter_savings_spend] = amount("0.125");
    for (int i = 0; i < 3; i++)
        assert_int_equal(litellm_add_daily(sums, LITELLM_DAILY_tag, &day, &err), LITELLM_ADDED);
    day.count[0] = INT64_MAX;
    assert_int_equal(litellm_add_daily(sums, LITELLM_DAILY_tag, &day, &err), LITELLM_REFUSED);
    assert_int_equal(tags->used, 1);
    assert_true(tags->sum[0].spend == amount("2") && tags->sum[0].count[6] == 28);
    assert_true(tally_extra(tags, &tags->sum[0])[LITELLM_timed_requests] == 3);
    assert_true(tally_extra(tags, &tags->sum[0])[LITELLM_autorouter_savings_spend] == amount("0.375"));
    litellm_daily_key(&tags->sum[0], tags, text);
    assert_memory_equal(text[LITELLM_WHO].data, "tag", 3);
    assert_true(text[LITELLM_MODEL].length == 0 && text[LITELLM_MODEL_GROUP].length == 0);
    assert_memory_equal(text[LITELLM_ENDPOINT].data, "/e", 2);
    assert_int_equal(text[LITELLM_REQUEST_ID].length, 5); /* the first stays */
    drop(sums);
}

static void metadata(void **state)
{
    static const struct {
        const char *object, *wanted;
        bool kept;
    } rows[] = {
        {"", "{\"spendd_event_id\": \"e\"}", true},
        {"{}", "{\"spendd_event_id\": \"e\"}", true},
        {" { } ", "{ \"spendd_event_id\": \"e\"}", true},
        {"{\"a\": 1}", "{\"a\": 1, \"spendd_event_id\": \"e\"}", true},
        {"{\"a\\u0000\": \"\\ud83d\\ude00\\ud83dx\\\\u0000\"}",
         "{\"a\\ufffd\": \"\\ud83d\\ude00\\ufffdx\\\\u0000\", \"spendd_event_id\": \"e\"}", true},
        {"{\"a\": \"\\ude00\\uD83D\"}", "{\"a\": \"\\ufffd\\ufffd\", \"spendd_event_id\": \"e\"}", true},
        {"{\"a\": 1e999}",
         "{\"spendd_metadata\": \"left out: jsonb does not take it\", \"spendd_event_id\": \"e\"}", false},
        {"{\"a\": \"1e999\"}", "{\"a\": \"1e999\", \"spendd_event_id\": \"e\"}", true},
    };
    struct text text = {0};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice object = {rows[i].object, (uint32_t)strlen(rows[i].object)};

        text_clear(&text);
        assert_int_equal(litellm_json(&text, object, S("e")), rows[i].kept);
        assert_string_equal(text.data, rows[i].wanted);
    }
    text_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amounts),
        cmocka_unit_test(entities),
        cmocka_unit_test(days),
        cmocka_unit_test(metadata),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
