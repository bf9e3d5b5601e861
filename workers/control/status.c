/*
 * status.c - the answer to "status": asks the supervisor and Redis, adds the counters.  See
 * status.h.
 *
 * A question takes a place, sends its two asks and is answered when both came or its second is
 * over; an answer that comes later finds its ticket gone and is dropped.  Places are bounded, and
 * so is what one of them holds.  If we die on any line, the askers' own timeouts tell them.
 *
 * The answer, a contract for programs (members may be added, never renamed):
 *   {"instance": "...", "version": "...", "build": "...", "started_ms": 0, "draining": false,
 *    "drain_left_ms": null,
 *    "supervisor": {"known": true, "why": ""},
 *    "gate": {"database": {"open": true, "why": "...", "known": true}},
 *    "queue": {"known": true, "why": "", "node": "127.0.0.1:6379", "length": 0, "bytes": 0},
 *    "lock": {"known": true, "why": "", "holder": null, "ttl_ms": null},
 *    "spool": {"bytes": 0, "unapplied_bytes": 0, "unapplied_segments": 0,
 *              "oldest_unapplied_s": null},
 *    "events": {"accepted": 0, "duplicate": 0, "rejected": 0, "unacked": 0, "counted": 0,
 *               "known": 0, "conflict": 0, "poison": 0, "dead": 0},
 *    "workers": [{"name", "index", "pid", "state", "restarts", "since_ms", "status", "why"}]}
 * started_ms and since_ms are wall time; a worker without a process has pid null; what is not known
 * ("known": false, with why) is null.  events count since the supervisor started; "known" there is the
 * number of events that PostgreSQL had counted before.
 */
#include "workers/control/status.h"

#include "common/base/clock.h"
#include "common/harness/build.h"
#include "common/json/json_put.h"
#include "workers/control/control.h"
#include "workers/control/figures.h"
#include "workers/control/queue_look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 16
#define ROWS_MAX 40
#define DEADLINE_MS 1000

struct place {
    struct status *status;
    bool used;
    uint32_t ticket;
    struct route route;
    struct timer *deadline;
    bool snapshot_known, queue_done;
    struct msg_snapshot_end snapshot;
    struct queue_figures queue;
    size_t rows;
    struct msg_snapshot_row row[ROWS_MAX];
};

struct status {
    struct harness *harness;
    status_fn *answer;
    void *arg;
    struct queue_look *look;
    struct json_out *out;
    uint32_t ticket; /* the last one given out */
    struct place place[PLACES];
};

/* --- writing
 * ---------------------------------------------------------------------------------------- */
static void open_member(struct json_out *out, const char *key, bool known, const char *why)
{
    json_key(out, key);
    json_object(out);
    json_put_bool(out, "known", known);
    json_put_text(out, "why", why);
}

static void write_queue(struct json_out *out, const struct queue_figures *queue)
{
    open_member(out, "queue", queue->known, queue->why);
    json_key(out, "node");
    if (queue->known)
        json_string(out, queue->node);
    else
        json_null(out);
    json_put_number_if(out, "length", queue->known, queue->length);
    json_put_number_if(out, "bytes", queue->known && queue->bytes >= 0, queue->bytes);
    json_end(out);
    open_member(out, "lock", queue->known, queue->why);
    json_key(out, "holder");
    if (queue->known && queue->held)
        json_string(out, queue->holder);
    else
        json_null(out);
    json_put_number_if(out, "ttl_ms", queue->known && queue->held && queue->ttl_ms >= 0, queue->ttl_ms);
    json_end(out);
}

static void write_spool(struct json_out *out, const struct harness *harness)
{
    int64_t oldest_ms = figures_least(harness, METRIC_spool_oldest_unapplied_ms);
    int64_t age_s = (wall_now().micros / 1000 - oldest_ms) / 1000;

    json_key(out, "spool");
    json_object(out);
    json_put_number(out, "bytes", figures_sum(harness, METRIC_spool_bytes));
    json_put_number(out, "unapplied_bytes", figures_sum(harness, METRIC_spool_unapplied_bytes));
    json_put_number(out, "unapplied_segments", figures_sum(harness, METRIC_spool_unapplied_segments));
    json_put_number_if(out, "oldest_unapplied_s", oldest_ms > 0, age_s > 0 ? age_s : 0);
    json_end(out);
}

static void write_events(struct json_out *out, const struct harness *harness)
{
    static const struct {
        const char *key;
        enum metric metric;
    } events[] = {
        {"accepted", METRIC_events_accepted_total}, {"duplicate", METRIC_events_duplicate_total},
        {"rejected", METRIC_events_rejected_total}, {"unacked", METRIC_events_unacked_total},
        {"counted", METRIC_events_counted_total},   {"known", METRIC_events_known_total},
        {"conflict", METRIC_events_conflict_total}, {"poison", METRIC_events_poison_total},
        {"dead", METRIC_events_dead_total},
    };

    json_key(out, "events");
    json_object(out);
    for (size_t i = 0; i < COUNT_OF(events); i++)
        json_put_number(out, events[i].key, figures_sum(harness, events[i].metric));
    json_end(out);
}

static void write_worker(struct json_out *out, const struct msg_snapshot_row *row)
{
    json_object(out);
    json_put_text(out, "name", row->worker);
    json_put_number(out, "index", row->index);
    json_put_number_if(out, "pid", row->pid > 0, row->pid);
    json_put_text(out, "state", row->state);
    json_put_number(out, "restarts", row->restarts);
    json_put_number(out, "since_ms", row->since_ms);
    json_put_text(out, "status", row->status);
    json_put_text(out, "why", row->why);
    json_end(out);
}

static void write_supervision(struct json_out *out, const struct place *place)
{
    bool known = place->snapshot_known;

    json_put_number_if(out, "started_ms", known, place->snapshot.started_ms);
    json_put_bool_if(out, "draining", known, place->snapshot.draining);
    json_put_number_if(out, "drain_left_ms", known && place->snapshot.draining,
                       place->snapshot.drain_left_ms);
    open_member(out, "supervisor", known, known ? "" : "no answer from the supervisor within 1 s");
    json_end(out);
    json_key(out, "gate");
    json_object(out);
    json_key(out, "database");
    json_object(out);
    json_put_bool_if(out, "open", known, place->snapshot.database_open);
    json_put_text(out, "why",
                known ? place->snapshot.database_why : "the supervisor does not answer");
    json_put_bool(out, "known", known);
    json_end(out);
    json_end(out);
}

static void write_answer(const struct place *place)
{
    const struct harness *harness = place->status->harness;
    struct json_out *out = place->status->out;

    json_clear(out);
    json_object(out);
    json_put_text(out, "instance", harness_settings(harness)->instance);
    json_put_text(out, "version", build_version);
    json_put_text(out, "build", build_id);
    write_supervision(out, place);
    write_queue(out, &place->queue);
    write_spool(out, harness);
    write_events(out, harness);
    json_key(out, "workers");
    json_array(out);
    for (size_t i = 0; i < place->rows; i++)
        write_worker(out, &place->row[i]);
    json_end(out);
    json_end(out);
}

/* --- a question's life
 * ------------------------------------------------------------------------------ */
static void finish(struct place *place)
{
    size_t length;
    const char *json;

    timer_stop(place->deadline);
    write_answer(place);
    json = json_text(place->status->out, &length);
    place->used = false;
    place->status->answer(place->status->arg, &place->route, json, length);
}

static void finish_if_whole(struct place *place)
{
    if (place->snapshot_known && place->queue_done)
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
    place->queue = *figures;
    place->queue_done = true;
    finish_if_whole(place);
}

void status_record(struct status *status, const struct msg *record)
{
    struct place *place;

    if (record->kind == MSG_snapshot_row) {
        place = place_of(status, record->snapshot_row.ticket);
        if (place != NULL && place->rows < ROWS_MAX)
            place->row[place->rows++] = record->snapshot_row;
    } else if (record->kind == MSG_snapshot_end) {
        place = place_of(status, record->snapshot_end.ticket);
        if (place == NULL)
            return;
        place->snapshot = record->snapshot_end;
        place->snapshot_known = true;
        finish_if_whole(place);
    }
}

static void begin(struct place *place, uint32_t ticket, const struct route *route)
{
    struct status *status = place->status;
    const struct msg ask = {.kind = MSG_snapshot_ask, .snapshot_ask = {.ticket = ticket}};
    struct err why;

    place->used = true;
    place->ticket = ticket;
    place->route = *route;
    place->rows = 0;
    place->snapshot_known = place->queue_done = false;
    place->queue = (struct queue_figures){.why = "no answer from Redis within 1 s"};
    timer_in_ms(place->deadline, DEADLINE_MS);
    harness_report(status->harness, &ask);
    if (!queue_look_ask(status->look, ticket, &why)) {
        snprintf(place->queue.why, sizeof place->queue.why, "%.200s", why.text);
        place->queue_done = true;
    }
}

bool status_ask(struct status *status, const struct route *route)
{
    for (size_t i = 0; i < PLACES; i++) {
        if (status->place[i].used)
            continue;
        begin(&status->place[i], ++status->ticket, route);
        return true;
    }
    return false;
}

struct status *status_new(struct harness *harness, status_fn *answer, void *arg, struct err *err)
{
    struct status *status = calloc(1, sizeof *status);

    if (status == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    status->harness = harness;
    status->answer = answer;
    status->arg = arg;
    status->out = json_out_new(false);
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
    json_out_free(&(*status)->out);
    free(*status);
    *status = NULL;
}

void answer_status(struct control *control, const struct request *request)
{
    if (!status_ask(control->status, &request->route))
        control_refuse(control, &request->route, 409, "too many questions at once, ask again");
}
