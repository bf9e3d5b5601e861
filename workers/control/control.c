/*
 * control.c - answers the operator on the admin socket, so that the supervisor
 * stays free of ZeroMQ and of strangers.
 *
 * A request is ["spendctl/1", command, argument...], an answer [status, json]:
 *   200 done, 102 an item of a stream (a 200 or a refusal ends it), 400 not in the protocol or wrong
 *   arguments, 404 no such thing, 408 waited in vain, 409 not now, 500 failed
 * and what is no 200 or 102 says why: {"error": "..."}.  Commands are the rows of commands.def: each has
 * a function in a file of this room (control.h), and a row without one does not link; what the supervisor
 * answers is passed on (orders.c).
 *
 * Owns the admin socket, a Redis connection that is opened when somebody asks, and no record of
 * spend. Never waits: several askers are served while one's answer is on its way.  If we die on any
 * line, an asker gets no answer and asks again; nothing else knows that we were gone.
 */
#include "workers/control/control.h"

#include "common/admin/admin_client.h"
#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/bus/bus_guard.h"
#include "common/json/json_put.h"
#include "workers/control/checks.h"
#include "workers/control/crowd.h"
#include "workers/control/listeners.h"
#include "workers/control/orders.h"
#include "workers/control/pauses.h"
#include "workers/control/relay.h"
#include "workers/control/status.h"
#include "workers/control/waits.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUEST_BYTES_MAX 65536
#define REQUESTS_QUEUED 256
#define SOCKET_MODE 0660

/* --- answering -----------------------------------------------------------------------------------
 */
bool control_reply(struct control *control, const struct route *route, int code, const char *json,
                   size_t length)
{
    struct bus_frame frames[ROUTE_FRAMES_MAX + 2];
    size_t count = 0;
    char status[12];

    if (route->count == 0)
        return false; /* nobody to tell */
    snprintf(status, sizeof status, "%03d", code);
    for (; count < route->count; count++)
        frames[count] = (struct bus_frame){route->frame[count].data, route->frame[count].bytes};
    frames[count++] = (struct bus_frame){status, strlen(status)};
    frames[count++] = (struct bus_frame){json, length};
    return bus_send(control->socket, frames, count) == 0;
}

void control_refuse(struct control *control, const struct route *route, int code, const char *format,
                    ...)
{
    char why[512];
    const char *json;
    size_t length;
    va_list ap;

    va_start(ap, format);
    vsnprintf(why, sizeof why, format, ap);
    va_end(ap);
    stats_add(harness_stats(control->harness), METRIC_admin_refused_total, 1);
    json_clear(control->out);
    json_object(control->out);
    json_put_text(control->out, "error", why);
    json_end(control->out);
    json = json_text(control->out, &length);
    if (!control_reply(control, route, code, json, length))
        log_debug("answer_dropped", "status=%d reason=\"the asker has left\"", code);
}

void control_answer(struct control *control, const struct route *route)
{
    size_t length;
    const char *json = json_text(control->out, &length);

    if (!control_reply(control, route, 200, json, length))
        log_debug("answer_dropped", "status=200 reason=\"the asker has left\"");
}

static bool on_order(void *arg, const struct route *route, int code, const char *json, size_t length)
{
    struct control *control = arg;

    if (code >= 300)
        stats_add(harness_stats(control->harness), METRIC_admin_refused_total, 1);
    if (control_reply(control, route, code, json, length))
        return true;
    log_debug("answer_dropped", "status=%d reason=\"the asker has left\"", code);
    return false;
}

/* Words that the supervisor answers. */
static void pass_order(struct control *control, const struct request *request)
{
    struct msg_order order = {0};
    struct err err;

    if (orders_words(&order, request, &err) < 0)
        control_refuse(control, &request->route, 400, "%s", err.text);
    else if (!orders_ask(control->orders, &request->route, &order))
        control_refuse(control, &request->route, 409, "too many orders at once, ask again");
}

static const struct command {
    const char *word, *arguments;
    size_t least, most;
    void (*answer)(struct control *control, const struct request *request);
} commands[] = {
#define COMMAND(id, word, least, most, arguments, help) {word, arguments, least, most, answer_##id},
#define ORDER(id, word, least, most, arguments, help) {word, arguments, least, most, pass_order},
#define TOOL(id, word, least, most, arguments, help)
#include "common/admin/commands.def"
#undef TOOL
#undef ORDER
#undef COMMAND
};

/* --- the socket
 * ------------------------------------------------------------------------------------ */
static void dispatch(struct control *control, const struct request *request)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        const struct command *command = &commands[i];

        if (strcmp(request->word[0], command->word) != 0)
            continue;
        if (command->most == 0 && request->count > 1)
            control_refuse(control, &request->route, 400, "this command takes no arguments");
        else if (request->count - 1 < command->least || request->count - 1 > command->most)
            control_refuse(control, &request->route, 400, "%s: its arguments are %s", command->word,
                           command->arguments);
        else
            command->answer(control, request);
        return;
    }
    control_refuse(control, &request->route, 404, "no such command");
}

static void on_message(void *arg, struct bus_socket *socket, const struct bus_frame *frames,
                       size_t count)
{
    struct control *control = arg;
    struct request request;
    struct err err;

    (void)socket;
    stats_add(harness_stats(control->harness), METRIC_admin_requests_total, 1);
    if (request_read(&request, frames, count, &err) == 0) {
        dispatch(control, &request);
        return;
    }
    stats_add(harness_stats(control->harness), METRIC_admin_malformed_total, 1);
    control_refuse(control, &request.route, 400, "%s", err.text);
}

/* --- the worker
 * ------------------------------------------------------------------------------------ */
static void control_close(void *self)
{
    struct control *control = self;

    status_free(&control->status);
    orders_free(&control->orders);
    listeners_free(&control->listeners);
    relays_free(&control->relays);
    waits_free(&control->waits);
    pauses_free(&control->pauses);
    crowd_free(&control->crowd);
    if (control->bus != NULL) {
        heard_checks_free(&control->checks);
        bus_drop(&control->socket);
        bus_close(&control->bus, 0);
    }
    json_out_free(&control->out);
    free(control);
}

static void on_guard(void *arg, bool bad, const char *event, const char *text)
{
    (void)arg;
    (bad ? log_warn : log_info)(event, "%s", text);
}

static int open_parts(struct control *control, struct err *err)
{
    const struct settings *settings = harness_settings(control->harness);
    const struct bus_limits limits = {.max_message_bytes = REQUEST_BYTES_MAX,
                                      .high_water = REQUESTS_QUEUED,
                                      .socket_mode = SOCKET_MODE};
    const struct bus_guard guard = {.certificate = settings->admin_curve_certificate,
                                    .clients = settings->admin_curve_clients,
                                    .tell = on_guard};

    control->out = json_out_new(false);
    control->relays = relays_new(control);
    control->pauses = pauses_new(control);
    control->waits = waits_new(control);
    control->status = status_new(control->harness, err);
    control->orders = orders_new(control->harness, on_order, control, err);
    control->listeners = listeners_new(control);
    if (control->status == NULL || control->orders == NULL)
        return -1;
    if (control->listeners == NULL)
        return err_set(err, "no memory");
    control->bus = bus_open(control->harness, settings->runtime_dir, err);
    if (control->bus == NULL)
        return -1;
    control->checks = heard_checks_new(control->bus, err);
    if (control->checks == NULL)
        return -1;
    if (settings->admin_curve_certificate[0] != '\0' && bus_guard(control->bus, &guard, err) != 0)
        return -1;
    control->socket = bus_bind(control->bus, BUS_ROUTER, settings->admin_listen, &limits,
                               on_message, control, err);
    if (control->socket == NULL)
        return -1;
    control->crowd = crowd_watch(control->harness, control->bus);
    return control->crowd != NULL ? 0 : err_set(err, "no memory");
}

static void *control_open(struct harness *harness, int *code, struct err *err)
{
    struct control *control = calloc(1, sizeof *control);

    *code = EXIT_TEMPORARY;
    if (control == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    control->harness = harness;
    if (open_parts(control, err) != 0) {
        control_close(control);
        return NULL;
    }
    harness_status(harness, "listens at %s", harness_settings(harness)->admin_listen);
    return control;
}

static void control_record(void *self, const struct msg *record)
{
    struct control *control = self;

    if (record->kind == MSG_gate && strcmp(record->gate.name, "database") == 0)
        snprintf(control->gate_why, sizeof control->gate_why, "%s",
                 record->gate.open ? "" : record->gate.why);
    pauses_record(control->pauses, record);
    status_record(control->status, record);
    orders_record(control->orders, record);
    listeners_record(control->listeners, record);
}

/* Last in the drain: who listens has heard everything. */
static void control_drain(void *self, mono_t deadline)
{
    struct control *control = self;

    (void)deadline;
    listeners_end(control->listeners);
    harness_leave(control->harness, EXIT_ASKED);
}

static void control_reload(void *self, const struct settings *before)
{
    struct control *control = self;

    (void)before;
    bus_guard_reload(control->bus);
}

const struct worker worker = {
    .name = "control",
    .open = control_open,
    .reload = control_reload,
    .record = control_record,
    .drain = control_drain,
    .close = control_close,
};
