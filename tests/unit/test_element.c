/*
 * test_element.c - elements of LiteLLM's lists, part by part: what counts, what is bad and why, to the byte.
 * links: common/litellm/element.c common/litellm/lists.c common/json/json_scan.c
 * links: common/base/utf8.c common/base/err.c common/money/money.c
 */
#include "common/litellm/element.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct seen {
    size_t parts, bad;
    char text[4096]; /* "list entity id second spend;" or "!why" */
    char record[1024]; /* of the last bad one */
};

static void put(struct seen *seen, const char *text, size_t length)
{
    size_t used = strlen(seen->text);

    snprintf(seen->text + used, sizeof seen->text - used, "%.*s", (int)length, text);
}

static bool note(void *arg, const struct element_part *part)
{
    struct seen *seen = arg;
    size_t length;

    seen->parts++;
    if (part->bad != NULL) {
        seen->bad++;
        put(seen, "!", 1);
        put(seen, part->bad, strlen(part->bad));
        put(seen, ";", 1);
        length = element_record(part, NULL, 0);
        assert_true(length < sizeof seen->record);
        assert_int_equal(element_record(part, seen->record, sizeof seen->record), length);
        seen->record[length] = '\0';
        return true;
    }
    put(seen, part->id.data, part->id.length);
    put(seen, "/", 1);
    put(seen, part->second.data ? part->second.data : "", part->second.length);
    put(seen, "=", 1);
    put(seen, part->money[ELEMENT_spend].data, part->money[ELEMENT_spend].length);
    put(seen, ";", 1);
    return true;
}

static int look(enum litellm_list list, const char *element, struct seen *seen, struct err *err)
{
    memset(seen, 0, sizeof *seen);
    return element_read(list, element, strlen(element), note, seen, err);
}

/* An element, and all that is read of it. */
static void is(enum litellm_list list, const char *element, const char *parts)
{
    struct seen seen;
    struct err err;

    assert_int_equal(look(list, element, &seen, &err), 0);
    assert_string_equal(seen.text, parts);
}

static void bad(enum litellm_list list, const char *element, const char *why, const char *record)
{
    struct seen seen;
    struct err err;

    assert_int_equal(look(list, element, &seen, &err), 0);
    assert_int_equal(seen.bad, 1);
    assert_non_null(strstr(seen.text, why));
    assert_string_equal(seen.record, record);
}

static void none(enum litellm_list list, const char *element)
{
    struct seen seen;
    struct err err;

    assert_int_equal(look(list, element, &seen, &err), -1);
    assert_int_equal(seen.parts, 0);
    assert_true(err.text[0] != '\0');
}

static void totals(void **state)
{
    (void)state;
    is(LITELLM_LIST_spend, "{\"user_list_transactions\": {\"u\": 1e-06, \"\": 0, \"n\": null}, "
       "\"org_list_transactions\": null, "
       "\"key_list_transactions\": {}}", "u/=1e-06;/=0;n/=0;");
    is(LITELLM_LIST_spend, " {\"tag_list_transactions\" : {\"a\\\"\\u00e9\\ud83d\\ude00\\/\\n\":-0.25 } } ",
       "a\"\xc3\xa9\xf0\x9f\x98\x80/\n/=-0.25;");
    is(LITELLM_LIST_spend, "{}", "");
    is(LITELLM_LIST_spend, "{\"new_list_transactions\": {}, \"newer\": null}", "");
    is(LITELLM_LIST_spend, "{\"team_member_list_transactions\": {\"team_id::t::x::user_id::u::y\": 1}}",
        "t::x/u::y=1;");
    is(LITELLM_LIST_spend, "{\"team_member_list_transactions\": {\"team_id::::user_id::\": 1}}", "/=1;");
    is(LITELLM_LIST_spend, "{\"org_member_list_transactions\": {\"organization_id::a%3A%3Ab::user_id::%C3%A9%2\": 1}}",
       "a::b/\xc3\xa9%2=1;");
}

static void bad_totals(void **state)
{
    (void)state;
    bad(LITELLM_LIST_spend, "{\"user_list_transactions\": {\"u\": NaN, \"v\": 1}}", "not finite",
        "{\"user_list_transactions\": {\"u\": NaN}}");
    bad(LITELLM_LIST_spend, "{\"user_list_transactions\": {\"u\":-Infinity}}", "not finite",
        "{\"user_list_transactions\": {\"u\": -Infinity}}");
    bad(LITELLM_LIST_spend, "{\"user_list_transactions\": {\"u\": \"1\"}}", "no number",
        "{\"user_list_transactions\": {\"u\": \"1\"}}");
    bad(LITELLM_LIST_spend, "{\"user_list_transactions\": {\"u\": 1e9}}", "out of bounds",
        "{\"user_list_transactions\": {\"u\": 1e9}}");
    bad(LITELLM_LIST_spend, "{\"tag_list_transactions\": {\"\\udc00\": 1}}", "surrogate",
        "{\"tag_list_transactions\": {\"\\udc00\": 1}}");
    bad(LITELLM_LIST_spend, "{\"tag_list_transactions\": {\"\\ud800\\u0041\": 1}}", "surrogate",
        "{\"tag_list_transactions\": {\"\\ud800\\u0041\": 1}}");
    bad(LITELLM_LIST_spend, "{\"tag_list_transactions\": {\"a\\u0000\": 1}}", "NUL",
        "{\"tag_list_transactions\": {\"a\\u0000\": 1}}");
    bad(LITELLM_LIST_spend, "{\"tag_list_transactions\": {\"\xff\": 1}}", "UTF-8",
        "{\"tag_list_transactions\": {\"\xff\": 1}}");
    bad(LITELLM_LIST_spend, "{\"team_list_transactions\": \"MaxDepthExceeded\"}", "no map",
        "{\"team_list_transactions\": \"MaxDepthExceeded\"}");
    bad(LITELLM_LIST_spend, "{\"new\": {\"x\" : [1, {\"y\": NaN}]}}", "does not know",
        "{\"new\": {\"x\": [1, {\"y\": NaN}]}}");
    bad(LITELLM_LIST_spend, "{\"team_member_list_transactions\": {\"team_id::a::user_id::b::user_id::c\": 1}}",
        "more than one way", "{\"team_member_list_transactions\": {\"team_id::a::user_id::b::user_id::c\": 1}}");
    bad(LITELLM_LIST_spend, "{\"team_member_list_transactions\": {\"team_id::a::user_id::user_id::c\": 1}}",
        "more than one way", "{\"team_member_list_transactions\": {\"team_id::a::user_id::user_id::c\": 1}}");
    bad(LITELLM_LIST_spend, "{\"org_member_list_transactions\": {\"organization_id::a%00::user_id::b\": 1}}", "NUL",
        "{\"org_member_list_transactions\": {\"organization_id::a%00::user_id::b\": 1}}");
    bad(LITELLM_LIST_spend, "{\"team_member_list_transactions\": {\"a::b\": 1}}", "team_id::",
        "{\"team_member_list_transactions\": {\"a::b\": 1}}");
}

#define DAY "\"date\": \"2026-11-01\", \"api_key\": \"k\", \"model\": null, \"spend\": 0.5"

static void days(void **state)
{
    (void)state;
    is(LITELLM_LIST_daily_tag, "{\"x_y_z\": {\"tag\": \"t\", " DAY "}, \"2\": {\"tag\": null, " DAY ", \"more\": {}}}",
       "t/=0.5;/=0.5;");
    bad(LITELLM_LIST_daily_user, "{\"k\": {\"user_id\": \"u\", \"api_key\": \"k\"}}", "no date",
        "{\"k\": {\"user_id\": \"u\", \"api_key\": \"k\"}}");
    bad(LITELLM_LIST_daily_user, "{\"k\": {" DAY ", \"prompt_tokens\": Infinity}}", "not finite",
        "{\"k\": {" DAY ", \"prompt_tokens\": Infinity}}");
    bad(LITELLM_LIST_daily_user, "{\"k\": {" DAY ", \"model_group\": 5}}", "something else",
        "{\"k\": {" DAY ", \"model_group\": 5}}");
    bad(LITELLM_LIST_daily_user, "{\"k\": \"MaxDepthExceeded\", \"l\": {" DAY "}}", "no object",
        "{\"k\": \"MaxDepthExceeded\"}");
}

static void windows(void **state)
{
    (void)state;
    is(LITELLM_LIST_window, "[{\"entity_type\": \"key\", \"entity_id\": \"e\", \"window_duration\": \"30d\", "
       "\"window_start\": \"2026-08-01T00:00:00.000000\", \"spend\": 2, \"request_ids\": [\"a\"], "
       "\"started_at\": null}]", "e/key=2;");
    bad(LITELLM_LIST_window, "[{\"entity_type\": \"key\"}]", "names no", "[{\"entity_type\": \"key\"}]");
    bad(LITELLM_LIST_window, "[3]", "no object", "[3]");
    none(LITELLM_LIST_window, "{}");
}

static void no_elements(void **state)
{
    static const char *const texts[] = {
        "", " ", "[]", "null", "\"x\"", "{\"a\": }", "{\"a\": 1,}", "{\"a\" 1}", "{} {}", "{\"a\": 01}",
        "{\"a\": 1.}", "{\"a\": +1}", "{\"a\": nul}", "{\"a\": \"\\x\"}", "{\"a\": \"\\u12g4\"}",
        "{\"a\": [1}", "{\"a\": \"\n\"}", "{a: 1}", "{\"a\": -}", "{\"a\": 1e}", "{\"a\": \"b"};
    char deep[2 * JSON_SCAN_DEPTH + 16] = "{\"a\": ";

    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        none(LITELLM_LIST_spend, texts[i]);
    for (size_t i = 0; i < JSON_SCAN_DEPTH; i++)
        strcat(deep, "[");
    none(LITELLM_LIST_spend, deep);
}

static void names(void **state)
{
    static const struct {
        const char *key, *namespace, *final, *claim;
    } rows[] = {{"litellm_x", "", "litellm_x", "{litellm_x}:spendd:claim"},
                {"litellm_x", "litellm", "litellm_x", "{litellm_x}:spendd:claim"},
                {"cronjob_lock:j", "litellm", "litellm:cronjob_lock:j", "{litellm:cronjob_lock:j}:spendd:claim"},
                {"l", "{prod}", "{prod}:l", "{prod}:l:spendd:claim"},
                {"l", "{}", "{}:l", "{{}:l}:spendd:claim"}};
    char key[LITELLM_KEY], claim[LITELLM_KEY];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        litellm_key(rows[i].key, rows[i].namespace, key);
        litellm_claim_key(key, claim);
        assert_string_equal(key, rows[i].final);
        assert_string_equal(claim, rows[i].claim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(totals),      cmocka_unit_test(bad_totals),
                                       cmocka_unit_test(days),        cmocka_unit_test(windows),
                                       cmocka_unit_test(no_elements), cmocka_unit_test(names)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
