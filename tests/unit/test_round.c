/*
 * test_round.c - whose turn it is to check, and the texts of a round.
 *
 * links: workers/health_checker/round.c workers/health_checker/results.c common/json/json_out.c common/json/json_put.c common/json/json_tree.c common/json/json_in.c common/json/json_keys.c common/base/err.c common/base/utf8.c common/base/clock.c
 * libs: yajl
 */
#include "common/base/attr.h"
#include "workers/health_checker/results.h"
#include "workers/health_checker/round.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    struct round_rules rules;
    int64_t interval, poll;
} intervals[] = {
    {{.shared = true, .interval_ms = 300000, .cache_ms = 300000, .lock_ms = 60000}, 300000, 5000},
    {{.shared = true, .interval_ms = 300000, .cache_ms = 100000, .lock_ms = 60000}, 100000, 5000},
    {{.shared = true, .interval_ms = 2000, .cache_ms = 100000, .lock_ms = 60000}, 2000, 400},
    {{.shared = true, .litellm = true, .interval_ms = 300000, .cache_ms = 300000, .lock_ms = 60000}, 240000, 5000},
    {{.shared = true, .litellm = true, .interval_ms = 300000, .cache_ms = 100000, .lock_ms = 60000}, 50000, 5000},
    {{.shared = true, .litellm = true, .interval_ms = 10000, .cache_ms = 300000, .lock_ms = 60000}, 10000, 2000},
    {{.shared = false, .interval_ms = 300000, .cache_ms = 1000, .lock_ms = 60000}, 300000, 5000},
    {{.shared = true, .interval_ms = 100, .cache_ms = 100, .lock_ms = 100}, 100, 50},
};

static void how_often(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < COUNT_OF(intervals); i++) {
        assert_int_equal(round_interval_ms(&intervals[i].rules), intervals[i].interval);
        assert_int_equal(round_poll_ms(&intervals[i].rules), intervals[i].poll);
    }
}

static void alone(void **unused)
{
    const struct round_rules each = {.shared = false}, local = {.shared = true},
                             known = {.shared = true, .last_known = true},
                             off = {.shared = false, .last_known = true};

    (void)unused;
    assert_true(round_alone(&each, true) && round_alone(&local, true) && round_alone(&off, true));
    assert_false(round_alone(&known, true));
    assert_false(round_alone(&each, false) || round_alone(&local, false) || round_alone(&known, false));
}

/* A look at the lock each 100 ms. */
static bool waited(struct round_wait *wait, int64_t ms, const char *owner, int64_t left_ms)
{
    return round_waited(wait, (mono_t){ms * 1000}, owner, left_ms, 1000);
}

static void waiting(void **unused)
{
    struct round_wait wait = {0};

    (void)unused;
    for (int64_t ms = 0; ms < 1000; ms += 100) /* it runs down: as long as a lock lives, no longer */
        assert_false(waited(&wait, ms, "a", 1500 - ms));
    assert_true(waited(&wait, 1000, "a", 500));
    round_wait_end(&wait);
    assert_false(waited(&wait, 1100, "a", 400)); /* from the beginning */
    for (int64_t ms = 1200; ms < 20000; ms += 100) /* renewed each 300 ms: alive */
        assert_false(waited(&wait, ms, "a", 1000 - ms % 300));
    for (int64_t ms = 20000; ms < 40000; ms += 900) /* another one each time */
        assert_false(waited(&wait, ms, ms % 1800 == 0 ? "b" : "c", 500));
    round_wait_end(&wait);
    for (int64_t ms = 50000; ms < 51000; ms += 100) /* a lock that never ends is renewed by nobody */
        assert_false(waited(&wait, ms, "a", -1));
    assert_true(waited(&wait, 51000, "a", -1));
}

static void there_and_back(void **unused)
{
    struct results *results = calloc(2, sizeof *results);
    struct json_out *out = json_out_new(false);
    const char *text;
    size_t length;
    struct err err;

    (void)unused;
    assert_non_null(results);
    results->count = 2;
    results->at.micros = 1700000000123000;
    strcpy(results->by, "pod_1@x");
    results->of[0] = (struct result){.model = "a \"quoted\" one", .healthy = true, .status = 200, .latency_ms = 12};
    results->of[1] = (struct result){.model = "b", .status = 0, .latency_ms = -1, .error = "timed out"};
    results_write(results, out);
    text = json_text(out, &length);
    assert_int_equal(results_read(text, length, &results[1], &err), 0);
    assert_memory_equal(&results[0], &results[1], sizeof *results);
    assert_ptr_equal(results_of(&results[1], "b"), &results[1].of[1]);
    assert_null(results_of(&results[1], "c"));
    for (size_t cut = 0; cut < length; cut++)
        assert_int_equal(results_read(text, cut, &results[1], &err), -1);
    json_clear(out);
    results_write_litellm(results, false, out);
    assert_string_equal(
        json_text(out, &length),
        "\"{\\\"healthy_endpoints\\\":[{\\\"model\\\":\\\"a \\\\\\\"quoted\\\\\\\" one\\\"}],"
        "\\\"unhealthy_endpoints\\\":[{\\\"model\\\":\\\"b\\\",\\\"error\\\":\\\"timed out\\\"}],"
        "\\\"healthy_count\\\":1,\\\"unhealthy_count\\\":1,\\\"timestamp\\\":1700000000.123000,"
        "\\\"checked_by\\\":\\\"pod_1@x\\\"}\"");
    json_out_free(&out);
    free(results);
}

static void too_much(void **unused)
{
    struct results *results = calloc(1, sizeof *results);
    char *text = malloc(RESULTS_BYTES_MAX + 2);
    struct err err;
    size_t used;

    (void)unused;
    assert_true(results != NULL && text != NULL);
    used = (size_t)sprintf(text, "{\"models\":[");
    for (int i = 0; i < 1000; i++)
        used += (size_t)sprintf(text + used, "%s{\"model\":\"m%d\",\"status\":-7,\"latency_ms\":\"x\"}",
                                i > 0 ? "," : "", i);
    used += (size_t)sprintf(text + used, "]}");
    assert_int_equal(results_read(text, used, results, &err), 0);
    assert_int_equal(results->count, MODELS_MAX);
    assert_int_equal(results->of[3].status, 0);
    memset(text, ' ', RESULTS_BYTES_MAX + 1);
    assert_int_equal(results_read(text, RESULTS_BYTES_MAX + 1, results, &err), -1);
    free(text);
    free(results);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(how_often),      cmocka_unit_test(alone),    cmocka_unit_test(waiting),
        cmocka_unit_test(there_and_back), cmocka_unit_test(too_much),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
