/*
 * test_litellm_payload.c - what LiteLLM's generic_api callback posts, as events.
 * links: workers/gateway/litellm_payload.c workers/gateway/litellm_event.c workers/gateway/litellm_mend.c common/json/json_in.c common/json/json_out.c common/json/json_tree.c common/base/utf8.c common/base/err.c
 * libs: yajl libsodium
 */
#include "workers/gateway/litellm_payload.h"

#include "common/json/json_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST (4 * 1024 * 1024)

/* The events as a tree; the caller frees.  NULL: refused. */
static struct json_tree *read_text(const char *text, size_t most, size_t *count)
{
    struct litellm_parts parts;
    struct json_tree *tree = NULL;
    struct err err;
    char *copy = strdup(text);

    if (litellm_payload_read(copy, strlen(text), most, &parts, &err) == 0) {
        tree = json_tree_read(parts.part[0].text, parts.part[0].bytes, &err);
        assert_non_null(tree);
        if (count != NULL)
            *count = parts.count;
        litellm_parts_free(&parts);
    }
    free(copy);
    return tree;
}

static const char *text_of(const struct json_tree *event, const char *key)
{
    const struct json_tree *member = json_member(event, key);

    return member == NULL ? "-" : member->text != NULL ? member->text : member->kind == JSON_TRUE ? "true" : "other";
}

static const char whole[] =
    "{\"id\": \"chatcmpl-1\", \"trace_id\": \"t1\", \"litellm_call_id\": \"c1\", \"call_type\": \"acompletion\", "
    "\"stream\": false, \"response_cost\": 1.5e-05, \"cost_breakdown\": {\"input_cost\": 1}, \"status\": \"success\", "
    "\"custom_llm_provider\": \"openai\", \"prompt_tokens\": 11, \"completion_tokens\": 7, "
    "\"startTime\": 1763699000.123456, \"endTime\": 1763699001.5, \"model\": \"gpt-4o\", \"model_group\": \"g\", "
    "\"metadata\": {\"user_api_key_hash\": \"h\", \"user_api_key_user_id\": \"u\", "
    "\"user_api_key_team_id\": \"t\", "
    "\"user_api_key_org_id\": \"o\", \"user_api_key_end_user_id\": \"second\", "
    "\"applied_guardrails\": [{\"id\": \"no\"}], "
    "\"mcp_tool_call_metadata\": {\"name\": \"n\", \"namespaced_tool_name\": \"srv/tool\"}, "
    "\"usage_object\": {\"cache_creation_input_tokens\": 3, "
    "\"prompt_tokens_details\": {\"cached_tokens\": 5, \"deep\": {\"cached_tokens\": 6}}}, "
    "\"requester_ip_address\": \"10.0.0.1\", \"user_api_key_alias\": \"alias\"}, "
    "\"request_tags\": [\"a\", \"\", 5, \"b\", [\"no\"]], \"end_user\": \"first\", \"cache_hit\": true, "
    "\"messages\": [{\"role\": \"user\", \"content\": \"model\", "
    "\"id\": \"wrong\", \"metadata\": {\"user_api_key_hash\": \"wrong\"}}], "
    "\"response\": {\"id\": \"wrong\", \"model\": \"wrong\"}, \"api_base\": null}";

static void maps_each_field(void **unused)
{
    static const char *const wanted[][2] = {
        {"request_id", "chatcmpl-1"}, {"spend", "1.5e-05"},       {"start_time", "1763699000.123456"},
        {"end_time", "1763699001.5"}, {"api_key", "h"},           {"user_id", "u"},
        {"end_user", "first"},        {"team_id", "t"},           {"organization_id", "o"},
        {"model", "gpt-4o"},          {"model_group", "g"},       {"custom_llm_provider", "openai"},
        {"mcp_namespaced_tool_name", "srv/tool"},                 {"call_type", "acompletion"},
        {"status", "-"},              {"prompt_tokens", "11"},    {"completion_tokens", "7"},
        {"cache_read_input_tokens", "5"},                         {"cache_creation_input_tokens", "3"},
        {"cache_hit", "true"},        {"session_id", "t1"},       {"requester_ip_address", "10.0.0.1"},
        {"api_base", "-"},
    };
    struct json_tree *tree = read_text(whole, MOST, NULL);
    const struct json_tree *event = tree->first, *tags = json_member(event, "tags");

    (void)unused;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        assert_string_equal(text_of(event, wanted[i][0]), wanted[i][1]);
    assert_string_equal(tags->first->text, "a");
    assert_string_equal(tags->first->next->text, "b");
    assert_null(tags->first->next->next);
    assert_string_equal(text_of(json_member(event, "metadata"), "user_api_key_alias"), "alias");
    json_tree_free(&tree);
}

static unsigned items(const struct json_tree *tree)
{
    unsigned count = 0;

    for (const struct json_tree *at = tree->first; at != NULL; at = at->next)
        count++;
    return count;
}

static void takes_each_form(void **unused)
{
    static const struct {
        const char *text;
        unsigned count; /* 0: refused whole */
    } forms[] = {
        {"{\"id\": \"a\"}", 1},
        {"[{\"id\": \"a\"}, {\"id\": \"b\"}]", 2},
        {"{\"id\": \"a\"}\n{\"id\": \"b\"}", 2},
        {"{\"id\": \"a\"}\n\n  \r\n{\"id\": \"b\"}\n", 2},
        {"{\"id\": \"a\"}\nbroken\n[{\"id\": \"c\"}]\n{\"id\": \"b\"}\n", 4},
        {"[null, 5, \"x\", [1], {}, true]", 6},
        {"[]", 0},
        {"  [ {\"id\": \"a\"} ] \n", 1},
        {"nonsense", 0},
        {"[{\"id\": \"a\"}", 0},
        {"", 0},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct json_tree *tree = read_text(forms[i].text, MOST, NULL);

        if (forms[i].count == 0)
            assert_true(tree == NULL || tree->first == NULL);
        else
            assert_int_equal(items(tree), forms[i].count);
        json_tree_free(&tree);
    }
}

static char *id_of(const char *payload)
{
    struct json_tree *tree = read_text(payload, MOST, NULL);
    char *id = strdup(text_of(tree->first, "event_id"));

    json_tree_free(&tree);
    return id;
}

/* The same again is the same; whatever a client can repeat does not make two requests one. */
static void ids_tell_requests_apart(void **unused)
{
    static const char *const payloads[] = {
        "{\"id\": \"r\", \"litellm_call_id\": \"c\", \"startTime\": 5.25}",
        "{\"id\": \"r2\", \"litellm_call_id\": \"c\", \"startTime\": 5.25}",
        "{\"id\": \"r\", \"litellm_call_id\": \"c2\", \"startTime\": 5.25}",
        "{\"id\": \"r\", \"litellm_call_id\": \"c\", \"startTime\": 5.5}",
        "{\"id\": \"r\", \"litellm_call_id\": \"c\", \"startTime\": 5.25, \"status\": \"failure\"}",
        "{\"id\": \"rc\", \"litellm_call_id\": \"\", \"startTime\": 5.25}",
    };
    char *ids[6];

    (void)unused;
    for (size_t i = 0; i < 6; i++) {
        char *again = id_of(payloads[i]);

        ids[i] = id_of(payloads[i]);
        assert_string_equal(ids[i], again);
        assert_true(strlen(ids[i]) > 20 && strlen(ids[i]) <= 256);
        free(again);
        for (size_t other = 0; other < i; other++)
            assert_string_not_equal(ids[i], ids[other]);
    }
    for (size_t i = 0; i < 6; i++)
        free(ids[i]);
}

/* Nothing that a client writes makes its request be refused, or the batch. */
static void hostile_values(void **unused)
{
    static char text[400000];
    struct json_tree *tree;
    const struct json_tree *event;
    int used = snprintf(text, sizeof text, "[{\"id\": \"");

    (void)unused;
    memset(text + used, 'x', 5000);
    used += 5000;
    used += snprintf(text + used, 2000,
                     "\", \"end_user\": \"a\\u0000b\\nc\", \"response_cost\": null, \"prompt_tokens\": -1, "
                     "\"completion_tokens\": 1.5, \"status\": \"odd\", "
                     "\"messages\": [\"\\ud800\", \"\\udc00 \\ud83d\\ude00\"], "
                     "\"model\": \"m\\ud800\\u0041\", \"saved_cache_cost\": NaN, \"x\": [Infinity,-Infinity], "
                     "\"request_tags\": [");
    for (int i = 0; i < 500; i++)
        used += snprintf(text + used, 600, "%s\"%0500d\"", i > 0 ? ", " : "", i);
    snprintf(text + used, 10, "]}]");
    tree = read_text(text, MOST, NULL);
    assert_non_null(tree);
    event = tree->first;
    assert_int_equal(strlen(text_of(event, "request_id")), 256);
    assert_string_equal(text_of(event, "end_user"), "a b c");
    assert_string_equal(text_of(event, "spend"), "0");
    assert_string_equal(text_of(event, "prompt_tokens"), "-");
    assert_string_equal(text_of(event, "completion_tokens"), "-");
    assert_string_equal(text_of(event, "status"), "-");
    assert_string_equal(text_of(event, "model"), "m\xef\xbf\xbd" "A");
    assert_int_equal(items(json_member(event, "tags")), 64);
    assert_int_equal(strlen(json_member(event, "tags")->first->text), 200);
    json_tree_free(&tree);
}

/* A key is one step of a path, also with a point in it. */
static void a_point_in_a_key_is_no_path(void **unused)
{
    struct json_tree *tree = read_text("{\"id\": \"a\", \"metadata.user_api_key_hash\": \"spoof\", \"metadata\": "
                                       "{\"usage_object.cache_read_input_tokens\": 9}}", MOST, NULL);

    (void)unused;
    assert_string_equal(text_of(tree->first, "api_key"), "-");
    assert_string_equal(text_of(tree->first, "cache_read_input_tokens"), "-");
    json_tree_free(&tree);
}

static void mends_in_place(void **unused)
{
    static const char *const rows[][2] = {
        {"[NaN, -Infinity, Infinity, -1]", "[0  , null     , null    , -1]"},
        {"[\"NaN \\\" NaN\", NaN]", "[\"NaN \\\" NaN\", 0  ]"},
        {"\"\\ud83d\\ude00\"", "\"\\ud83d\\ude00\""},
        {"\"\\ud83d\"", "\"\\ufffd\""},
        {"\"\\ude00\\ud83d\"", "\"\\ufffd\\ufffd\""},
        {"\"\\\\ud83d\"", "\"\\\\ud83d\""},
        {"\"\\ud83", "\"\\ud83"},
        {"\"\\", "\"\\"},
        {"Na", "Na"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *copy = strdup(rows[i][0]);

        litellm_mend(copy, strlen(copy));
        assert_string_equal(copy, rows[i][1]);
        free(copy);
    }
}

static void splits_into_parts(void **unused)
{
    char text[8000] = "[";
    struct litellm_parts parts;
    struct err err;
    uint32_t events = 0;

    (void)unused;
    for (int i = 0; i < 50; i++)
        snprintf(text + strlen(text), 60, "%s{\"id\": \"%d\", \"response_cost\": 1}", i > 0 ? "," : "", i);
    strcat(text, "]");
    assert_int_equal(litellm_payload_read(text, strlen(text), 500, &parts, &err), 0);
    assert_true(parts.count > 5);
    for (size_t i = 0; i < parts.count; i++) {
        struct json_tree *tree = json_tree_read(parts.part[i].text, parts.part[i].bytes, &err);
        char first[12];

        assert_true(parts.part[i].bytes <= 500);
        assert_int_equal(parts.part[i].first, events);
        snprintf(first, sizeof first, "%u", events);
        assert_string_equal(text_of(tree->first, "request_id"), first);
        events += items(tree);
        json_tree_free(&tree);
    }
    assert_int_equal(events, 50);
    litellm_parts_free(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_each_field), cmocka_unit_test(takes_each_form), cmocka_unit_test(ids_tell_requests_apart),
        cmocka_unit_test(hostile_values),  cmocka_unit_test(a_point_in_a_key_is_no_path),
        cmocka_unit_test(mends_in_place),  cmocka_unit_test(splits_into_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
