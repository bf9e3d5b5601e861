/*
 * models_write.c - the health of the models for whoever shows it.  See models.h, face.h.
 *
 * shared_status is what LiteLLM's SharedHealthCheckManager says of itself, member for member
 * ({shared_health_check_enabled, status: {pod_id, redis_available, lock_ttl, cache_ttl, lock_owner,
 * lock_in_progress, cache_available, cache_age_seconds, last_checked_by}}; the last two only while a round is
 * kept, and without Redis the first four alone, as there).
 * With health.details = false a model's status, duration and error are null.
 * Pure but for the clock; if we die on any line nothing outside has changed.
 */
#include "workers/health_checker/models_inside.h"

#include "common/harness/harness.h"
#include "common/json/json_put.h"
#include "common/money/money.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The lock of LiteLLM's pods holds JSON: a string in quotes. */
static void write_owner(const struct models *models, struct json_out *out)
{
    const char *owner = models->owner;
    size_t length = strlen(owner);

    json_key(out, "lock_owner");
    if (length == 0)
        json_null(out);
    else if (length >= 2 && owner[0] == '"' && owner[length - 1] == '"')
        json_bytes(out, owner + 1, length - 2);
    else
        json_bytes(out, owner, length);
}

static void write_cache(const struct models *models, struct json_out *out)
{
    int64_t age_ms = mono_ms_between(models->cached_since, mono_now());
    bool cached = models->cached && age_ms < models_rules(models).cache_ms;
    char seconds[32];

    json_put_bool(out, "cache_available", cached);
    if (!cached)
        return;
    snprintf(seconds, sizeof seconds, "%" PRId64 ".%03d", age_ms / 1000, (int)(age_ms % 1000));
    json_key(out, "cache_age_seconds");
    json_raw(out, seconds, strlen(seconds));
    json_put_text(out, "last_checked_by", models->cached_by);
}

static void write_status(const struct models *models, struct json_out *out)
{
    const struct settings *s = harness_settings(models->harness);
    bool redis = models->redis != NULL && !models->down;

    json_key(out, "status");
    json_object(out);
    json_put_text(out, "pod_id", models->id);
    json_put_bool(out, "redis_available", redis);
    json_put_number(out, "lock_ttl", s->health_lock_ttl_s);
    json_put_number(out, "cache_ttl", s->health_cache_ttl_s);
    if (redis) {
        write_owner(models, out);
        json_put_bool(out, "lock_in_progress", models->owner[0] != '\0');
        write_cache(models, out);
    }
    json_end(out);
}

static void write_model(const struct models *models, const char *name, struct json_out *out)
{
    const struct stats_page *page = harness_stats(models->harness);
    const struct result *result = models->have ? results_of(&models->last, name) : NULL;
    bool details = result != NULL && harness_settings(models->harness)->health_details;
    char cost[MONEY_TEXT];

    json_object(out);
    json_put_text(out, "name", name);
    json_put_bool_if(out, "healthy", result != NULL, result != NULL && result->healthy);
    json_put_number_if(out, "status", details && result->status > 0, details ? result->status : 0);
    json_put_text(out, "error", details && result->error[0] != '\0' ? result->error : NULL);
    json_put_number_if(out, "latency_ms", details && result->latency_ms >= 0, details ? result->latency_ms : 0);
    json_put_number_if(out, "checked_ms", result != NULL, models->last.at.micros / 1000);
    json_put_text(out, "checked_by", result != NULL ? models->last.by : NULL);
    json_put_number_if(out, "age_s", result != NULL, mono_ms_between(models->last_at, mono_now()) / 1000);
    json_put_number(out, "checks_total", stats_named_get(page, name, NAMED_CHECKS));
    json_put_number(out, "failures_total", stats_named_get(page, name, NAMED_FAILURES));
    money_text(stats_named_get(page, name, NAMED_COST_PICO), cost);
    json_put_text(out, "cost_usd_total", cost);
    json_end(out);
}

void models_write(const struct models *models, struct json_out *out)
{
    const struct settings *s = harness_settings(models->harness);
    bool shared = s->health_shared && !models_none(models);

    json_key(out, "shared_status");
    json_object(out);
    json_put_bool(out, "shared_health_check_enabled", shared);
    if (shared)
        write_status(models, out);
    else
        json_put_text(out, "message", models_none(models) ? "No model is checked: health.models is empty"
                                                          : "Shared health check is not enabled");
    json_end(out);
    json_key(out, "models");
    json_array(out);
    for (unsigned i = 0; i < MODELS_MAX && s->health_models[i].name[0] != '\0'; i++)
        write_model(models, s->health_models[i].name, out);
    json_end(out);
}
