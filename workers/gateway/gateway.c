/*
 * gateway.c - the worker that speaks HTTP: events in, health and figures out.
 *
 * Owns the two addresses (http.c), the channels to the aggregators (posts.c) and what is known of the others
 * (news.c).  It faces the network and has no credentials of Redis or PostgreSQL, and no disk: an event is
 * another's until its answer is here, and only then is 200 said.
 * When spendd drains, ingest takes no connections any more and refuses what is new, while the aggregators
 * finish; the status address answers until the last.  A restart of the gateway alone closes what is
 * idle and finishes the rest; who connects meanwhile waits in the supervisor's socket.
 *
 * If we die on any line, whoever has no answer posts again, with the same event ids.
 */
#include "workers/gateway/gateway.h"

#include "common/base/log.h"
#include "common/bus/bus.h"
#include "workers/gateway/news.h"
#include "workers/gateway/posts.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIGURES_MS 200
#define LINGER_MS 0

const struct tokens *gateway_tokens(struct gateway *gateway, enum http_face face)
{
    struct tokens *tokens = face == FACE_INGEST ? &gateway->tokens : &gateway->status_token;

    if (face == FACE_INGEST)
        tokens_refresh(tokens, "http.tokens", gateway->settings->http_tokens, mono_now());
    else
        tokens_refresh(tokens, "http.status_token", gateway->settings->http_status_token, mono_now());
    return tokens;
}

void gateway_answer(struct gateway *gateway, struct request *request, unsigned status)
{
    size_t bytes;
    const char *json = json_text(gateway->out, &bytes);

    http_answer(request, status, HTTP_JSON, json, bytes);
}

static bool is_on(const char *listen)
{
    return strcmp(listen, "off") != 0;
}

/* --- while it runs ------------------------------------------------------------------------------------ */

static void stop_taking(struct gateway *gateway, const char *why)
{
    if (!gateway->draining)
        log_info("http_drains", "why=\"%s\"", why);
    gateway->draining = true;
    if (gateway->ingest != NULL)
        http_quiesce(gateway->ingest);
}

static void on_news(void *arg)
{
    struct gateway *gateway = arg;
    struct news *news = gateway->news;

    if (news->draining) {
        stop_taking(gateway, "spendd drains");
        if (gateway->posts != NULL)
            posts_end(gateway->posts);
    }
    for (unsigned i = 0; i < news->count && gateway->posts != NULL; i++) {
        const struct msg_snapshot_row *row = &news->worker[i].row;
        bool ready = strcmp(row->state, "READY") == 0;

        if (strcmp(row->worker, "aggregator") == 0)
            posts_lane(gateway->posts, row->index, ready, ready || strcmp(row->state, "DRAINING") == 0);
    }
}

static void on_report(void *arg, struct bus_socket *socket, const struct bus_frame *frames, size_t count)
{
    struct gateway *gateway = arg;

    (void)socket;
    if (count == 1)
        news_report(gateway->news, frames[0].data, frames[0].bytes);
}

static bool idle(const struct gateway *gateway)
{
    return (gateway->ingest == NULL || http_idle(gateway->ingest)) &&
           (gateway->status == NULL || http_idle(gateway->status));
}

static void on_figures(void *arg)
{
    struct gateway *gateway = arg;
    struct stats_page *stats = harness_stats(gateway->harness);

    gateway->purse.most = gateway->settings->http_max_held_bytes;
    stats_set(stats, METRIC_http_held_bytes, gateway->purse.held);
    stats_set(stats, METRIC_http_connections,
              (gateway->ingest != NULL ? http_connections(gateway->ingest) : 0) +
                  (gateway->status != NULL ? http_connections(gateway->status) : 0));
    if (gateway->leaving && idle(gateway)) {
        harness_leave(gateway->harness, EXIT_ASKED);
        return;
    }
    timer_in_ms(gateway->figures, FIGURES_MS);
}

/* --- the worker --------------------------------------------------------------------------------------- */

static void gateway_close(void *self)
{
    struct gateway *gateway = self;

    http_close(&gateway->ingest);
    http_close(&gateway->status);
    posts_close(&gateway->posts);
    if (gateway->bus != NULL)
        bus_close(&gateway->bus, LINGER_MS);
    news_close(&gateway->news);
    if (gateway->figures != NULL)
        harness_untimer(&gateway->figures);
    json_out_free(&gateway->out);
    sodium_memzero(&gateway->tokens, sizeof gateway->tokens);
    free(gateway);
}

/* The supervisor gives the listening sockets of those that are on, ingest first. */
static int open_faces(struct gateway *gateway, int *code, struct err *err)
{
    const struct settings *s = gateway->settings;
    bool posts = is_on(s->http_ingest_listen);
    struct http_options options = {gateway, FACE_INGEST, 0};

    if (posts) {
        options.listener = harness_listener(gateway->harness, 0);
        gateway->ingest = http_open(&options, code, err);
        if (gateway->ingest == NULL)
            return -1;
    }
    if (!is_on(s->http_status_listen))
        return 0;
    options = (struct http_options){gateway, FACE_STATUS, harness_listener(gateway->harness, posts)};
    gateway->status = http_open(&options, code, err);
    return gateway->status != NULL ? 0 : -1;
}

static int open_parts(struct gateway *gateway, int *code, struct err *err)
{
    gateway->bus = bus_open(gateway->harness, gateway->settings->runtime_dir, err);
    if (gateway->bus == NULL || bus_read(gateway->bus, BUS_health, 0, on_report, gateway, err) == NULL)
        return -1;
    if (is_on(gateway->settings->http_ingest_listen)) {
        gateway->posts = posts_open(gateway->harness, gateway->bus, err);
        if (gateway->posts == NULL)
            return -1;
    }
    gateway->news = news_open(gateway->harness, on_news, gateway);
    return open_faces(gateway, code, err);
}

static void *gateway_open(struct harness *harness, int *code, struct err *err)
{
    struct gateway *gateway = calloc(1, sizeof *gateway);

    *code = EXIT_TEMPORARY;
    if (gateway == NULL || sodium_init() < 0)
        bug("cannot begin: no memory, or no libsodium");
    gateway->harness = harness;
    gateway->settings = harness_settings(harness);
    gateway->purse.most = gateway->settings->http_max_held_bytes;
    gateway->out = json_out_new(false);
    if (open_parts(gateway, code, err) != 0) {
        gateway_close(gateway);
        return NULL;
    }
    gateway->figures = harness_timer(harness, on_figures, gateway);
    timer_in_ms(gateway->figures, 0);
    harness_status(harness, "ingest at %s, status at %s", gateway->settings->http_ingest_listen,
                   gateway->settings->http_status_listen);
    return gateway;
}

static void gateway_record(void *self, const struct msg *record)
{
    struct gateway *gateway = self;

    news_record(gateway->news, record);
}

static void gateway_reload(void *self, const struct settings *before)
{
    struct gateway *gateway = self;

    (void)before;
    tokens_stale(&gateway->tokens);
    tokens_stale(&gateway->status_token);
}

static void gateway_drain(void *self, mono_t deadline)
{
    struct gateway *gateway = self;

    (void)deadline;
    gateway->leaving = true;
    stop_taking(gateway, "told to leave");
    if (gateway->status != NULL)
        http_quiesce(gateway->status);
    timer_in_ms(gateway->figures, 0);
}

const struct worker worker = {
    .name = "gateway",
    .open = gateway_open,
    .record = gateway_record,
    .reload = gateway_reload,
    .drain = gateway_drain,
    .close = gateway_close,
};
