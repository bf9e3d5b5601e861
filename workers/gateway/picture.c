/*
 * picture.c - everything that is known of this instance at one moment.  See picture.h.
 *
 * A slot's page is there as long as its supervisor is; what the supervisor says of the worker in it is
 * known only while it answers.  Owns the tree of the report and the list of models, for one answer.
 * If we die on any line nothing outside has changed.
 */
#include "workers/gateway/picture.h"

#include "common/base/clock.h"
#include "common/harness/build.h"
#include "workers/gateway/news.h"

#include <stdlib.h>
#include <string.h>

static void take_row(struct exposition_worker *worker, const struct news *news)
{
    for (unsigned i = 0; i < news->count; i++) {
        const struct msg_snapshot_row *row = &news->worker[i].row;

        if (row->index != worker->index || strcmp(row->worker, worker->name) != 0)
            continue;
        worker->known = true;
        worker->ready = strcmp(row->state, "READY") == 0;
        worker->restarts = row->restarts;
    }
}

static void take_workers(struct picture *picture, const struct gateway *gateway)
{
    const struct settings *settings = harness_settings(gateway->harness);
    unsigned row;

    for (unsigned slot = 0; slot < harness_pages(gateway->harness) && slot < ROSTER_SLOTS_MAX; slot++) {
        struct exposition_worker *worker = &picture->worker[picture->shown.workers];

        if (!roster_slot(settings, slot, &row, &worker->index))
            continue;
        worker->name = roster_table[row].name;
        worker->is_lane = strcmp(worker->name, "aggregator") == 0;
        worker->page = harness_page(gateway->harness, slot);
        if (picture->shown.supervisor)
            take_row(worker, gateway->news);
        picture->shown.workers++;
    }
}

static void take_model(struct exposition_model *model, const struct json_tree *from)
{
    const struct json_tree *name = json_member(from, "name"), *healthy = json_member(from, "healthy");
    const struct json_tree *cost = json_member(from, "cost_usd_total");

    model->name = name != NULL && name->text != NULL ? name->text : "";
    model->known = healthy != NULL && healthy->kind != JSON_NULL;
    model->healthy = healthy != NULL && healthy->kind == JSON_TRUE;
    model->checks = json_integer(json_member(from, "checks_total"), 0);
    model->failures = json_integer(json_member(from, "failures_total"), 0);
    model->latency_ms = json_integer(json_member(from, "latency_ms"), -1);
    model->cost_usd = cost != NULL && cost->text != NULL ? cost->text : "0";
}

static void take_models(struct picture *picture)
{
    const struct json_tree *models = json_member(picture->report, "models");
    size_t count = 0;

    for (const struct json_tree *at = models != NULL ? models->first : NULL; at != NULL; at = at->next)
        count++;
    if (count == 0)
        return;
    picture->model = calloc(count, sizeof *picture->model);
    if (picture->model == NULL)
        bug("no memory for %zu models", count);
    for (const struct json_tree *at = models->first; at != NULL; at = at->next)
        take_model(&picture->model[picture->shown.models++], at);
    picture->shown.model = picture->model;
}

void picture_take(struct picture *picture, const struct gateway *gateway)
{
    const struct news *news = gateway->news;
    struct err err;

    memset(picture, 0, sizeof *picture);
    picture->shown = (struct exposition){.litellm = gateway->settings->litellm_adopt,
                                         .version = build_version,
                                         .build = build_id,
                                         .instance = gateway->settings->instance,
                                         .now_ms = wall_now().micros / 1000,
                                         .supervisor = news_alive(news, mono_now()),
                                         .started_ms = news->whole.started_ms,
                                         .draining = news->draining,
                                         .database_open = news->whole.database_open,
                                         .worker = picture->worker};
    take_workers(picture, gateway);
    if (news->report != NULL)
        picture->report = json_tree_read(news->report, news->report_bytes, &err);
    take_models(picture);
}

void picture_drop(struct picture *picture)
{
    json_tree_free(&picture->report);
    free(picture->model);
    picture->model = NULL;
}

int64_t picture_sum(const struct picture *picture, enum metric metric)
{
    int64_t sum = 0;

    for (size_t i = 0; i < picture->shown.workers; i++)
        sum += stats_get(picture->worker[i].page, metric);
    return sum;
}

void picture_histogram(const struct picture *picture, enum histogram_id id, struct histogram *sum)
{
    for (size_t i = 0; i < picture->shown.workers; i++)
        stats_histogram(picture->worker[i].page, id, sum);
}
