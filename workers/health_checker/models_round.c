/*
 * models_round.c - a round of checks: under the lock of Redis or alone, its end, and what is kept of it.
 * See models.h.
 *
 * Under the lock it is renewed three times in its life; whoever finds it lost breaks the round off, for
 * somebody else has begun one.  At the end result and lock go in one script (checkdone): nobody sees the lock
 * free and no result.  If we die on any line the lock ends within health.lock_ttl_s.
 */
#include "workers/health_checker/models_inside.h"

#include "common/base/jitter.h"
#include "common/base/log.h"
#include "common/harness/harness.h"
#include "common/redis/redis.h"
#include "workers/health_checker/checks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LITELLM_LOCK "health_check_lock"
#define LITELLM_RESULTS "health_check_results"

static const struct settings *settings_of(const struct models *models)
{
    return harness_settings(models->harness);
}

/* --- keys ----------------------------------------------------------------------------------------- */

struct keys models_keys(const struct models *models)
{
    const struct settings *s = settings_of(models);
    struct keys keys;

    snprintf(keys.round, sizeof keys.round, "%shealth:round", s->redis_prefix);
    snprintf(keys.lock, sizeof keys.lock, "%shealth:lock", s->redis_prefix);
    snprintf(keys.litellm, sizeof keys.litellm, "%s", keys.round); /* not touched: its slot is ours */
    if (s->health_litellm_shared) {
        litellm_key(LITELLM_LOCK, s->health_litellm_namespace, keys.lock);
        litellm_key(LITELLM_RESULTS, s->health_litellm_namespace, keys.litellm);
    }
    return keys;
}

/* What the lock holds: LiteLLM's pods read it as JSON. */
void models_lock_value(const struct models *models, char to[CHECKED_BY_BYTES + 2])
{
    snprintf(to, CHECKED_BY_BYTES + 2, settings_of(models)->health_litellm_shared ? "\"%s\"" : "%s", models->id);
}

/* --- results -------------------------------------------------------------------------------------- */

static void tell_changes(const struct models *models, const struct results *after)
{
    for (unsigned i = 0; i < after->count; i++) {
        const struct result *result = &after->of[i];
        const struct result *before = models->have ? results_of(&models->last, result->model) : NULL;

        if (before != NULL && before->healthy == result->healthy)
            continue;
        if (result->healthy)
            log_info("model_healthy", "model=\"%s\" by=\"%s\"", result->model, after->by);
        else
            log_warn("model_unhealthy", "model=\"%s\" error=\"%s\" by=\"%s\"", result->model, result->error,
                     after->by);
    }
}

void models_adopt(struct models *models, const struct results *results, int64_t age_ms)
{
    tell_changes(models, results);
    models->last = *results;
    models->have = true;
    models->last_at = models_ago(age_ms);
    models->changed(models->arg);
}

bool models_due(const struct models *models)
{
    const struct round_rules rules = models_rules(models);

    return !models->have || models_lack(models) ||
           mono_ms_between(models->last_at, mono_now()) >= round_interval_ms(&rules);
}

bool models_lack(const struct models *models)
{
    const struct model_setting *model = settings_of(models)->health_models;

    for (unsigned i = 0; models->again && i < MODELS_MAX && model[i].name[0] != '\0'; i++)
        if (!models->have || results_of(&models->last, model[i].name) == NULL)
            return true;
    return false;
}

/* --- the round ------------------------------------------------------------------------------------ */

void models_turn_in_ms(struct models *models, int64_t ms)
{
    timer_in_ms(models->turn, ms + jitter_ms(ms / 5, jitter_dice()));
}

void models_poll_later(struct models *models)
{
    const struct round_rules rules = models_rules(models);

    models_turn_in_ms(models, round_poll_ms(&rules));
}

static void renew_later(struct models *models)
{
    timer_in_ms(models->renew, settings_of(models)->health_lock_ttl_s * 1000 / 3);
}

void models_begin_round(struct models *models, enum round_kind kind)
{
    log_debug("models_round", "kind=%s", kind == ROUND_OWN ? "shared" : "alone");
    models->round = kind;
    models->again = false;
    round_wait_end(&models->wait);
    checks_start(models->checks);
    if (kind == ROUND_OWN)
        renew_later(models);
    models->changed(models->arg);
}

static void break_off(struct models *models)
{
    checks_stop(models->checks);
    timer_stop(models->renew);
    models->round = ROUND_NONE;
}

static void on_renewed(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct models *models = arg;

    (void)reason;
    if (models->round != ROUND_OWN)
        return;
    if (redis_said(reply, "lost")) {
        log_warn("models_lock_lost", "round=\"broken off\"");
        break_off(models);
        models_poll_later(models);
        return;
    }
    renew_later(models); /* no answer: the next one tells */
}

void models_renew(void *arg)
{
    struct models *models = arg;
    struct keys keys = models_keys(models);
    char value[CHECKED_BY_BYTES + 2], ttl[24];
    const char *const argv[] = {keys.lock, value, ttl};

    if (models->round != ROUND_OWN || models->redis == NULL)
        return;
    models_lock_value(models, value);
    snprintf(ttl, sizeof ttl, "%" PRId64, settings_of(models)->health_lock_ttl_s * 1000);
    redis_script(models->redis, REDIS_renewlock, 3, argv, NULL, on_renewed, models);
}

static void on_kept(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct models *models = arg;

    if (!redis_said(reply, "ok") && !redis_said(reply, "newer"))
        log_warn("models_round_unkept", "reason=\"%s\"", reason != NULL ? reason : "Redis refused it");
    if (!models->closing)
        timer_in_ms(models->turn, 0); /* what Redis has now */
}

/* Into Redis, and the lock back. */
static void keep(struct models *models, const struct results *results)
{
    const struct settings *s = settings_of(models);
    struct json_out *ours = json_out_new(false), *theirs = json_out_new(false);
    struct keys keys = models_keys(models);
    char value[CHECKED_BY_BYTES + 2], ttl[24];
    const char *argv[9] = {keys.lock, keys.round, keys.litellm, value, NULL, ttl, models->id, models->known_at, ""};
    size_t length;

    results_write(results, ours);
    argv[4] = json_text(ours, &length);
    if (s->health_litellm_shared) {
        results_write_litellm(results, s->health_details, theirs);
        argv[8] = json_text(theirs, &length);
    }
    models_lock_value(models, value);
    snprintf(ttl, sizeof ttl, "%" PRId64, s->health_cache_ttl_s * 1000);
    redis_script(models->redis, REDIS_checkdone, 9, argv, NULL, on_kept, models);
    json_out_free(&ours);
    json_out_free(&theirs);
}

void models_checked(void *arg, const struct result *found, unsigned count)
{
    struct models *models = arg;
    struct results *results = calloc(1, sizeof *results);

    timer_stop(models->renew);
    models->round = ROUND_NONE;
    if (results == NULL) {
        log_error("models_round_lost", "reason=\"no memory\"");
        models_poll_later(models);
        return;
    }
    results->count = count;
    results->at = wall_now();
    snprintf(results->by, sizeof results->by, "%s", models->id);
    memcpy(results->of, found, count * sizeof *found);
    models_adopt(models, results, 0);
    if (settings_of(models)->health_shared && models->redis != NULL)
        keep(models, results);
    models_poll_later(models);
    free(results);
}

/* --- giving it up --------------------------------------------------------------------------------- */

static void on_unlocked(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct models *models = arg;

    (void)reply;
    (void)reason;
    if (models->released != NULL)
        models->released(models->released_arg);
}

/* Breaks the round off; true: an answer will come. */
bool models_unlock(struct models *models)
{
    bool own = models->round == ROUND_OWN && models->redis != NULL && redis_up(models->redis);
    struct keys keys = models_keys(models);
    char value[CHECKED_BY_BYTES + 2];
    const char *const argv[] = {keys.lock, value};

    break_off(models);
    if (!own)
        return false;
    models_lock_value(models, value);
    redis_script(models->redis, REDIS_unlock, 2, argv, NULL, on_unlocked, models);
    return true;
}
