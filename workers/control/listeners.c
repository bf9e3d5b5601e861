/*
 * listeners.c - the answer to `events`.  See listeners.h.
 *
 * An item is one change, flat:
 *   {"at_ms": 0, "kind": "worker", "name": "redis_writer", "generation": 2, "pid": 17, "before": "STARTING",
 *    "after": "READY", "why": ""}
 * kind: worker, gate, daemon (DRAINING; RELOADED or, where something was, REFUSED), or stream (the first
 * item: the stream has begun);
 * and while nothing changes {"progress": {"waited_s": 7}} says about once a second that somebody is there,
 * so that a dead daemon and a quiet one are told apart, and a listener that has left is noticed: the one
 * sign of that is that nothing can be sent to it.  Nothing is kept: who does not read misses, and loses
 * its place.  Places are bounded.  If we die on any line the streams end without a word.
 */
#include "workers/control/listeners.h"

#include "common/json/json_put.h"

#include <stdlib.h>

#define PLACES 16
#define PROGRESS_MS 1000

struct listener {
    bool used;
    struct route route;
    mono_t since;
};

struct listeners {
    struct control *control;
    struct timer *progress;
    struct json_out *out;
    struct listener listener[PLACES];
};

/* What stands in `out`, to one.  Who cannot be told is no listener any more. */
static void tell(struct listeners *listeners, struct listener *listener, int code)
{
    size_t length;
    const char *json = json_text(listeners->out, &length);

    if (listener->used && !control_reply(listeners->control, &listener->route, code, json, length))
        listener->used = false;
}

static void write_event(struct json_out *out, const struct msg_event *event)
{
    json_clear(out);
    json_object(out);
    json_put_number(out, "at_ms", event->at_ms);
    json_put_text(out, "kind", event->kind);
    json_put_text(out, "name", event->name);
    json_put_number(out, "generation", event->generation);
    json_put_number_if(out, "pid", event->pid > 0, event->pid);
    json_put_text(out, "before", event->before);
    json_put_text(out, "after", event->after);
    json_put_text(out, "why", event->why);
    json_end(out);
}

void listeners_record(struct listeners *listeners, const struct msg *record)
{
    if (record->kind != MSG_event)
        return;
    write_event(listeners->out, &record->event);
    for (size_t i = 0; i < PLACES; i++)
        tell(listeners, &listeners->listener[i], 102);
}

static void on_progress(void *arg)
{
    struct listeners *listeners = arg;
    mono_t now = mono_now();

    for (size_t i = 0; i < PLACES; i++) {
        struct listener *listener = &listeners->listener[i];

        if (!listener->used)
            continue;
        json_clear(listeners->out);
        json_object(listeners->out);
        json_key(listeners->out, "progress");
        json_object(listeners->out);
        json_put_number(listeners->out, "waited_s", mono_ms_between(listener->since, now) / 1000);
        json_end(listeners->out);
        json_end(listeners->out);
        tell(listeners, listener, 102);
    }
    timer_in_ms(listeners->progress, PROGRESS_MS);
}

void listeners_end(struct listeners *listeners)
{
    json_clear(listeners->out);
    json_object(listeners->out);
    json_put_text(listeners->out, "text", "control leaves");
    json_end(listeners->out);
    for (size_t i = 0; i < PLACES; i++) {
        tell(listeners, &listeners->listener[i], 200);
        listeners->listener[i].used = false;
    }
}

void answer_events(struct control *control, const struct request *request)
{
    struct listeners *listeners = control->listeners;
    struct msg_event begun = {.at_ms = wall_now().micros / 1000,
                              .kind = "stream",
                              .name = "events",
                              .generation = harness_generation(control->harness),
                              .after = "BEGUN"};

    for (size_t i = 0; i < PLACES; i++) {
        struct listener *listener = &listeners->listener[i];

        if (listener->used)
            continue;
        *listener = (struct listener){.used = true, .route = request->route, .since = mono_now()};
        write_event(listeners->out, &begun);
        tell(listeners, listener, 102);
        return;
    }
    control_refuse(control, &request->route, 409, "%d listen already", PLACES);
}

struct listeners *listeners_new(struct control *control)
{
    struct listeners *listeners = calloc(1, sizeof *listeners);

    if (listeners == NULL)
        return NULL;
    listeners->control = control;
    listeners->out = json_out_new(false);
    listeners->progress = harness_timer(control->harness, on_progress, listeners);
    timer_in_ms(listeners->progress, PROGRESS_MS);
    return listeners;
}

void listeners_free(struct listeners **listeners)
{
    if (*listeners == NULL)
        return;
    harness_untimer(&(*listeners)->progress);
    json_out_free(&(*listeners)->out);
    free(*listeners);
    *listeners = NULL;
}
