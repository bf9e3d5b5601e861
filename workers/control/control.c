/*
 * control.c - answers the operator on the admin socket (design.md 4.6), so that the supervisor
 * stays free of ZeroMQ and of strangers.
 *
 * A request is ["spendctl/1", command, argument...], an answer [status, json]:
 *   200 done, 400 not in the protocol or wrong arguments, 404 no such command, 409 not now
 * and what is no 200 says why: {"error": "..."}.  Commands are the rows of commands.def: each has a
 * function here, and a row without one does not compile.
 *
 *   status   see status.c, where its JSON stands
 *   stats    {"metrics": [{"name", "kind", "total", "workers": {"aggregator.0": 12}}]}
 *   config   {"view": "control", "settings": [{"name", "value", "apply"}]}; secrets are masked
 *   version  {"version", "build"}
 *
 * Owns the admin socket, a Redis connection that is opened when somebody asks, and no record of
 * spend. Never waits: several askers are served while one's answer is on its way.  If we die on any
 * line, an asker gets no answer and asks again; nothing else knows that we were gone.
 */
#include "common/admin/admin_client.h"
#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/harness/build.h"
#include "common/harness/harness.h"
#include "common/harness/roster.h"
#include "common/json/json.h"
#include "workers/control/figures.h"
#include "workers/control/request.h"
#include "workers/control/status.h"

#include <stdlib.h>
#include <string.h>

#define REQUEST_BYTES_MAX 65536
#define REQUESTS_QUEUED 256
#define SOCKET_MODE 0660
#define NAME "control"
#define MASK "********"

struct control {
    struct harness *harness;
    struct bus *bus;
    struct bus_socket *socket;
    struct status *status;
    struct json_out *out;
};

/* --- answering -----------------------------------------------------------------------------------
 */
static void reply(struct control *control, const struct route *route, const char *status,
                  const char *json, size_t length)
{
    struct bus_frame frames[ROUTE_FRAMES_MAX + 2];
    size_t count = 0;

    if (route->count == 0)
        return; /* nobody to tell */
    for (; count < route->count; count++)
        frames[count] = (struct bus_frame){route->frame[count].data, route->frame[count].bytes};
    frames[count++] = (struct bus_frame){status, strlen(status)};
    frames[count++] = (struct bus_frame){json, length};
    if (bus_send(control->socket, frames, count) != 0)
        log_debug("answer_dropped", "status=%s reason=\"the asker has left\"", status);
}

static void refuse(struct control *control, const struct route *route, const char *status,
                   const char *why)
{
    const char *json;
    size_t length;

    stats_add(harness_stats(control->harness), METRIC_admin_refused_total, 1);
    json_clear(control->out);
    json_object(control->out);
    json_key(control->out, "error");
    json_string(control->out, why);
    json_end(control->out);
    json = json_text(control->out, &length);
    reply(control, route, status, json, length);
}

static void reply_out(struct control *control, const struct request *request)
{
    size_t length;
    const char *json = json_text(control->out, &length);

    reply(control, &request->route, "200", json, length);
}

static void on_status(void *arg, const struct route *route, const char *json, size_t length)
{
    reply(arg, route, "200", json, length);
}

/* --- the commands: one function for each row of commands.def
 * --------------------------------------- */
static void answer_status(struct control *control, const struct request *request)
{
    if (!status_ask(control->status, &request->route))
        refuse(control, &request->route, "409", "too many questions at once, ask again");
}

static void answer_stats(struct control *control, const struct request *request)
{
    json_clear(control->out);
    figures_write(control->harness, control->out);
    reply_out(control, request);
}

static void write_setting(struct json_out *out, const struct settings *settings,
                          const struct setting *setting)
{
    static const char *const applies[] = {
        [APPLY_LIVE] = "live", [APPLY_WORKER] = "worker", [APPLY_FULL] = "full"};
    char value[1100];

    settings_get(settings, setting, value, sizeof value);
    json_object(out);
    json_key(out, "name");
    json_string(out, setting->path);
    json_key(out, "value");
    json_string(out, setting->kind == SETTING_SECRET && value[0] != '\0' ? MASK : value);
    json_key(out, "apply");
    json_string(out, applies[setting->apply]);
    json_end(out);
}

static void answer_config(struct control *control, const struct request *request)
{
    int row = roster_find(NAME);

    json_clear(control->out);
    json_object(control->out);
    json_key(control->out, "view");
    json_string(control->out, NAME);
    json_key(control->out, "settings");
    json_array(control->out);
    for (size_t i = 0; i < settings_count; i++)
        if (row >= 0 && setting_read_by(&settings_table[i], (unsigned)row))
            write_setting(control->out, harness_settings(control->harness), &settings_table[i]);
    json_end(control->out);
    json_end(control->out);
    reply_out(control, request);
}

static void answer_version(struct control *control, const struct request *request)
{
    json_clear(control->out);
    json_object(control->out);
    json_key(control->out, "version");
    json_string(control->out, build_version);
    json_key(control->out, "build");
    json_string(control->out, build_id);
    json_end(control->out);
    reply_out(control, request);
}

static const struct command {
    const char *name, *arguments;
    void (*answer)(struct control *control, const struct request *request);
} commands[] = {
#define COMMAND(name, arguments, help) {#name, arguments, answer_##name},
#include "common/admin/commands.def"
#undef COMMAND
};

/* --- the socket
 * ------------------------------------------------------------------------------------ */
static void dispatch(struct control *control, const struct request *request)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (strcmp(request->word[0], commands[i].name) != 0)
            continue;
        if (commands[i].arguments[0] == '\0' && request->count > 1)
            refuse(control, &request->route, "400", "this command takes no arguments");
        else
            commands[i].answer(control, request);
        return;
    }
    refuse(control, &request->route, "404", "no such command");
}

static void on_message(void *arg, struct bus_socket *socket, const struct bus_frame *frames,
                       size_t count)
{
    struct control *control = arg;
    struct request request;
    struct err err;

    (void)socket;
    stats_add(harness_stats(control->harness), METRIC_admin_requests_total, 1);
    if (request_read(&request, frames, count, &err) != 0)
        refuse(control, &request.route, "400", err.text);
    else
        dispatch(control, &request);
}

/* --- the worker
 * ------------------------------------------------------------------------------------ */
static void control_close(void *self)
{
    struct control *control = self;

    status_free(&control->status);
    if (control->bus != NULL) {
        bus_drop(&control->socket);
        bus_close(&control->bus, 0);
    }
    json_out_free(&control->out);
    free(control);
}

static int open_parts(struct control *control, struct err *err)
{
    const struct settings *settings = harness_settings(control->harness);
    const struct bus_limits limits = {.max_message_bytes = REQUEST_BYTES_MAX,
                                      .high_water = REQUESTS_QUEUED,
                                      .socket_mode = SOCKET_MODE};

    control->out = json_out_new(false);
    control->status = status_new(control->harness, on_status, control, err);
    if (control->status == NULL)
        return -1;
    control->bus = bus_open(control->harness, settings->runtime_dir, err);
    if (control->bus == NULL)
        return -1;
    control->socket = bus_bind(control->bus, BUS_ROUTER, settings->admin_listen, &limits,
                               on_message, control, err);
    return control->socket != NULL ? 0 : -1;
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

    status_record(control->status, record);
}

const struct worker worker = {
    .name = NAME,
    .open = control_open,
    .record = control_record,
    .close = control_close,
};
