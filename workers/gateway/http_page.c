/*
 * http_page.c - the page to look at: GET /, its parts, and what it shows: GET /status.json.
 *
 * The page is static and says nothing of this instance, so it is open; its figures are under the token where
 * one is set, and the page asks for it.  Strict Content-Security-Policy: nothing from elsewhere, nothing
 * inline, in nobody's frame.  `http.page = false` takes all of it away (404), live.
 *
 *   {"at_ms", "instance", "version", "build", "started_ms", "draining", "supervisor", "ready", "why",
 *    "gate": {"open", "why"}, "lag_ms", "lock_held", "counters": {...}, "queue": {"batches", "bytes"},
 *    "spool": {"bytes", "unapplied_bytes", "unapplied_segments"},
 *    "lanes": [{"lane", "bytes", "unapplied_bytes", "unapplied_segments", "oldest_ms"}],
 *    "times": {name: {"bounds_us": [...], "cells": [...], "sum_us"}},
 *    "workers": [{"name", "index", "state", "since_ms", "restarts", "status", "why"}],
 *    "health": the health checker's document, or null}
 * Counters only grow while the supervisor lives: rates are the reader's business.  What is not known is null.
 * Owns nothing; if we die on any line, the asker asks again.
 */
#include "workers/gateway/picture.h"

#include "common/json/json_put.h"
#include "workers/gateway/news.h"
#include "workers/gateway/page_files.h"

#include <string.h>

#define POLICY                                                                                                        \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " \
    "form-action 'none'; frame-ancestors 'none'"

static bool is_off(struct gateway *gateway, struct request *request)
{
    if (!gateway->settings->http_page)
        http_refuse(request, 404, "the page is switched off (http.page)");
    return !gateway->settings->http_page;
}

static void guard(struct request *request)
{
    http_header(request, "Content-Security-Policy", POLICY);
    http_header(request, "X-Content-Type-Options", "nosniff");
    http_header(request, "Referrer-Policy", "no-referrer");
}

static void give(struct gateway *gateway, struct request *request, const char *type, const char *text)
{
    if (is_off(gateway, request))
        return;
    http_answer(request, 200, type, text, strlen(text));
    guard(request);
}

void handle_page(struct gateway *gateway, struct request *request)
{
    give(gateway, request, "text/html; charset=utf-8", page_html);
}

void handle_page_css(struct gateway *gateway, struct request *request)
{
    give(gateway, request, "text/css; charset=utf-8", page_css);
}

void handle_page_js(struct gateway *gateway, struct request *request)
{
    give(gateway, request, "text/javascript; charset=utf-8", page_js);
}

void handle_page_svg(struct gateway *gateway, struct request *request)
{
    give(gateway, request, "image/svg+xml", page_svg);
}

/* --- what it shows ------------------------------------------------------------------------------------ */

static void put_supervision(struct json_out *out, const struct picture *picture, const struct news *news)
{
    const struct exposition *shown = &picture->shown;
    char text[400];
    const char *why = news_unready(news, mono_now(), text, sizeof text);

    json_put_number(out, "at_ms", shown->now_ms);
    json_put_text(out, "instance", shown->instance);
    json_put_text(out, "version", shown->version);
    json_put_text(out, "build", shown->build);
    json_put_number_if(out, "started_ms", news->known, shown->started_ms);
    json_put_bool(out, "draining", shown->draining);
    json_put_bool(out, "supervisor", shown->supervisor);
    json_put_bool(out, "ready", why == NULL);
    json_put_text(out, "why", why != NULL ? why : "");
    json_key(out, "gate");
    json_object(out);
    json_put_bool_if(out, "open", shown->supervisor, shown->database_open);
    json_put_text(out, "why", shown->supervisor ? news->whole.database_why : "the supervisor does not answer");
    json_end(out);
}

static void put_counters(struct json_out *out, const struct picture *picture)
{
    static const struct {
        const char *key;
        enum metric metric;
    } counters[] = {
        {"accepted", METRIC_events_accepted_total},   {"duplicate", METRIC_events_duplicate_total},
        {"rejected", METRIC_events_rejected_total},   {"backpressure", METRIC_messages_backpressure_total},
        {"pushed", METRIC_batches_pushed_total},      {"applied", METRIC_batches_applied_total},
        {"flushes", METRIC_flushes_total},            {"failures", METRIC_flush_failures_total},
        {"counted", METRIC_events_counted_total},     {"known", METRIC_events_known_total},
        {"conflict", METRIC_events_conflict_total},   {"poison", METRIC_events_poison_total},
        {"dead", METRIC_events_dead_total},           {"rows", METRIC_rows_written_total},
    };

    json_key(out, "counters");
    json_object(out);
    for (size_t i = 0; i < COUNT_OF(counters); i++)
        json_put_number(out, counters[i].key, picture_sum(picture, counters[i].metric));
    json_end(out);
}

static void put_stocks(struct json_out *out, const struct picture *picture)
{
    json_put_number(out, "lag_ms", exposition_lag_ms(&picture->shown));
    json_put_bool(out, "lock_held", picture_sum(picture, METRIC_lock_held) > 0);
    json_key(out, "queue");
    json_object(out);
    json_put_number(out, "batches", picture_sum(picture, METRIC_queue_batches));
    json_put_number(out, "bytes", picture_sum(picture, METRIC_queue_bytes));
    json_end(out);
    json_key(out, "spool");
    json_object(out);
    json_put_number(out, "bytes", picture_sum(picture, METRIC_spool_bytes));
    json_put_number(out, "unapplied_bytes", picture_sum(picture, METRIC_spool_unapplied_bytes));
    json_put_number(out, "unapplied_segments", picture_sum(picture, METRIC_spool_unapplied_segments));
    json_end(out);
}

static void put_lanes(struct json_out *out, const struct picture *picture)
{
    json_key(out, "lanes");
    json_array(out);
    for (size_t i = 0; i < picture->shown.workers; i++) {
        const struct exposition_worker *worker = &picture->worker[i];

        if (!worker->is_lane)
            continue;
        json_object(out);
        json_put_number(out, "lane", worker->index);
        json_put_number(out, "bytes", stats_get(worker->page, METRIC_spool_bytes));
        json_put_number(out, "unapplied_bytes", stats_get(worker->page, METRIC_spool_unapplied_bytes));
        json_put_number(out, "unapplied_segments", stats_get(worker->page, METRIC_spool_unapplied_segments));
        json_put_number(out, "oldest_ms", stats_get(worker->page, METRIC_spool_oldest_unapplied_ms));
        json_end(out);
    }
    json_end(out);
}

static void put_numbers(struct json_out *out, const char *key, const int64_t *number, size_t count)
{
    json_key(out, key);
    json_array(out);
    for (size_t i = 0; i < count; i++)
        json_number(out, number[i]);
    json_end(out);
}

static void put_times(struct json_out *out, const struct picture *picture)
{
    json_key(out, "times");
    json_object(out);
    for (int id = 0; id < HISTOGRAMS; id++) {
        const struct histogram_info *info = &histograms_table[id];
        struct histogram seen = {.sum_us = 0};

        picture_histogram(picture, (enum histogram_id)id, &seen);
        json_key(out, info->name);
        json_object(out);
        put_numbers(out, "bounds_us", info->bounds, info->count);
        put_numbers(out, "cells", seen.cell, info->count + 1);
        json_put_number(out, "sum_us", seen.sum_us);
        json_end(out);
    }
    json_end(out);
}

static void put_workers(struct json_out *out, const struct news *news)
{
    json_key(out, "workers");
    json_array(out);
    for (unsigned i = 0; i < news->count; i++) {
        const struct msg_snapshot_row *row = &news->worker[i].row;

        json_object(out);
        json_put_text(out, "name", row->worker);
        json_put_number(out, "index", row->index);
        json_put_text(out, "state", row->state);
        json_put_number(out, "since_ms", row->since_ms);
        json_put_number(out, "restarts", row->restarts);
        json_put_text(out, "status", row->status);
        json_put_text(out, "why", row->why);
        json_end(out);
    }
    json_end(out);
}

void handle_status_json(struct gateway *gateway, struct request *request)
{
    const struct news *news = gateway->news;
    struct json_out *out = gateway->out;
    struct picture picture;

    if (is_off(gateway, request))
        return;
    picture_take(&picture, gateway);
    json_clear(out);
    json_object(out);
    put_supervision(out, &picture, news);
    put_counters(out, &picture);
    put_stocks(out, &picture);
    put_lanes(out, &picture);
    put_times(out, &picture);
    put_workers(out, news);
    json_key(out, "health");
    if (picture.report != NULL)
        json_raw(out, news->report, news->report_bytes); /* it is JSON: the tree was made of it */
    else
        json_null(out);
    json_end(out);
    gateway_answer(gateway, request, 200);
    guard(request);
    picture_drop(&picture);
}
