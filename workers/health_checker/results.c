/*
 * results.c - results of a round as JSON and back.  See results.h.
 *
 * Ours, the field `document` of <prefix>health:round:
 *   {"at_ms": 0, "by": "...", "models": [{"model", "healthy", "status", "latency_ms", "error"}]}
 * A text that is none, or too large, is refused whole; of a right one what is missing has no value, what
 * is too long is cut, and models beyond MODELS_MAX are left out.
 * LiteLLM's, the value of health_check_results:
 *   "{\"healthy_endpoints\": [{\"model\"}], \"unhealthy_endpoints\": [{\"model\", \"error\"}],
 *     \"healthy_count\", \"unhealthy_count\", \"timestamp\": epoch seconds, \"checked_by\"}"
 * Owns nothing.  If we die on any line nothing outside has changed.
 */
#include "workers/health_checker/results.h"

#include "common/json/json_put.h"
#include "common/json/json_tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct result *results_of(const struct results *results, const char *model)
{
    for (unsigned i = 0; i < results->count; i++)
        if (strcmp(results->of[i].model, model) == 0)
            return &results->of[i];
    return NULL;
}

void results_write(const struct results *results, struct json_out *out)
{
    json_object(out);
    json_put_number(out, "at_ms", results->at.micros / 1000);
    json_put_text(out, "by", results->by);
    json_key(out, "models");
    json_array(out);
    for (unsigned i = 0; i < results->count; i++) {
        const struct result *result = &results->of[i];

        json_object(out);
        json_put_text(out, "model", result->model);
        json_put_bool(out, "healthy", result->healthy);
        json_put_number(out, "status", result->status);
        json_put_number(out, "latency_ms", result->latency_ms);
        json_put_text(out, "error", result->error);
        json_end(out);
    }
    json_end(out);
    json_end(out);
}

/* --- reading -------------------------------------------------------------------------------------- */

static void take_text(const struct json_tree *tree, char *to, size_t size)
{
    snprintf(to, size, "%s", tree != NULL && tree->kind == JSON_STRING ? tree->text : "");
}

static void take_result(const struct json_tree *tree, struct result *result)
{
    const struct json_tree *healthy = json_member(tree, "healthy");
    int64_t status = json_integer(json_member(tree, "status"), 0);

    take_text(json_member(tree, "model"), result->model, sizeof result->model);
    take_text(json_member(tree, "error"), result->error, sizeof result->error);
    result->healthy = healthy != NULL && healthy->kind == JSON_TRUE;
    result->status = status > 0 && status < 1000 ? (int)status : 0;
    result->latency_ms = json_integer(json_member(tree, "latency_ms"), -1);
}

int results_read(const char *text, size_t length, struct results *results, struct err *err)
{
    struct json_tree *tree = NULL;
    const struct json_tree *models;

    if (length > RESULTS_BYTES_MAX)
        return err_set(err, "%zu bytes, the most is %d", length, RESULTS_BYTES_MAX);
    tree = json_tree_read(text, length, err);
    if (tree == NULL)
        return -1;
    memset(results, 0, sizeof *results);
    models = json_member(tree, "models");
    results->at.micros = json_integer(json_member(tree, "at_ms"), 0) % (INT64_MAX / 1000) * 1000;
    take_text(json_member(tree, "by"), results->by, sizeof results->by);
    if (models != NULL && models->kind == JSON_ARRAY)
        for (models = models->first; models != NULL && results->count < MODELS_MAX; models = models->next)
            take_result(models, &results->of[results->count++]);
    json_tree_free(&tree);
    return 0;
}

/* --- LiteLLM's ------------------------------------------------------------------------------------ */

static void write_endpoints(const struct results *results, bool healthy, bool details, struct json_out *out)
{
    json_array(out);
    for (unsigned i = 0; i < results->count; i++) {
        const struct result *result = &results->of[i];

        if (result->healthy != healthy)
            continue;
        json_object(out);
        json_put_text(out, "model", result->model);
        if (!healthy)
            json_put_text(out, "error", result->error);
        if (details)
            json_put_number_if(out, "latency_ms", result->latency_ms >= 0, result->latency_ms);
        json_end(out);
    }
    json_end(out);
}

void results_write_litellm(const struct results *results, bool details, struct json_out *out)
{
    struct json_out *inner = json_out_new(false);
    unsigned healthy = 0;
    char stamp[40];
    const char *text;
    size_t length;

    for (unsigned i = 0; i < results->count; i++)
        healthy += results->of[i].healthy;
    json_object(inner);
    json_key(inner, "healthy_endpoints");
    write_endpoints(results, true, details, inner);
    json_key(inner, "unhealthy_endpoints");
    write_endpoints(results, false, details, inner);
    json_put_number(inner, "healthy_count", healthy);
    json_put_number(inner, "unhealthy_count", results->count - healthy);
    snprintf(stamp, sizeof stamp, "%" PRId64 ".%06" PRId64, results->at.micros / 1000000,
             results->at.micros % 1000000);
    json_key(inner, "timestamp");
    json_raw(inner, stamp, strlen(stamp));
    json_put_text(inner, "checked_by", results->by);
    json_end(inner);
    text = json_text(inner, &length);
    json_bytes(out, text, length);
    json_out_free(&inner);
}
