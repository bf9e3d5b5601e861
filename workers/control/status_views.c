/*
 * status_views.c - the answers to "status", and to the words that show a part of it: workers, queues, lock,
 * health.
 *
 * The answer, a contract for programs (members may be added, never renamed):
 *   {"instance": "...", "version": "...", "build": "...", "started_ms": 0, "draining": false,
 *    "drain_left_ms": null,
 *    "supervisor": {"known": true, "why": ""},
 *    "gate": {"database": {"open": true, "why": "...", "known": true}},
 *    "queue": {"known": true, "why": "", "node": "127.0.0.1:6379", "length": 0, "bytes": 0, "aside": 0},
 *    "lock": {"known": true, "why": "", "holder": null, "ttl_ms": null},
 *    "spool": {"bytes": 0, "unapplied_bytes": 0, "unapplied_segments": 0,
 *              "oldest_unapplied_s": null},
 *    "events": {"accepted": 0, "duplicate": 0, "rejected": 0, "unacked": 0, "counted": 0,
 *               "known": 0, "conflict": 0, "poison": 0, "dead": 0},
 *    "litellm": {"adopt": true, "held_here": true, "oldest_claim_s": null, "lists": {"spend": 0, ...},
 *                "pod_locks": [{"job": "db_spend_update_job", "holder": null, "ttl_ms": null}]},
 *    "paused": [{"what": "flush", "scope": "instance", "until_ms": null, "who": "..."}],
 *    "workers": [{"name", "index", "pid", "state", "restarts", "since_ms", "status", "why"}]}
 * started_ms and since_ms are wall time; a worker without a process has pid null; what is not known
 * ("known": false, with why) is null.  events count since the supervisor started; "known" there is the
 * number of events that PostgreSQL had counted before.
 * litellm: its lists' lengths as the flusher last saw them, null where it does not adopt them; "held_here": this
 * instance has both pod locks.
 * scope: this instance or the fleet; until_ms null: until it is resumed.
 *
 *   workers  {"workers"}
 *   queues   {"queue", "spool", "lanes": [{"lane", "bytes", "unapplied_bytes", "unapplied_segments",
 *            "oldest_unapplied_s"}]}
 *   lock     {"lock", "held_here", "litellm", "paused"}
 *   health   {"ready", "why", "database", "database_why", "redis", "redis_why", "paused",
 *            "checks": {"known", "why"}, "models": [...], "stores": [...]}   checks.c
 * Owns nothing; if we die on any line, the asker asks again.
 */
#include "workers/control/status.h"

#include "common/base/clock.h"
#include "common/harness/build.h"
#include "common/harness/roster.h"
#include "common/json/json_put.h"
#include "workers/control/checks.h"
#include "workers/control/figures.h"
#include "workers/control/pauses.h"

#include <stdio.h>
#include <string.h>

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
    json_put_text(out, "node", queue->known ? queue->node : NULL);
    json_put_number_if(out, "length", queue->known, queue->length);
    json_put_number_if(out, "bytes", queue->known && queue->bytes >= 0, queue->bytes);
    json_put_number_if(out, "aside", queue->known, queue->aside);
    json_end(out);
}

static void write_lock(struct json_out *out, const struct queue_figures *queue)
{
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

static void write_supervision(struct json_out *out, const struct status_seen *seen)
{
    bool known = seen->supervisor;

    json_put_number_if(out, "started_ms", known, seen->snapshot.started_ms);
    json_put_bool_if(out, "draining", known, seen->snapshot.draining);
    json_put_number_if(out, "drain_left_ms", known && seen->snapshot.draining,
                       seen->snapshot.drain_left_ms);
    open_member(out, "supervisor", known, known ? "" : "no answer from the supervisor within 1 s");
    json_end(out);
    json_key(out, "gate");
    json_object(out);
    json_key(out, "database");
    json_object(out);
    json_put_bool_if(out, "open", known, seen->snapshot.database_open);
    json_put_text(out, "why",
                known ? seen->snapshot.database_why : "the supervisor does not answer");
    json_put_bool(out, "known", known);
    json_end(out);
    json_end(out);
}

static void write_workers(struct json_out *out, const struct status_seen *seen)
{
    json_key(out, "workers");
    json_array(out);
    for (size_t i = 0; i < seen->rows; i++)
        write_worker(out, &seen->row[i]);
    json_end(out);
}

static void write_lane(struct json_out *out, const struct stats_page *page, unsigned lane)
{
    int64_t oldest_ms = stats_get(page, METRIC_spool_oldest_unapplied_ms);
    int64_t age_s = (wall_now().micros / 1000 - oldest_ms) / 1000;

    json_object(out);
    json_put_number(out, "lane", lane);
    json_put_number(out, "bytes", stats_get(page, METRIC_spool_bytes));
    json_put_number(out, "unapplied_bytes", stats_get(page, METRIC_spool_unapplied_bytes));
    json_put_number(out, "unapplied_segments", stats_get(page, METRIC_spool_unapplied_segments));
    json_put_number_if(out, "oldest_unapplied_s", oldest_ms > 0, age_s > 0 ? age_s : 0);
    json_end(out);
}

static void write_lanes(struct json_out *out, const struct harness *harness)
{
    unsigned row, index;

    json_key(out, "lanes");
    json_array(out);
    for (unsigned slot = 0; slot < harness_pages(harness); slot++)
        if (roster_slot(harness_settings(harness), slot, &row, &index) &&
            strcmp(roster_table[row].name, "aggregator") == 0)
            write_lane(out, harness_page(harness, slot), index);
    json_end(out);
}

const char *status_unready(const struct status_seen *seen, char *text, size_t size)
{
    if (!seen->supervisor)
        return "the supervisor does not answer";
    if (seen->snapshot.draining)
        return "spendd is draining";
    for (size_t i = 0; i < seen->rows; i++) {
        const struct msg_snapshot_row *row = &seen->row[i];
        int found = roster_find(row->worker);
        bool gated = found >= 0 && roster_table[found].gate != GATE_NONE;

        /* Behind a closed gate it is held, or on its way there. */
        if (strcmp(row->state, "READY") == 0 ||
            (gated && (!seen->snapshot.database_open || strcmp(row->state, "HELD") == 0)))
            continue;
        snprintf(text, size, "%s.%u is %s", row->worker, row->index, row->state);
        return text;
    }
    return NULL;
}

/* --- the views ------------------------------------------------------------------------------------ */

static struct json_out *begin(struct control *control)
{
    json_clear(control->out);
    json_object(control->out);
    return control->out;
}

static void end(struct control *control, const struct route *route)
{
    json_end(control->out);
    control_answer(control, route);
}

static void show_status(void *arg, const struct route *route, const struct status_seen *seen)
{
    struct control *control = arg;
    struct json_out *out = begin(control);

    json_put_text(out, "instance", harness_settings(control->harness)->instance);
    json_put_text(out, "version", build_version);
    json_put_text(out, "build", build_id);
    write_supervision(out, seen);
    write_queue(out, &seen->queue);
    write_lock(out, &seen->queue);
    write_spool(out, control->harness);
    write_events(out, control->harness);
    status_litellm(out, control->harness, &seen->queue);
    pauses_write(control, &seen->queue, out);
    write_workers(out, seen);
    end(control, route);
}

static void show_workers(void *arg, const struct route *route, const struct status_seen *seen)
{
    if (!seen->supervisor) {
        control_refuse(arg, route, 500, "the supervisor does not answer");
        return;
    }
    write_workers(begin(arg), seen);
    end(arg, route);
}

static void show_queues(void *arg, const struct route *route, const struct status_seen *seen)
{
    struct control *control = arg;
    struct json_out *out = begin(control);

    write_queue(out, &seen->queue);
    write_spool(out, control->harness);
    write_lanes(out, control->harness);
    end(control, route);
}

static void show_lock(void *arg, const struct route *route, const struct status_seen *seen)
{
    struct control *control = arg;
    struct json_out *out = begin(control);

    write_lock(out, &seen->queue);
    json_put_bool(out, "held_here", figures_sum(control->harness, METRIC_lock_held) > 0);
    status_litellm(out, control->harness, &seen->queue);
    pauses_write(control, &seen->queue, out);
    end(control, route);
}

static void show_health(void *arg, const struct route *route, const struct status_seen *seen)
{
    struct control *control = arg;
    struct json_out *out = begin(control);
    char text[80];
    const char *why = status_unready(seen, text, sizeof text);

    json_put_bool(out, "ready", why == NULL);
    json_put_text(out, "why", why != NULL ? why : "");
    json_put_bool_if(out, "database", seen->supervisor, seen->snapshot.database_open);
    json_put_text(out, "database_why", seen->supervisor ? seen->snapshot.database_why : "");
    json_put_bool(out, "redis", seen->queue.known);
    json_put_text(out, "redis_why", seen->queue.why);
    heard_checks_write(control->checks, out);
    pauses_write(control, &seen->queue, out);
    end(control, route);
}

static void ask(struct control *control, const struct request *request, status_fn *show)
{
    if (!status_ask(control->status, &request->route, show, control))
        control_refuse(control, &request->route, 409, "too many questions at once, ask again");
}

void answer_status(struct control *control, const struct request *request)
{
    ask(control, request, show_status);
}

void answer_workers(struct control *control, const struct request *request)
{
    ask(control, request, show_workers);
}

void answer_queues(struct control *control, const struct request *request)
{
    ask(control, request, show_queues);
}

void answer_lock(struct control *control, const struct request *request)
{
    ask(control, request, show_lock);
}

void answer_health(struct control *control, const struct request *request)
{
    ask(control, request, show_health);
}
