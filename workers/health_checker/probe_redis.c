/*
 * probe_redis.c - does Redis answer, and can it keep what it is given?  See probe.h.
 *
 *   connect (greeting, AUTH) -> PING -> INFO -> verdict -> CONFIG GET maxclients, where INFO does not tell
 *   -> CLIENT LIST, at most every watch.client_list_s -> close
 *
 * The door reconnects by itself; a probe wants one attempt, so the first "down" ends it.  The door
 * must not be closed from within its own calls: a timer that is due at once closes it and gives the
 * verdict.  INFO may be forbidden: that is no failure, the eviction policy is then "unknown"; so may what
 * follows it, which changes no verdict.  A list of more than CLIENTS_MAX is not asked for.  Only
 * reads.  If we die on any line nothing is left behind.
 */
#include "workers/health_checker/probe.h"

#include "common/harness/harness.h"
#include "common/redis/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS_MAX 20000 /* some 300 bytes each */

struct probe_redis {
    struct harness *harness;
    probe_done_fn *done;
    void *arg;
    struct redis *redis; /* NULL: no probe is under way */
    struct timer *end;
    bool judged; /* the verdict stands */
    bool ended;  /* ... and the timer is on its way */
    struct verdict verdict;
    struct figures figures;
    struct redis_counts counts; /* of the probe before */
    bool listed; /* once: */
    mono_t listed_at;
    int64_t idle_clients; /* when last listed */
    char addresses[sizeof ((struct figures *)0)->detail[0]];
    int64_t clients;
};

static void end_soon(struct probe_redis *probe)
{
    probe->ended = true;
    timer_in_ms(probe->end, 0);
}

static void fail(struct probe_redis *probe, const char *what, const char *why, size_t length)
{
    if (probe->ended)
        return;
    if (probe->judged) {
        end_soon(probe);
        return;
    }
    probe->verdict.passed = false;
    snprintf(probe->verdict.detail, sizeof probe->verdict.detail, "%s: %.*s", what,
             (int)(length < 150 ? length : 150), why);
    end_soon(probe);
}

static void fail_text(struct probe_redis *probe, const char *what, const char *why)
{
    const char *text = why ? why : "connection lost";

    fail(probe, what, text, strlen(text));
}

static void on_end(void *arg)
{
    struct probe_redis *probe = arg;

    redis_close(&probe->redis);
    if (probe->judged) {
        probe->figures.value[WATCH_redis_idle_clients] = probe->idle_clients;
        memcpy(probe->figures.detail[WATCH_redis_idle_clients], probe->addresses, sizeof probe->addresses);
    }
    probe->ended = probe->judged = false;
    probe->done(probe->arg, &probe->verdict);
}

static void on_clients(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct probe_redis *probe = arg;
    const int64_t idle_s = harness_settings(probe->harness)->watch_idle_client_s;

    (void)reason;
    if (probe->ended)
        return;
    probe->idle_clients = FIGURE_UNKNOWN;
    probe->addresses[0] = '\0';
    if (reply != NULL && reply->kind == REDIS_BYTES) {
        struct figures listed;

        figures_unknown(&listed);
        figures_clients(reply->text, reply->length, idle_s, &listed);
        probe->idle_clients = listed.value[WATCH_redis_idle_clients];
        memcpy(probe->addresses, listed.detail[WATCH_redis_idle_clients], sizeof probe->addresses);
    }
    end_soon(probe);
}

/* The list, if it is time for it; between two lists the last one counts. */
static void ask_clients(struct probe_redis *probe)
{
    static const char *const list[] = {"CLIENT", "LIST"};
    int64_t every_ms = harness_settings(probe->harness)->watch_client_list_s * 1000;

    if (probe->clients > CLIENTS_MAX) {
        probe->idle_clients = FIGURE_UNKNOWN;
        end_soon(probe);
    } else if (probe->listed && mono_ms_between(probe->listed_at, mono_now()) < every_ms) {
        end_soon(probe);
    } else {
        probe->listed = true;
        probe->listed_at = mono_now();
        redis_command(probe->redis, 2, list, NULL, on_clients, probe);
    }
}

static void on_maxclients(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct probe_redis *probe = arg;
    struct figures *figures = &probe->figures;
    int64_t most = reply != NULL && reply->kind == REDIS_ARRAY && reply->items == 2
                       ? redis_item_number(reply, 1) : FIGURE_UNKNOWN;

    (void)reason;
    if (probe->ended)
        return;
    figures->value[WATCH_redis_clients_percent] = figures_percent(probe->clients, most);
    ask_clients(probe);
}

static void on_info(void *arg, const struct redis_reply *reply, const char *reason)
{
    static const char *const maxclients[] = {"CONFIG", "GET", "maxclients"};
    struct probe_redis *probe = arg;

    if (probe->ended)
        return;
    if (reply == NULL) {
        fail_text(probe, "INFO", reason);
        return;
    }
    probe->judged = true;
    probe->clients = FIGURE_UNKNOWN;
    if (reply->kind == REDIS_BYTES) {
        verdict_redis(reply->text, reply->length, &probe->verdict);
        figures_info(reply->text, reply->length, mono_now(), &probe->counts, &probe->figures);
        probe->clients = info_number(reply->text, reply->length, "connected_clients");
    } else {
        verdict_redis(NULL, 0, &probe->verdict);
    }
    if (probe->clients >= 0 && probe->figures.value[WATCH_redis_clients_percent] < 0)
        redis_command(probe->redis, 3, maxclients, NULL, on_maxclients, probe);
    else
        ask_clients(probe);
}

static void on_ping(void *arg, const struct redis_reply *reply, const char *reason)
{
    static const char *const info[] = {"INFO"};
    struct probe_redis *probe = arg;

    if (probe->ended)
        return;
    if (reply == NULL)
        fail_text(probe, "PING", reason);
    else if (reply->kind == REDIS_ERROR)
        fail(probe, "PING", reply->text, reply->length);
    else
        redis_command(probe->redis, 1, info, NULL, on_info, probe);
}

static void on_state(void *arg, bool up, const char *reason)
{
    static const char *const ping[] = {"PING"};
    struct probe_redis *probe = arg;

    if (probe->ended)
        return;
    if (up) {
        stats_add(harness_stats(probe->harness), METRIC_redis_connects_total, 1);
        redis_command(probe->redis, 1, ping, NULL, on_ping, probe);
    } else {
        const struct refusal *refusal = redis_refusal_of(probe->redis, NULL);

        probe->verdict.scarce = refusal->class == REFUSAL_RETRY_SLOWLY;
        if (!probe->judged && strcmp(refusal->name, "maxclients") == 0) {
            probe->figures.value[WATCH_redis_clients_percent] = 100;
            snprintf(probe->figures.detail[WATCH_redis_clients_percent], sizeof probe->addresses,
                     "Redis refuses connections: max number of clients reached");
        }
        fail_text(probe, refusal->name, reason);
    }
}

void probe_redis_start(struct probe_redis *probe)
{
    const struct redis_options options =
        redis_options_from(harness_settings(probe->harness), "spendd-health_checker");
    struct err err;

    if (probe->redis != NULL || probe->ended)
        return;
    probe->verdict = (struct verdict){.passed = false};
    figures_unknown(&probe->figures);
    probe->redis = redis_open(probe->harness, &options, on_state, probe, &err);
    if (probe->redis == NULL)
        fail_text(probe, "open", err.text);
}

struct probe_redis *probe_redis_new(struct harness *harness, probe_done_fn *done, void *arg,
                                    struct err *err)
{
    struct probe_redis *probe = calloc(1, sizeof *probe);

    if (probe == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    *probe = (struct probe_redis){.harness = harness, .done = done, .arg = arg};
    probe->idle_clients = FIGURE_UNKNOWN;
    probe->end = harness_timer(harness, on_end, probe);
    return probe;
}

const struct figures *probe_redis_figures(const struct probe_redis *probe)
{
    return &probe->figures;
}

void probe_redis_free(struct probe_redis **probe)
{
    if (*probe == NULL)
        return;
    (*probe)->ended = true; /* what the door still answers goes nowhere */
    redis_close(&(*probe)->redis);
    harness_untimer(&(*probe)->end);
    free(*probe);
    *probe = NULL;
}
