/*
 * http_health.c - the health endpoints, for kubelets and for people.
 *
 *   /health/liveliness    200 while spendd's supervisor answers, else 503: restart the container
 *   /health/readiness     200 while an event can be made durable, else 503: send events elsewhere.  A database or
 *                         a Redis that is down does not make us unready; a full spool does
 *   /health               the same code as readiness, and a summary
 *   /health/services      each worker and each store: since when, and its last error (that the gateway, the health
 *                         checker has seen: since their own start)
 *   /health/shared-status the health checker's word about shared model checks, or 503 while none has come
 * Everything is answered from what news.c has, at once.
 * Owns nothing; if we die on any line, the asker asks again.
 */
#include "workers/gateway/gateway.h"

#include "common/harness/build.h"
#include "common/json/json_put.h"
#include "common/json/json_tree.h"
#include "workers/gateway/news.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHY_BYTES 400

static struct json_out *begin(struct gateway *gateway)
{
    json_clear(gateway->out);
    json_object(gateway->out);
    return gateway->out;
}

static void end(struct gateway *gateway, struct request *request, bool good)
{
    json_end(gateway->out);
    gateway_answer(gateway, request, good ? 200 : 503);
}

void handle_liveness(struct gateway *gateway, struct request *request)
{
    bool alive = news_alive(gateway->news, mono_now()) || !gateway->news->known;

    json_put_text(begin(gateway), "status", alive ? "alive" : "the supervisor does not answer");
    end(gateway, request, alive);
}

/* "status", "ready" and "why"; true: ready. */
static bool put_readiness(struct gateway *gateway, struct json_out *out)
{
    char text[WHY_BYTES];
    const char *why = news_unready(gateway->news, mono_now(), text, sizeof text);
    bool degraded = !gateway->news->whole.database_open;

    json_put_text(out, "status", why != NULL ? "unready" : degraded ? "degraded" : "healthy");
    json_put_bool(out, "ready", why == NULL);
    json_put_text(out, "why", why != NULL ? why : degraded ? gateway->news->whole.database_why : "");
    return why == NULL;
}

void handle_readiness(struct gateway *gateway, struct request *request)
{
    char text[WHY_BYTES];
    const char *why = news_unready(gateway->news, mono_now(), text, sizeof text);
    struct json_out *out = begin(gateway);

    json_put_text(out, "status", why == NULL ? "ready" : "unready");
    json_put_text(out, "why", why == NULL ? "" : why);
    end(gateway, request, why == NULL);
}

/* --- the health checker's document -------------------------------------------------------------------- */

/* NULL: none has come, or it is no JSON. */
static struct json_tree *read_report(const struct news *news)
{
    struct err err;

    return news->report != NULL ? json_tree_read(news->report, news->report_bytes, &err) : NULL;
}

void handle_shared_status(struct gateway *gateway, struct request *request)
{
    struct json_tree *report = read_report(gateway->news);
    const struct json_tree *status = json_member(report, "shared_status");

    if (status == NULL) {
        http_refuse(request, 503, "the health checker has not reported yet");
    } else {
        json_clear(gateway->out);
        json_tree_write(status, gateway->out);
        gateway_answer(gateway, request, 200);
    }
    json_tree_free(&report);
}

/* --- workers and stores ------------------------------------------------------------------------------- */

static void put_worker(struct json_out *out, const struct news_worker *worker)
{
    const struct msg_snapshot_row *row = &worker->row;

    json_object(out);
    json_put_text(out, "name", row->worker);
    json_put_number(out, "index", row->index);
    json_put_text(out, "state", row->state);
    json_put_number(out, "since_ms", row->since_ms);
    json_put_number(out, "restarts", row->restarts);
    json_put_text(out, "status", row->status);
    json_put_text(out, "why", row->why);
    json_put_text(out, "last_error", worker->error_ms > 0 ? worker->error : NULL);
    json_put_number_if(out, "last_error_ms", worker->error_ms > 0, worker->error_ms);
    json_end(out);
}

/* The gate's word is the supervisor's; the rest is the health checker's. */
static void put_stores(struct json_out *out, const struct news *news, const struct json_tree *report)
{
    json_key(out, "gate");
    json_object(out);
    json_put_bool_if(out, "open", news->known, news->whole.database_open);
    json_put_text(out, "why", news->known ? news->whole.database_why : "the supervisor has not answered yet");
    json_put_number_if(out, "since_ms", news->gate_ms > 0, news->gate_ms);
    json_end(out);
    json_key(out, "stores");
    json_tree_write(json_member(report, "probes"), out);
    json_key(out, "watches");
    json_tree_write(json_member(report, "stores"), out);
}

void handle_services(struct gateway *gateway, struct request *request)
{
    const struct news *news = gateway->news;
    struct json_tree *report = read_report(news);
    struct json_out *out = begin(gateway);

    json_key(out, "workers");
    json_array(out);
    for (unsigned i = 0; i < news->count; i++)
        put_worker(out, &news->worker[i]);
    json_end(out);
    put_stores(out, news, report);
    end(gateway, request, true);
    json_tree_free(&report);
}

void handle_health(struct gateway *gateway, struct request *request)
{
    struct json_tree *report = read_report(gateway->news);
    struct json_out *out = begin(gateway);
    bool ready = put_readiness(gateway, out);

    json_put_text(out, "instance", gateway->settings->instance);
    json_put_text(out, "version", build_version);
    json_key(out, "models");
    json_tree_write(json_member(report, "models"), out);
    end(gateway, request, ready);
    json_tree_free(&report);
}
