/*
 * models.c - the health of the models: whose turn it is, the round, and what Redis keeps of it.
 *
 *   look at Redis (checkturn) -> fresh: take over what is kept
 *                             -> mine:  check all, renew the lock meanwhile, keep it (checkdone)
 *                             -> held:  look again; no round kept and the holder does not renew for as
 *                                       long as a lock lives: check for ourselves, and keep it
 *   Redis away -> health.on_redis_down: check for ourselves when due, or keep what we know
 *   not shared -> check for ourselves when due
 *
 * Freshness and turn are decided in one script, by the clock of Redis, so of many instances one checks.
 * A model that a reload has added is not left unknown for an interval: the first one that has it in its list takes
 * a turn at once, and the others find it checked.
 * Who loses the lock in the middle of a round breaks it off: somebody else has begun one.
 * Owns one connection to Redis while models are shared, and the round.  If we die on any line the lock ends
 * within health.lock_ttl_s and another instance takes the round over; what it costs is a second check.
 */
#include "workers/health_checker/models_inside.h"

#include "common/base/log.h"
#include "common/harness/harness.h"
#include "common/redis/redis.h"
#include "workers/health_checker/checks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_BYTES_MAX (1024 * 1024)
#define AGE_MAX_MS (100LL * 365 * 86400 * 1000) /* what Redis says is untrusted */

enum turn_item { TURN_WORD, TURN_OWNER, TURN_LEFT_MS, TURN_AGE_MS, TURN_AT, TURN_BY, TURN_DOCUMENT, TURN_ITEMS };

static const struct settings *settings_of(const struct models *models)
{
    return harness_settings(models->harness);
}

struct round_rules models_rules(const struct models *models)
{
    const struct settings *s = settings_of(models);

    return (struct round_rules){
        .shared = s->health_shared,
        .litellm = s->health_litellm_shared,
        .last_known = strcmp(s->health_on_redis_down, "last_known") == 0,
        .interval_ms = s->health_interval_s * 1000,
        .cache_ms = s->health_cache_ttl_s * 1000,
        .lock_ms = s->health_lock_ttl_s * 1000,
    };
}

mono_t models_ago(int64_t ms)
{
    return (mono_t){mono_now().micros - ms * 1000};
}

bool models_none(const struct models *models)
{
    return settings_of(models)->health_models[0].name[0] == '\0';
}

/* --- whose turn ----------------------------------------------------------------------------------- */

static void copy_item(const struct redis_reply *reply, enum turn_item item, char *to, size_t size)
{
    const struct redis_reply *at = &reply->item[item];
    size_t length = at->kind == REDIS_BYTES ? at->length : 0;

    length = length < size - 1 ? length : size - 1;
    memcpy(to, at->text != NULL ? at->text : "", at->text != NULL ? length : 0);
    to[at->text != NULL ? length : 0] = '\0';
}

/* The document comes once; a round that we know already only grows older. */
static void take_document(struct models *models, const struct redis_reply *reply, int64_t age_ms)
{
    const struct redis_reply *document = &reply->item[TURN_DOCUMENT];
    struct results *results = calloc(1, sizeof *results);
    struct err err;

    if (document->kind != REDIS_BYTES || document->length == 0 || results == NULL) {
        free(results);
        return;
    }
    if (results_read(document->text, document->length, results, &err) == 0)
        models_adopt(models, results, age_ms);
    else
        log_warn("models_round_unread", "error=\"%s\"", err.text);
    free(results);
}

/* What everybody may know of the lock and of the round that is kept. */
static void note(struct models *models, const struct redis_reply *reply)
{
    int64_t age_ms = redis_item_number(reply, TURN_AGE_MS);
    char at[sizeof models->known_at], owner[CHECKED_BY_BYTES];
    bool cached = age_ms >= 0 && age_ms < AGE_MAX_MS;

    copy_item(reply, TURN_AT, at, sizeof at);
    copy_item(reply, TURN_OWNER, owner, sizeof owner);
    if (strcmp(owner, models->owner) != 0 || cached != models->cached)
        models->changed(models->arg);
    snprintf(models->owner, sizeof models->owner, "%s", owner);
    models->cached = cached;
    if (!cached)
        return;
    models->cached_since = models_ago(age_ms);
    copy_item(reply, TURN_BY, models->cached_by, sizeof models->cached_by);
    if (strcmp(at, models->known_at) != 0) {
        take_document(models, reply, age_ms);
        models->changed(models->arg);
    }
    snprintf(models->known_at, sizeof models->known_at, "%s", at);
}

static void on_fresh(struct models *models)
{
    const struct round_rules rules = models_rules(models);
    int64_t left = round_interval_ms(&rules) - mono_ms_between(models->cached_since, mono_now());

    round_wait_end(&models->wait);
    models->again = models_lack(models); /* then the next look is for our turn */
    if (left < 0)
        left = 0;
    if (left < round_poll_ms(&rules))
        models_turn_in_ms(models, left + 1);
    else
        models_poll_later(models);
}

static void on_held(struct models *models, const struct redis_reply *reply)
{
    const struct round_rules rules = models_rules(models);

    if (models->cached)
        round_wait_end(&models->wait);
    else if (round_waited(&models->wait, mono_now(), models->owner, redis_item_number(reply, TURN_LEFT_MS),
                          rules.lock_ms) &&
             models_due(models)) {
        log_warn("models_checked_alone", "reason=\"no round is kept, and who holds the lock does not renew it\" "
                 "owner=\"%s\"", models->owner);
        models_begin_round(models, ROUND_ALONE);
        return;
    }
    models_poll_later(models);
}

static void redis_is_down(struct models *models, const char *why)
{
    if (!models->down)
        log_warn("models_redis_away", "reason=\"%s\" then=%s", why, settings_of(models)->health_on_redis_down);
    models->down = true;
    models->changed(models->arg);
}

/* Not shared, or Redis is no help. */
static void go_alone(struct models *models)
{
    const struct round_rules rules = models_rules(models);

    if (round_alone(&rules, models_due(models)))
        models_begin_round(models, ROUND_ALONE);
    else
        models_poll_later(models);
}

static void on_turn_answer(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct models *models = arg;

    models->asked = false;
    if (models->closing)
        return;
    if (!settings_of(models)->health_shared) { /* since the question */
        timer_in_ms(models->turn, 0);
        return;
    }
    if (reply == NULL || reply->kind != REDIS_ARRAY || reply->items != TURN_ITEMS) {
        redis_is_down(models, reply == NULL && reason != NULL ? reason : redis_refusal_of(models->redis, reply)->name);
        go_alone(models);
        return;
    }
    if (models->down)
        log_info("models_redis_back", "node=\"%s\"", redis_node(models->redis));
    models->down = false;
    note(models, reply);
    if (redis_said(reply, "mine"))
        models_begin_round(models, ROUND_OWN);
    else if (redis_said(reply, "fresh"))
        on_fresh(models);
    else
        on_held(models, reply);
}

static void ask(struct models *models)
{
    const struct round_rules rules = models_rules(models);
    struct keys keys = models_keys(models);
    char value[CHECKED_BY_BYTES + 2], ttl[24], interval[24];
    const char *const argv[] = {keys.lock, keys.round, value, ttl, interval, models->known_at,
                                models_lack(models) ? "1" : "0"};

    models_lock_value(models, value);
    snprintf(ttl, sizeof ttl, "%" PRId64, rules.lock_ms);
    snprintf(interval, sizeof interval, "%" PRId64, round_interval_ms(&rules));
    models->asked = true;
    redis_script(models->redis, REDIS_checkturn, 7, argv, NULL, on_turn_answer, models);
}

static void on_state(void *arg, bool up, const char *reason)
{
    struct models *models = arg;

    if (models->closing)
        return;
    if (up)
        stats_add(harness_stats(models->harness), METRIC_redis_connects_total, 1);
    else
        redis_is_down(models, reason != NULL ? reason : "connection lost");
    timer_in_ms(models->turn, 0);
}

static void close_redis(struct models *models)
{
    models->closing = true; /* what the door still answers goes nowhere */
    redis_close(&models->redis);
    models->closing = models->asked = false;
    models->down = models->cached = false;
    models->owner[0] = '\0';
}

static void open_redis(struct models *models)
{
    struct redis_options options = redis_options_from(settings_of(models), "spendd-models");
    struct err err;

    options.reply_bytes_max = REPLY_BYTES_MAX;
    models->redis = redis_open(models->harness, &options, on_state, models, &err);
    if (models->redis == NULL)
        redis_is_down(models, err.text);
}

/* While a round runs its end is waited for; while an answer is on its way, that. */
static void on_turn(void *arg)
{
    struct models *models = arg;
    bool shared = settings_of(models)->health_shared;

    if (models->round != ROUND_NONE || models->asked)
        return;
    if (models_none(models) || !shared)
        close_redis(models);
    if (models_none(models))
        return;
    if (shared && models->redis == NULL)
        open_redis(models);
    if (shared && models->redis != NULL && redis_up(models->redis))
        ask(models);
    else if (!shared || models->down)
        go_alone(models);
    else
        models_poll_later(models); /* it connects: on_state comes before that */
}

/* --- life ----------------------------------------------------------------------------------------- */

void models_release(struct models *models, models_fn *done, void *arg)
{
    timer_stop(models->turn);
    models->released = done;
    models->released_arg = arg;
    if (!models_unlock(models))
        done(arg);
}

/* "pod_<epoch ms>" is LiteLLM's form, and where its pods read it nothing else is in it; among ourselves the
 * instance is told too. */
static void name_ourselves(struct models *models)
{
    const struct settings *s = settings_of(models);
    int64_t ms = models->started.micros / 1000;

    if (s->health_litellm_shared)
        snprintf(models->id, sizeof models->id, "pod_%" PRId64, ms);
    else
        snprintf(models->id, sizeof models->id, "pod_%" PRId64 "@%s", ms, s->instance);
}

/* A lock under its old name ends by itself. */
void models_reload(struct models *models, const struct settings *before)
{
    const struct settings *now = settings_of(models);
    bool same = memcmp(before->health_models, now->health_models, sizeof now->health_models) == 0 &&
                before->health_shared == now->health_shared &&
                before->health_litellm_shared == now->health_litellm_shared &&
                strcmp(before->health_litellm_namespace, now->health_litellm_namespace) == 0;

    if (!same) {
        models_unlock(models);
        models->again = true;
        round_wait_end(&models->wait);
        name_ourselves(models);
    }
    if (models->round == ROUND_NONE)
        timer_in_ms(models->turn, 0);
    models->changed(models->arg);
}

struct models *models_new(struct harness *harness, models_fn *changed, void *arg, struct err *err)
{
    struct models *models = calloc(1, sizeof *models);

    if (models == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    *models = (struct models){.harness = harness, .changed = changed, .arg = arg, .again = true};
    models->started = wall_now();
    name_ourselves(models);
    models->turn = harness_timer(harness, on_turn, models);
    models->renew = harness_timer(harness, models_renew, models);
    models->checks = checks_new(harness, models_checked, models, err);
    if (models->checks == NULL) {
        models_free(&models);
        return NULL;
    }
    timer_in_ms(models->turn, 0);
    return models;
}

void models_free(struct models **models)
{
    if (*models == NULL)
        return;
    close_redis(*models);
    checks_free(&(*models)->checks);
    harness_untimer(&(*models)->turn);
    harness_untimer(&(*models)->renew);
    free(*models);
    *models = NULL;
}
