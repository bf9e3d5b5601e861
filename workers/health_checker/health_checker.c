/*
 * health_checker.c - probes PostgreSQL and Redis and tells the supervisor, which opens and closes
 * the `database` gate by it.  A process of its own, so that a slow probe stops nothing else.
 *
 * Each store is probed at once at start, then again after a pause: health.probe_ms while it fails, the
 * gate is closed, or this instance flushes; health.idle_probe_ms otherwise, both with a fifth of jitter
 * to either side (fifty instances that start together must not probe together).  A committed flush,
 * seen by its counter, counts as a passed probe.  One probe of a store at a time; the pause begins when
 * it has ended, and every step of it has a deadline, so a frozen store makes probes rare and never piles
 * them up.  The loop waits for nothing.
 *
 * Owns no data.  If we die on any line the supervisor keeps the gate as it is and starts us again.
 */
#include "common/base/jitter.h"
#include "common/base/log.h"
#include "common/harness/harness.h"
#include "common/json/json_put.h"
#include "workers/health_checker/face.h"
#include "workers/health_checker/models.h"
#include "workers/health_checker/pace.h"
#include "workers/health_checker/probe.h"
#include "workers/health_checker/watch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum store { STORE_DATABASE, STORE_REDIS, STORES };

static const char *const store_names[STORES] = {
    [STORE_DATABASE] = "database",
    [STORE_REDIS] = "redis",
};

struct health_checker;

struct checked {
    struct health_checker *checker;
    enum store store;
    struct timer *due;
    bool ever; /* a probe has ended */
    struct verdict last;
    wall_t since;    /* this is what it has said */
    char error[sizeof((struct verdict *)0)->detail]; /* why it failed last, also when it is back */
    wall_t error_at;                                 /* 0: never since we started */
    unsigned scarce; /* refusals in a row that said so */
};

struct health_checker {
    struct harness *harness;
    struct probe_database *database;
    struct probe_redis *redis;
    struct models *models;
    struct store_watch *watch;
    struct face *face;
    struct checked checked[STORES];
    bool gate_open;
    mono_t idle_due;   /* the database's long pause is over */
    mono_t figures_due; /* a flush proves that it works, and tells no figures */
    int64_t flushes, stood_down; /* when last looked */
};

/* --- when
 * -------------------------------------------------------------------------------------------- */
static int64_t jittered(int64_t ms)
{
    return ms - ms / 5 + jitter_ms(2 * ms / 5, jitter_dice());
}

static int64_t pause_ms(const struct checked *checked)
{
    const struct settings *settings = harness_settings(checked->checker->harness);

    /* The database is looked at often, whether or not that means a probe: see pace.h. */
    if (checked->store == STORE_DATABASE || !checked->last.passed)
        return jittered(pace_pause_ms(settings->health_probe_ms, checked->scarce));
    return jittered(settings->health_idle_probe_ms);
}

/* Of all pages: the flusher's own has it, the others have 0. */
static int64_t figure(const struct health_checker *checker, enum metric metric)
{
    int64_t sum = 0;

    for (unsigned slot = 0; slot < harness_pages(checker->harness); slot++)
        sum += stats_get(harness_page(checker->harness, slot), metric);
    return sum;
}

static void look_at_database(struct health_checker *checker)
{
    struct checked *checked = &checker->checked[STORE_DATABASE];
    int64_t flushes = figure(checker, METRIC_flushes_total);
    int64_t stood_down = figure(checker, METRIC_flush_stands_down_total);
    const struct pace_facts facts = {
        .ever = checked->ever,
        .passed = checked->last.passed,
        .gate_open = checker->gate_open,
        .holder = figure(checker, METRIC_lock_held) > 0,
        .flushed = flushes != checker->flushes,
        .idle_due = mono_reached(mono_now(), checker->idle_due),
        .stood_down = stood_down != checker->stood_down,
    };
    enum pace pace = pace_decide(&facts);
    int64_t idle_ms = jittered(harness_settings(checker->harness)->health_idle_probe_ms);

    if (pace == PACE_PROVED && mono_reached(mono_now(), checker->figures_due))
        pace = PACE_PROBE;
    checker->flushes = flushes;
    checker->stood_down = stood_down;
    if (pace != PACE_WAIT)
        checker->idle_due = mono_after_ms(mono_now(), idle_ms);
    if (pace == PACE_PROBE) {
        checker->figures_due = mono_after_ms(mono_now(), idle_ms);
        probe_database_start(checker->database);
    } else
        timer_in_ms(checked->due, pause_ms(checked));
}

static void on_due(void *arg)
{
    struct checked *checked = arg;

    if (checked->store == STORE_DATABASE)
        look_at_database(checked->checker);
    else
        probe_redis_start(checked->checker->redis);
}

/* --- what came of it
 * ------------------------------------------------------------------------------------ */
static bool same_as_before(const struct checked *checked, const struct verdict *verdict)
{
    return checked->ever && checked->last.passed == verdict->passed &&
           strcmp(checked->last.detail, verdict->detail) == 0;
}

static void tell_human(const struct checked *checked, const struct verdict *verdict)
{
    const char *store = store_names[checked->store];

    if (!verdict->passed)
        log_warn("probe_failed", "store=%s detail=\"%s\"", store, verdict->detail);
    else if (verdict->risky)
        log_warn("probe_passed", "store=%s detail=\"%s\"", store, verdict->detail);
    else
        log_info("probe_passed", "store=%s detail=\"%s\"", store, verdict->detail);
}

static void tell_supervisor(const struct checked *checked)
{
    struct msg report = {.kind = MSG_probe, .probe = {.passed = checked->last.passed}};

    snprintf(report.probe.store, sizeof report.probe.store, "%s", store_names[checked->store]);
    snprintf(report.probe.detail, sizeof report.probe.detail, "%s", checked->last.detail);
    harness_report(checked->checker->harness, &report);
}

static void in_a_word(const struct checked *checked, char text[80])
{
    if (!checked->ever)
        snprintf(text, 80, "not probed yet");
    else if (checked->last.passed)
        snprintf(text, 80, "ok");
    else
        snprintf(text, 80, "failing (%.60s)", checked->last.detail);
}

static void on_done(void *arg, const struct verdict *verdict)
{
    struct checked *checked = arg;
    struct health_checker *checker = checked->checker;
    char database[80], redis[80];

    if (!same_as_before(checked, verdict)) {
        tell_human(checked, verdict);
        checked->since = wall_now();
        face_changed(checker->face);
    }
    checked->last = *verdict;
    checked->ever = true;
    if (!verdict->passed) {
        memcpy(checked->error, verdict->detail, sizeof checked->error);
        checked->error_at = wall_now();
    }
    checked->scarce = verdict->scarce ? checked->scarce + 1 : 0;
    stats_add(harness_stats(checker->harness),
              verdict->passed ? METRIC_probes_passed_total : METRIC_probes_failed_total, 1);
    if (checked->store == STORE_REDIS)
        store_watch_take(checker->watch, WATCH_STORE_redis, probe_redis_figures(checker->redis));
    else
        store_watch_take(checker->watch, WATCH_STORE_database, probe_database_figures(checker->database));
    tell_supervisor(checked);
    in_a_word(&checker->checked[STORE_DATABASE], database);
    in_a_word(&checker->checked[STORE_REDIS], redis);
    harness_status(checker->harness, "database %s, redis %s", database, redis);
    timer_in_ms(checked->due, pause_ms(checked));
}

/* --- what the others are told: face.h ----------------------------------------------------------------- */

static void write_probes(const struct health_checker *checker, struct json_out *out)
{
    json_key(out, "probes");
    json_array(out);
    for (size_t i = 0; i < STORES; i++) {
        const struct checked *checked = &checker->checked[i];

        json_object(out);
        json_put_text(out, "store", store_names[i]);
        json_put_bool_if(out, "passed", checked->ever, checked->last.passed);
        json_put_text(out, "detail", checked->ever ? checked->last.detail : "not probed yet");
        json_put_number_if(out, "since_ms", checked->ever, checked->since.micros / 1000);
        json_put_text(out, "last_error", checked->error_at.micros > 0 ? checked->error : NULL);
        json_put_number_if(out, "last_error_ms", checked->error_at.micros > 0, checked->error_at.micros / 1000);
        json_end(out);
    }
    json_end(out);
}

static void write_document(void *arg, struct json_out *out)
{
    struct health_checker *checker = arg;

    models_write(checker->models, out);
    write_probes(checker, out);
    store_watch_write(checker->watch, out);
}

/* The gate has moved: what was a long pause may have to be a short one. */
static void health_checker_record(void *self, const struct msg *record)
{
    struct health_checker *checker = self;
    struct checked *database = &checker->checked[STORE_DATABASE];

    if (record->kind != MSG_gate || strcmp(record->gate.name, "database") != 0)
        return;
    if (checker->gate_open && !record->gate.open && database->ever)
        timer_in_ms(database->due, jittered(harness_settings(checker->harness)->health_probe_ms));
    checker->gate_open = record->gate.open;
}

static void on_changed(void *arg)
{
    struct health_checker *checker = arg;

    face_changed(checker->face);
}

static void health_checker_reload(void *self, const struct settings *before)
{
    struct health_checker *checker = self;

    models_reload(checker->models, before);
    store_watch_reload(checker->watch);
}

static void on_released(void *arg)
{
    struct health_checker *checker = arg;

    harness_leave(checker->harness, EXIT_ASKED);
}

static void health_checker_drain(void *self, mono_t deadline)
{
    struct health_checker *checker = self;

    (void)deadline;
    models_release(checker->models, on_released, checker);
}

/* --- the worker
 * -------------------------------------------------------------------------------------------- */
static void health_checker_close(void *self)
{
    struct health_checker *checker = self;

    for (size_t i = 0; i < STORES; i++)
        harness_untimer(&checker->checked[i].due);
    probe_database_free(&checker->database);
    probe_redis_free(&checker->redis);
    models_free(&checker->models);
    store_watch_free(&checker->watch);
    face_free(&checker->face);
    free(checker);
}

static void *health_checker_open(struct harness *harness, int *code, struct err *err)
{
    struct health_checker *checker = calloc(1, sizeof *checker);

    *code = EXIT_CONFIGURATION; /* what can fail here is a URL that is none */
    if (checker == NULL) {
        *code = EXIT_TEMPORARY;
        err_set(err, "no memory");
        return NULL;
    }
    checker->harness = harness;
    for (size_t i = 0; i < STORES; i++) {
        struct checked *checked = &checker->checked[i];

        checked->checker = checker;
        checked->store = (enum store)i;
        checked->due = harness_timer(harness, on_due, checked);
        timer_in_ms(checked->due, 0);
    }
    checker->database =
        probe_database_new(harness, on_done, &checker->checked[STORE_DATABASE], err);
    checker->redis = probe_redis_new(harness, on_done, &checker->checked[STORE_REDIS], err);
    if (checker->database == NULL || checker->redis == NULL) {
        health_checker_close(checker);
        return NULL;
    }
    *code = EXIT_TEMPORARY;
    checker->face = face_new(harness, write_document, checker, err);
    if (checker->face != NULL)
        checker->models = models_new(harness, on_changed, checker, err);
    if (checker->models != NULL)
        checker->watch = store_watch_new(harness, on_changed, checker, err);
    if (checker->watch == NULL) {
        health_checker_close(checker);
        return NULL;
    }
    return checker;
}

const struct worker worker = {
    .name = "health_checker",
    .open = health_checker_open,
    .record = health_checker_record,
    .reload = health_checker_reload,
    .drain = health_checker_drain,
    .close = health_checker_close,
};
