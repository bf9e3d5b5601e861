/*
 * fuzz_results.c - a round of model checks as it lies in Redis, where anybody may have written: what is read has its
 * bounds, and what we write of it is read again, by us and (double encoded) by LiteLLM's pods.
 * links: workers/health_checker/results.c
 * libs: yajl
 */
#include "common/json/json_tree.h"
#include "tests/fuzz/fuzz.h"
#include "workers/health_checker/results.h"

#include <stdlib.h>
#include <string.h>

static bool ends(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

static void bounded(const struct results *results)
{
    fuzz_claim(results->count <= MODELS_MAX && ends(results->by, sizeof results->by));
    for (unsigned i = 0; i < results->count; i++) {
        const struct result *result = &results->of[i];

        fuzz_claim(ends(result->model, sizeof result->model) && ends(result->error, sizeof result->error));
        fuzz_claim(result->status >= 0 && result->status < 1000);
        fuzz_claim(results_of(results, result->model) != NULL);
    }
}

static void read_again(const struct results *results)
{
    struct results *again = calloc(1, sizeof *again);
    struct json_out *out = json_out_new(false);
    struct err err = {{0}};
    const char *text;
    size_t length;

    results_write(results, out);
    text = json_text(out, &length);
    fuzz_claim(again && results_read(text, length, again, &err) == 0);
    fuzz_claim(again->count == results->count && again->at.micros == results->at.micros);
    for (unsigned i = 0; i < results->count; i++)
        fuzz_claim(again->of[i].healthy == results->of[i].healthy && again->of[i].status == results->of[i].status &&
                   again->of[i].latency_ms == results->of[i].latency_ms);
    free(again);
    json_out_free(&out);
}

static void for_pods(struct results *results)
{
    struct json_out *out = json_out_new(false);
    struct json_tree *outer, *inner;
    struct err err = {{0}};
    const char *text;
    size_t length;

    results->at = (wall_t){1795305600000000}; /* a round of our own */
    results_write_litellm(results, true, out);
    text = json_text(out, &length);
    outer = json_tree_read(text, length, &err);
    fuzz_claim(outer && outer->kind == JSON_STRING);
    inner = json_tree_read(outer->text, strlen(outer->text), &err);
    fuzz_claim(inner && json_integer(json_member(inner, "healthy_count"), -1) +
               json_integer(json_member(inner, "unhealthy_count"), -1) == results->count);
    json_tree_free(&inner);
    json_tree_free(&outer);
    json_out_free(&out);
}

static void run(const unsigned char *input, size_t bytes)
{
    struct results *results = calloc(1, sizeof *results);
    struct err err = {{0}};

    fuzz_claim(results);
    if (results_read((const char *)input, bytes, results, &err) == 0) {
        bounded(results);
        read_again(results);
        for_pods(results);
    } else {
        fuzz_claim(err.text[0] != '\0');
    }
    free(results);
}

static const char *const samples[] = {
    "{\"at_ms\": 1795305600000, \"by\": \"pod_1@a\", \"models\": [{\"model\": \"gpt\", \"healthy\": true, "
    "\"status\": 200, \"latency_ms\": 12, \"error\": \"\"}, "
    "{\"model\": \"caf\\u00e9 \\ud83d\\ude00\", \"healthy\": false, "
    "\"status\": 500, \"latency_ms\": -1, \"error\": \"status 500, 200 was expected\"}]}",
    "{\"models\": [{}, {\"model\": 3}, 5, null, [[]]], \"at_ms\": -9223372036854775808}", "{}", "[]"};

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    if (index >= COUNT_OF(samples) || room < 1024)
        return 0;
    memcpy(to, samples[index], strlen(samples[index]));
    return strlen(samples[index]);
}

static const char *const words[] = {"{", "}", "[", "]", ",", ":", "\"", "\\u0000", "\\ud83d\\ude00", "\xc3\xa9",
                                    "\xff", "null", "true", "1e9", "-1", "9223372036854775807",
                                    "9223372036854775", "\"model\": ",
                                    "\"models\": [", "{\"model\": \"x\", \"healthy\": true}, ", "\"at_ms\": ", NULL};

const struct fuzz_target fuzz_target = {"results", seed, run, words};
