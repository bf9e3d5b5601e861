/*
 * probe_redis.c - does Redis answer, and can it keep what it is given?  See probe.h.
 *
 *   connect (greeting, AUTH) -> PING -> INFO -> verdict -> close
 *
 * The door reconnects by itself; a probe wants one attempt, so the first "down" ends it.  The door
 * must not be closed from within its own calls: a timer that is due at once closes it and gives the
 * verdict. INFO may be forbidden: that is no failure, the eviction policy is then "unknown". Only
 * reads.  If we die on any line nothing is left behind.
 */
#include "workers/health_checker/probe.h"

#include "common/harness/harness.h"
#include "common/redis/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct probe_redis {
    struct harness *harness;
    probe_done_fn *done;
    void *arg;
    struct redis *redis; /* NULL: no probe is under way */
    struct timer *end;
    bool ended; /* the verdict stands, the timer is on its way */
    struct verdict verdict;
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
    probe->ended = false;
    probe->done(probe->arg, &probe->verdict);
}

static void on_info(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct probe_redis *probe = arg;

    if (probe->ended)
        return;
    if (reply == NULL) {
        fail_text(probe, "INFO", reason);
        return;
    }
    if (reply->kind == REDIS_BYTES)
        verdict_redis(reply->text, reply->length, &probe->verdict);
    else
        verdict_redis(NULL, 0, &probe->verdict);
    end_soon(probe);
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
    probe->end = harness_timer(harness, on_end, probe);
    return probe;
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
