/*
 * news.c - how the workers and the stores are.  See news.h.
 *
 * Owns a picture that is at most a second old, and what it was told between two of them: the supervisor says what
 * changes as it changes (HEARS_ALL), and is asked for all of it then.  So nobody who asks for our health
 * waits for anything.  An aggregator that is READY may still refuse (spool full, paused): its page says so.
 * If we die on any line nothing outside has changed.
 */
#include "workers/gateway/news.h"

#include "common/stats/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MS 1000
#define SOON_MS 20 /* several changes come together */
#define AGGREGATOR "aggregator"

static void on_ask(void *arg)
{
    struct news *news = arg;
    const struct msg ask = {.kind = MSG_snapshot_ask, .snapshot_ask = {.ticket = ++news->ticket}};

    news->coming = 0;
    harness_report(news->harness, &ask);
    timer_in_ms(news->ask, ASK_MS);
}

/* --- the snapshot ------------------------------------------------------------------------------------- */

static void take_whole(struct news *news, const struct msg_snapshot_end *end)
{
    for (unsigned i = 0; i < news->coming; i++)
        news->worker[i].row = news->next[i];
    news->count = news->coming;
    news->whole = *end;
    news->known = true;
    news->draining = news->draining || end->draining;
    news->heard_at = mono_now();
    news->changed(news->arg);
}

/* --- what changes ------------------------------------------------------------------------------------- */

static struct news_worker *find(struct news *news, const char *name)
{
    char full[48];

    for (unsigned i = 0; i < news->count; i++) {
        const struct msg_snapshot_row *row = &news->worker[i].row;

        snprintf(full, sizeof full, "%s.%u", row->worker, row->index);
        if (strcmp(name, full) == 0 || (row->index == 0 && strcmp(name, row->worker) == 0))
            return &news->worker[i];
    }
    return NULL;
}

static bool is_error(const char *state)
{
    return strcmp(state, "BACKOFF") == 0 || strcmp(state, "FAILED") == 0;
}

static void take_event(struct news *news, const struct msg_event *event)
{
    struct news_worker *worker = strcmp(event->kind, "worker") == 0 ? find(news, event->name) : NULL;

    if (worker != NULL) {
        memcpy(worker->row.state, event->after, sizeof worker->row.state);
        worker->row.since_ms = event->at_ms;
        worker->row.pid = event->pid;
        memcpy(worker->row.why, event->why, sizeof worker->row.why);
        if (is_error(event->after)) {
            worker->error_ms = event->at_ms;
            memcpy(worker->error, event->why, sizeof worker->error);
        }
        news->changed(news->arg);
    }
    if (strcmp(event->kind, "gate") == 0)
        news->gate_ms = event->at_ms;
    if (strcmp(event->kind, "daemon") == 0 && strcmp(event->after, "DRAINING") == 0) {
        news->draining = true;
        news->changed(news->arg);
    }
    timer_in_ms(news->ask, SOON_MS);
}

void news_record(struct news *news, const struct msg *record)
{
    if (record->kind == MSG_snapshot_row && record->snapshot_row.ticket == news->ticket) {
        if (news->coming < ROSTER_SLOTS_MAX)
            news->next[news->coming++] = record->snapshot_row;
    } else if (record->kind == MSG_snapshot_end && record->snapshot_end.ticket == news->ticket) {
        take_whole(news, &record->snapshot_end);
    } else if (record->kind == MSG_event) {
        take_event(news, &record->event);
    }
}

void news_report(struct news *news, const char *json, size_t bytes)
{
    char *copy = malloc(bytes + 1);

    if (copy == NULL)
        bug("no memory for a report of %zu bytes", bytes);
    memcpy(copy, json, bytes);
    copy[bytes] = '\0';
    free(news->report);
    news->report = copy;
    news->report_bytes = bytes;
}

/* --- what follows from it ----------------------------------------------------------------------------- */

bool news_alive(const struct news *news, mono_t now)
{
    int64_t most = 2 * harness_settings(news->harness)->supervisor_hang_ms;

    return news->known && !mono_reached(now, mono_after_ms(news->heard_at, most));
}

static bool refuses(const struct news *news, unsigned index)
{
    const struct settings *settings = harness_settings(news->harness);
    unsigned row, at;

    for (unsigned slot = 0; slot < harness_pages(news->harness); slot++)
        if (roster_slot(settings, slot, &row, &at) && at == index && strcmp(roster_table[row].name, AGGREGATOR) == 0)
            return stats_get(harness_page(news->harness, slot), METRIC_ingest_refusing) != 0;
    return false;
}

const char *news_unready(const struct news *news, mono_t now, char *text, size_t size)
{
    snprintf(text, size, "there is no aggregator");
    if (!news->known)
        return "the supervisor has not answered yet";
    if (!news_alive(news, now))
        return "the supervisor does not answer";
    if (news->draining)
        return "spendd is draining";
    for (unsigned i = 0; i < news->count; i++) {
        const struct msg_snapshot_row *row = &news->worker[i].row;

        if (strcmp(row->worker, AGGREGATOR) != 0)
            continue;
        if (strcmp(row->state, "READY") != 0)
            snprintf(text, size, "%s.%u is %s", row->worker, row->index, row->state);
        else if (refuses(news, row->index))
            snprintf(text, size, "%s.%u refuses: %s", row->worker, row->index, row->status);
        else
            return NULL; /* one that takes events is enough */
    }
    return text;
}

struct news *news_open(struct harness *harness, void (*changed)(void *arg), void *arg)
{
    struct news *news = calloc(1, sizeof *news);

    if (news == NULL)
        bug("no memory");
    news->harness = harness;
    news->changed = changed;
    news->arg = arg;
    news->ask = harness_timer(harness, on_ask, news);
    timer_in_ms(news->ask, 0);
    return news;
}

void news_close(struct news **news)
{
    if (*news == NULL)
        return;
    harness_untimer(&(*news)->ask);
    free((*news)->report);
    free(*news);
    *news = NULL;
}
