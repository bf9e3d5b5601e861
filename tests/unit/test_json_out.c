/*
 * test_json_out.c - the JSON writer: containers, escapes, and bytes that are not text.
 *
 * links: common/json/json_out.c common/base/utf8.c common/base/err.c
 * libs:
 */
#include "common/json/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void sample(struct json_out *out)
{
    json_object(out);
    json_key(out, "a");
    json_number(out, INT64_MIN);
    json_key(out, "b");
    json_array(out);
    json_bool(out, true);
    json_null(out);
    json_object(out);
    json_end(out);
    json_array(out);
    json_end(out);
    json_end(out);
    json_key(out, "c\"");
    json_string(out, "\x01\n\t\"\\\x7f\xc3\xa4");
    json_end(out);
}

static void compact(void **state)
{
    struct json_out *out = json_out_new(false);
    size_t length;

    (void)state;
    for (int i = 0; i < 3; i++) {
        json_clear(out);
        sample(out);
        assert_string_equal(json_text(out, &length),
                            "{\"a\":-9223372036854775808,\"b\":[true,null,{},[]],"
                            "\"c\\\"\":\"\\u0001\\n\\t\\\"\\\\\\u007f\xc3\xa4\"}");
        assert_int_equal(length, strlen(json_text(out, NULL)));
    }
    json_out_free(&out);
    assert_null(out);
    json_out_free(&out);
}

static void indented(void **state)
{
    struct json_out *out = json_out_new(true);

    (void)state;
    json_object(out);
    json_key(out, "a");
    json_array(out);
    json_number(out, 1);
    json_number(out, 2);
    json_end(out);
    json_key(out, "b");
    json_object(out);
    json_end(out);
    json_end(out);
    assert_string_equal(json_text(out, NULL),
                        "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}\n");
    json_out_free(&out);
}

static void not_text(void **state)
{
    struct json_out *out = json_out_new(false);

    (void)state;
    json_bytes(out, "a\xff\x00z\xed\xa0\x80", 7);
    assert_string_equal(json_text(out, NULL),
                        "\"a\xef\xbf\xbd\\u0000z\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    json_out_free(&out);
}

static void long_text(void **state)
{
    struct json_out *out = json_out_new(false);
    char text[5000];
    size_t length;

    (void)state;
    memset(text, 'x', sizeof text);
    json_array(out);
    for (int i = 0; i < 100; i++)
        json_bytes(out, text, sizeof text);
    json_end(out);
    json_text(out, &length);
    assert_int_equal(length, 100 * 5003 + 1);
    json_out_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compact),
        cmocka_unit_test(indented),
        cmocka_unit_test(not_text),
        cmocka_unit_test(long_text),
    };

    return cmocka_run_group_tests_name("json_out", tests, NULL, NULL);
}
