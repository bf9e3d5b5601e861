/*
 * test_event_read.c - what a producer may send, and the exact words with which the rest is refused.
 *
 * links: common/event/read.c common/event/read_walk.c common/event/read_fields.c common/event/values.c common/event/event.c common/event/codec.c common/json/json_in.c common/json/json_keys.c common/base/utf8.c common/base/clock.c common/base/err.c common/money/money.c
 * libs: yajl libsodium
 */
#include "common/event/fields.h"
#include "common/event/read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1795234500000000LL /* 2026-11-21T04:15:00Z */
#define OK "{\"request_id\":\"a\",\"spend\":1}"
#define WITH(more) "{\"request_id\":\"a\",\"spend\":1," more "}"

struct seen {
    unsigned accepted, refused;
    char reason[160];
    unsigned char bytes[65536];
    size_t length;
};

static void on_event(void *arg, uint32_t index, const struct event *event)
{
    struct seen *seen = arg;

    (void)index;
    seen->accepted++;
    seen->length = event_encode(event, seen->bytes);
}

static void on_refused(void *arg, uint32_t index, const char *reason, const char *b, size_t n)
{
    struct seen *seen = arg;

    (void)b;
    (void)n;
    seen->refused++;
    snprintf(seen->reason, sizeof seen->reason, "%u %s", index, reason);
}

static void on_again(void *arg)
{
    memset(arg, 0, offsetof(struct seen, bytes));
}

static int feed(const char *text, size_t length, struct seen *seen, struct err *err)
{
    const struct event_rules rules = {4096, 60};
    const struct event_sink sink = {seen, on_event, on_refused, on_again};
    struct event_reader *reader = event_reader_new(&rules);
    char *exact = malloc(length + 1); /* the exact size, for the address sanitizer */
    int result;

    memset(seen, 0, sizeof *seen);
    memcpy(exact, text, length);
    result = event_read(reader, exact, length, (wall_t){NOW}, &sink, err);
    free(exact);
    event_reader_free(&reader);
    return result;
}

/* An array of a good event, the row, a good event: the row is refused alone, for this reason. */
static const struct {
    const char *event, *reason;
} alone[] = {
    {"3", "not an object"},
    {"null", "not an object"},
    {"\"x\"", "not an object"},
    {"true", "not an object"},
    {"[]", "not an object"},
    {"[[{\"a\":1}]]", "not an object"},
    {"{}", "request_id: required"},
    {"{\"spend\":1}", "request_id: required"},
    {"{\"request_id\":\"\",\"spend\":1}", "request_id: required"},
    {"{\"request_id\":null,\"spend\":1}", "request_id: required"},
    {"{\"request_id\":1,\"spend\":1}", "request_id: not a string"},
    {"{\"request_id\":\"a\"}", "spend: required"},
    {"{\"request_id\":\"a\",\"spend\":null}", "spend: required"},
    {"{\"request_id\":\"a\",\"spend\":\"NaN\"}", "spend: not a decimal number"},
    {"{\"request_id\":\"a\",\"spend\":\"1,5\"}", "spend: not a decimal number"},
    {"{\"request_id\":\"a\",\"spend\":1e6}", "spend: magnitude must be below 1000000"},
    {"{\"request_id\":\"a\",\"spend\":1e400}", "spend: magnitude must be below 1000000"},
    {"{\"request_id\":\"a\",\"spend\":true}", "spend: must not be a boolean"},
    {"{\"request_id\":\"a\",\"spend\":[1]}", "spend: must not be an array"},
    {"{\"request_id\":\"a\",\"spend\":{}}", "spend: must not be an object"},
    {"{\"request_id\":\"a\",\"spend\":1,\"spend\":1}", "spend is repeated"},
    {WITH("\"zz\":1,\"zz\":2"), "a key is repeated"},
    {WITH("\"zz\":{\"b\":[{\"c\":1,\"c\":2}]}"), "a key is repeated"},
    {WITH("\"metadata\":{\"b\":1,\"b\":2}"), "a key is repeated"},
    {WITH("\"prompt_tokens\":-1"), "prompt_tokens: not an integer from 0 to 1000000000000"},
    {WITH("\"prompt_tokens\":1.5"), "prompt_tokens: not an integer from 0 to 1000000000000"},
    {WITH("\"prompt_tokens\":1000000000001"),
     "prompt_tokens: not an integer from 0 to 1000000000000"},
    {WITH("\"prompt_tokens\":99999999999999999999999"),
     "prompt_tokens: not an integer from 0 to 1000000000000"},
    {WITH("\"completion_tokens\":\"5\""),
     "completion_tokens: not an integer from 0 to 1000000000000"},
    {WITH("\"model\":5"), "model: not a string"},
    {WITH("\"model\":false"), "model: must not be a boolean"},
    {WITH("\"model\":[]"), "model: must not be an array"},
    {WITH("\"model\":{}"), "model: must not be an object"},
    {WITH("\"model\":\"a\\u0000b\""), "model: holds NUL"},
    {WITH("\"tags\":\"x\""), "tags: not an array"},
    {WITH("\"tags\":[1]"), "tags: not a string"},
    {WITH("\"tags\":[[\"x\"]]"), "tags: not a string"},
    {WITH("\"tags\":[{}]"), "tags: not a string"},
    {WITH("\"tags\":[\"a\\u0000\"]"), "tags: holds NUL"},
    {WITH("\"status\":\"ok\""), "status: neither \"success\" nor \"failure\""},
    {WITH("\"start_time\":\"yesterday\""), "start_time: neither RFC 3339 nor epoch seconds"},
    {WITH("\"start_time\":\"2026-11-21T04:15:00\""),
     "start_time: neither RFC 3339 nor epoch seconds"},
    {WITH("\"start_time\":\"2026-02-29T04:15:00Z\""),
     "start_time: neither RFC 3339 nor epoch seconds"},
    {WITH("\"start_time\":\"2026-11-23T04:15:01Z\""), "start_time: more than 48 hours ahead"},
    {WITH("\"start_time\":0"), "start_time: more than 60 days ago"},
    {WITH("\"start_time\":1e300"), "start_time: neither RFC 3339 nor epoch seconds"},
    {WITH("\"metadata\":[]"), "metadata: must not be an array"},
    {WITH("\"metadata\":\"x\""), "metadata: not an object"},
    {WITH("\"metadata\":{\"a\":\"\\u0000\"}"), "metadata: holds NUL"},
    {WITH("\"x\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]"), "nested deeper than 16"},
};

static void refused_alone(void **state)
{
    static struct seen seen;
    char text[1024], reason[160];
    struct err err;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(alone); i++) {
        int length = snprintf(text, sizeof text, "[" OK ",%s," OK "]", alone[i].event);

        snprintf(reason, sizeof reason, "1 %s", alone[i].reason);
        if (feed(text, (size_t)length, &seen, &err) != 0)
            fail_msg("%s: %s", text, err.text);
        if (seen.accepted != 2 || seen.refused != 1 || strcmp(seen.reason, reason) != 0)
            fail_msg("%s: %u accepted, %u refused, %s", text, seen.accepted, seen.refused,
                     seen.reason);
    }
}

static void refused_whole(void **state)
{
    static const char *const texts[] = {"",      " ",       "3",      "\"a\"",     "{",       "[",
                                        "[1",    "{]",      "nul",    OK OK,       OK ",",    "[" OK ",]",
                                        "{\"a\":\xff}",     "{\"a\":\"\\ud800\"}", "{\"a\":01}", "{'a':1}",
                                        "{\"a\":\"\n\"}",   "// x\n" OK,           "{\n\"a\":\n}"};
    static struct seen seen;
    struct err err;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (feed(texts[i], strlen(texts[i]), &seen, &err) == 0)
            fail_msg("%s was accepted", texts[i]);
        assert_non_null(strstr(err.text, " at byte "));
    }
}

static void lines(void **state)
{
    static const char text[] = OK "\n\n" OK "}\n{oops\n[1]\r\n" OK "\r\n" OK;
    static struct seen seen;
    struct err err;

    (void)state;
    assert_int_equal(feed(text, sizeof text - 1, &seen, &err), 0);
    assert_int_equal(seen.refused, 3);
    assert_int_equal(seen.accepted, 4); /* one of them void: its line broke behind it */
    assert_string_equal(seen.reason, "3 JSON: not an object at byte 66");
}

static void accepted_values(void **state)
{
    static const char text[] =
        WITH("\"event_id\":\"a\",\"api_key\":\"sk-1234\",\"tags\":[\"b\",\"a\",null,\"\",\"b\"],"
             "\"start_time\":\"2026-11-21T05:15:00.5+01:00\",\"cache_hit\":true,\"status\":\"success\","
             "\"model\":\"\\u00e4\\ud83d\\ude00\",\"metadata\":{\"x\": [1, {}]}");
    static struct seen seen;
    struct event event;
    struct err err;

    (void)state;
    assert_int_equal(feed(text, sizeof text - 1, &seen, &err), 0);
    assert_int_equal(seen.accepted, 1);
    assert_int_equal(event_decode(&event, seen.bytes, seen.length, &err), 0);
    assert_int_equal(event.present & EVENT_BIT(event_id), 0);
    assert_int_equal(event.start_time, NOW + 500000);
    assert_int_equal(event.tags.count, 2);
    assert_memory_equal(event.tags.tag[0].data, "a", 1);
    assert_int_equal(event.api_key.length, 64);
    assert_memory_equal(event.api_key.data, "88dc28d0f030c55ed4ab77ed8faf0981", 32);
    assert_memory_equal(event.cache_hit.data, "true", 4);
    assert_int_equal(event.model.length, 6);
    assert_memory_equal(event.model.data, "\xc3\xa4\xf0\x9f\x98\x80", 6);
    assert_int_equal(event.metadata.length, 14);
    assert_int_equal(event.status.length, 0);
}

static void long_labels(void **state)
{
    static struct seen seen;
    char text[2048], label[400];
    struct event event;
    struct err err;

    (void)state;
    memset(label, 'x', 300);
    label[300] = '\0';
    memcpy(label + 199, "\xc3\xa4", 2); /* a character across the cut */
    snprintf(text, sizeof text, WITH("\"team_id\":\"%s\""), label);
    assert_int_equal(feed(text, strlen(text), &seen, &err), 0);
    assert_int_equal(event_decode(&event, seen.bytes, seen.length, &err), 0);
    assert_int_equal(event.team_id.length, 199 + 17);
    assert_int_equal(event.team_id.data[199], '~');
    snprintf(text, sizeof text, "{\"request_id\":\"%s\",\"spend\":1}", label);
    assert_int_equal(feed(text, strlen(text), &seen, &err), 0);
    assert_string_equal(seen.reason, "0 request_id: longer than 256 bytes");
}

static void truncated_anywhere(void **state)
{
    static const char text[] = WITH("\"tags\":[\"a\\n\",\"\\ud83d\\ude00\"],\"metadata\":{\"x\":[1.5]}");
    static struct seen seen;
    struct err err;

    (void)state;
    for (size_t cut = 0; cut < sizeof text - 1; cut++)
        assert_int_equal(feed(text, cut, &seen, &err), -1);
    assert_int_equal(feed(text, sizeof text - 1, &seen, &err), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_alone),   cmocka_unit_test(refused_whole),
        cmocka_unit_test(lines),           cmocka_unit_test(accepted_values),
        cmocka_unit_test(long_labels),     cmocka_unit_test(truncated_anywhere),
    };

    return cmocka_run_group_tests_name("event_read", tests, NULL, NULL);
}
