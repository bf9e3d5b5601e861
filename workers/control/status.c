/*
 * status.c - how everything is at this moment: asks the supervisor and Redis.  See status.h.
 *
 * A question takes a place, sends its two asks and is answered when both came or its second is
 * over; an answer that comes later finds its ticket gone and is dropped.  Places are bounded, and
 * so is what one of them holds.  If we die on any line, the askers' own timeouts tell them.
 */
#include "workers/control/status.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 16
#define DEADLINE_MS 1000

struct place {
    struct status *status;
    bool used;
    uint32_t ticket;
    struct route route;
    status_fn *take;
    void *arg;
    struct timer *deadline;
    bool queue_done;
    struct status_seen seen;
};

struct status {
    struct harness *harness;
    struct queue_look *look;
    uint32_t ticket; /* the last one given out */
    struct place place[PLACES];
};

static void finish(struct place *place)
{
    timer_stop(place->deadline);
    place->used = false; /* `take` may ask again; what it is given stays until it returns */
    place->take(place->arg, &place->route, &place->seen);
}

static void finish_if_whole(struct place *place)
{
    if (place->seen.supervisor && place->queue_done)
        finish(place);
}

static void on_deadline(void *arg)
{
    finish(arg);
}

static struct place *place_of(struct status *status, uint32_t ticket)
{
    for (size_t i = 0; i < PLACES; i++)
        if (status->place[i].used && status->place[i].ticket == ticket)
            return &status->place[i];
    return NULL;
}

static void on_queue(void *arg, uint32_t ticket, const struct queue_figures *figures)
{
    struct place *place = place_of(arg, ticket);

    if (place == NULL)
        return;
    place->seen.queue = *figures;
    place->queue_done = true;
    finish_if_whole(place);
}

void status_record(struct status *status, const struct msg *record)
{
    struct place *place;

    if (record->kind == MSG_snapshot_row) {
        place = place_of(status, record->snapshot_row.ticket);
        if (place != NULL && place->seen.rows < STATUS_ROWS_MAX)
            place->seen.row[place->seen.rows++] = record->snapshot_row;
    } else if (record->kind == MSG_snapshot_end) {
        place = place_of(status, record->snapshot_end.ticket);
        if (place == NULL)
            return;
        place->seen.snapshot = record->snapshot_end;
        place->seen.supervisor = true;
        finish_if_whole(place);
    }
}

static void begin(struct place *place, uint32_t ticket)
{
    struct status *status = place->status;
    const struct msg ask = {.kind = MSG_snapshot_ask, .snapshot_ask = {.ticket = ticket}};
    struct err why;

    place->used = true;
    place->ticket = ticket;
    place->seen.rows = 0;
    place->seen.supervisor = place->queue_done = false;
    place->seen.queue = (struct queue_figures){.why = "no answer from Redis within 1 s"};
    timer_in_ms(place->deadline, DEADLINE_MS);
    harness_report(status->harness, &ask);
    if (!queue_look_ask(status->look, ticket, &why)) {
        snprintf(place->seen.queue.why, sizeof place->seen.queue.why, "%.200s", why.text);
        place->queue_done = true;
    }
}

bool status_ask(struct status *status, const struct route *route, status_fn *take, void *arg)
{
    for (size_t i = 0; i < PLACES; i++) {
        struct place *place = &status->place[i];

        if (place->used)
            continue;
        place->route = *route;
        place->take = take;
        place->arg = arg;
        begin(place, ++status->ticket);
        return true;
    }
    return false;
}

struct queue_look *status_look(struct status *status)
{
    return status->look;
}

struct status *status_new(struct harness *harness, struct err *err)
{
    struct status *status = calloc(1, sizeof *status);

    if (status == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    status->harness = harness;
    for (size_t i = 0; i < PLACES; i++) {
        status->place[i].status = status;
        status->place[i].deadline = harness_timer(harness, on_deadline, &status->place[i]);
    }
    status->look = queue_look_new(harness, on_queue, status, err);
    if (status->look == NULL)
        status_free(&status);
    return status;
}

void status_free(struct status **status)
{
    if (*status == NULL)
        return;
    for (size_t i = 0; i < PLACES; i++)
        (*status)->place[i].used = false; /* what the door still answers finds no ticket */
    queue_look_free(&(*status)->look);
    for (size_t i = 0; i < PLACES; i++)
        harness_untimer(&(*status)->place[i].deadline);
    free(*status);
    *status = NULL;
}
