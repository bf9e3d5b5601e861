/*
 * test_admin_output.c - answers as people read them: units, escapes, tables; and the tree they come
 * from.
 *
 * links: common/admin/output_text.c common/admin/output_table.c common/admin/output_json.c common/admin/value_text.c
 * links: common/json/json_tree.c common/json/json_in.c common/json/json_keys.c
 * links: common/base/utf8.c common/base/err.c common/base/clock.c
 * libs: yajl
 */
#include "common/admin/output.h"
#include "common/admin/value_text.h"
#include "common/base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void values(void **state)
{
    static const struct {
        const char *json, *text;
    } rows[] = {
        {"{\"bytes\": 0}", "0 B"},
        {"{\"spool_bytes\": 5242880}", "5.0 MiB"},
        {"{\"ttl_ms\": 14230}", "14.2 s"},
        {"{\"ttl_ms\": 999}", "999 ms"},
        {"{\"ttl_ms\": -1}", "-"},
        {"{\"age_s\": 3725}", "1 h 2 min"},
        {"{\"age_s\": 9223372036854775807}", "2562047788015 h 12 min"},
        {"{\"since_ms\": 1732165200000}", "2024-11-21 05:00:00 UTC"},
        {"{\"spend\": 0.123456789012}", "0.123456789012"},
        {"{\"spend\": 1e400}", "1e400"},
        {"{\"open\": true}", "yes"},
        {"{\"open\": false}", "no"},
        {"{\"open\": null}", "-"},
        {"{\"why\": \"\"}", "-"},
        {"{\"a\": {\"x_ms\": 5, \"y\": \"z\"}}", "x 5 ms, y z"},
        {"{\"a\": {}}", "-"},
        {"{\"a\": {\"known\": true, \"why\": \"\", \"length\": 3}}", "length 3"},
        {"{\"a\": {\"known\": true, \"why\": \"\"}}", "known"},
        {"{\"a\": {\"health_checker.0\": 3, \"b_c\": 4}}", "health_checker.0 3, b c 4"},
        {"{\"a\": [1, 2]}", "1, 2"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err err;
        struct json_tree *tree = json_tree_read(rows[i].json, strlen(rows[i].json), &err);
        char text[VALUE_TEXT_MAX];

        assert_non_null(tree);
        value_text(tree->first, text, sizeof text);
        assert_string_equal(text, rows[i].text);
        json_tree_free(&tree);
        assert_null(tree);
    }
}

static char *printed(const char *json)
{
    struct err err;
    struct json_tree *tree = json_tree_read(json, strlen(json), &err);
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);

    assert_non_null(tree);
    output_text.answer(to, tree, json, strlen(json));
    fclose(to);
    json_tree_free(&tree);
    return text;
}

static void whole_answer(void **state)
{
    char *text = printed("{\"instance\": \"a\\u001b[2Jb\", \"draining\": false,"
                         " \"gate\": {\"database\": {\"open\": true, \"why\": \"\"}},"
                         " \"queue\": {\"known\": false, \"why\": \"frozen\", \"length\": null},"
                         " \"workers\": [{\"name\": \"control\", \"since_ms\": 5},"
                         " {\"name\": \"x\", \"more\": 1}]}");

    (void)state;
    assert_string_equal(text, "instance       a\\x1b[2Jb\n"
                              "draining       no\n"
                              "gate database  open yes\n"
                              "queue          unknown: frozen\n"
                              "\n"
                              "workers:\n"
                              "NAME     SINCE\n"
                              "control  5 ms\n"
                              "x        -\n");
    free(text);
}

static void fits_the_screen(void **state)
{
    char *text = printed(
        "{\"events\": {\"accepted\": 1234567890, \"duplicate\": 1234567890, \"rejected\": 1234567890,"
        " \"counted\": 1234567890}, \"workers\": ["
        "{\"name\": \"redis_writer\", \"status\": \"redis up, generation 42, queue 123456789 bytes, and"
        " so on until the end\", \"why\": \"\", \"restarts\": 0},"
        "{\"name\": \"control\", \"status\": \"\", \"why\": \"killed\", \"restarts\": 1}]}");

    (void)state;
    assert_string_equal(text,
                        "events  accepted 1234567890, duplicate 1234567890, rejected 1234567890,\n"
                        "        counted 1234567890\n"
                        "\n"
                        "workers:\n"
                        "NAME          STATUS                                            WHY     RESTARTS\n"
                        "redis_writer                                                    -       0\n"
                        "  status redis up, generation 42, queue 123456789 bytes, and so on until the end\n"
                        "control       -                                                 killed  1\n");
    free(text);
    text = printed("{\"rows\": [{\"a\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\","
                   " \"b\": \"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\","
                   " \"c\": \"cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\"},"
                   " {\"a\": \"short\", \"b\": \"\", \"c\": \"ccccccccccccccccccccccccccccccccc"
                   "ccccccccccccccccccccccccccc\"}]}");
    assert_string_equal(text, "A\n"
                              "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
                              "  b bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb;"
                              " c cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\n"
                              "short\n"
                              "  c cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\n");
    free(text);
    /* Two columns give way, as long as half of the second one's cells keep their place. */
    text = printed("{\"rows\": [{\"a\": \"name\", \"b\": \"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
                   "bbbbbbbbbbbbbbbbbbbbbbbb\","
                   " \"c\": \"cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\"},"
                   " {\"a\": \"short\", \"b\": \"500\", \"c\": \"one\"}]}");
    assert_string_equal(text, "A      B                 C\n"
                              "name                     \n"
                              "  b bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb;"
                              " c cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc\n"
                              "short  500               one\n");
    free(text);
}

static void within(void **state)
{
    char *text = printed("{\"supervisor\": {\"known\": true, \"why\": \"\"}, \"litellm\": {\"ad"
                   "opt\": true, \"lists\": {\"spend\": 3,"
                         " \"team\": 4}, \"none\": [], \"pod_locks\": [{\"job\": \"x\", \"ttl_m"
                         "s\": 5}, {\"job\": \"y\", \"ttl_ms\": null}]},"
                         " \"paused\": []}");

    (void)state;
    assert_string_equal(text, "litellm            adopt yes\n"
                              "litellm lists      spend 3, team 4\n"
                              "litellm pod locks  job x, ttl 5 ms\n"
                              "                   job y, ttl -\n"
                              "paused             -\n");
    free(text);
}

static void escapes(void **state)
{
    (void)state;
    assert_int_equal(output_escaped(NULL, "abc"), 3);
    assert_int_equal(output_escaped(NULL, "\xc3\xa9"), 1); /* one letter, two bytes */
    assert_int_equal(output_escaped(NULL, "\x1b"), 4);
    assert_int_equal(output_escaped(NULL, "\xc2\x9b"), 4); /* CSI as one C1 character */
}

static void refused_json(void **state)
{
    static const char *const bad[] = {"", "{", "[1,]", "{\"a\": \"\\u0000\"}", "\"\xff\"", "1 2"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct err err;

        assert_null(json_tree_read(bad[i], strlen(bad[i]), &err));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(whole_answer),
        cmocka_unit_test(fits_the_screen),
        cmocka_unit_test(within),
        cmocka_unit_test(escapes),
        cmocka_unit_test(refused_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
