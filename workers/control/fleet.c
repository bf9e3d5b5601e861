/*
 * fleet.c - the answer to "fleet": every instance on this Redis, as it has told there itself.
 *
 *   {"instances": [{"instance", "last_seen_ms", "silent_s", "version", "build", "unapplied_segments",
 *     "unapplied_bytes", "oldest_unapplied_s", "lock_held"}]}
 *
 * redis_writer beats into the hash `instances` (script `beat`).  What stands there was written by others:
 * it is looked at word by word, and what is no beat is shown as a name alone.
 * Owns one question at a time for each asker; if we die on any line, the asker asks again.
 */
#include "workers/control/control.h"

#include "common/base/clock.h"
#include "common/json/json_put.h"
#include "common/redis/redis.h"
#include "workers/control/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INSTANCES_MAX 1000

struct fleet {
    struct control *control;
    struct route route;
    int64_t now_ms; /* by the clock of Redis */
};

/* "<seen ms> <version> <build> <segments> <bytes> <oldest s, -1: none> <lock 0|1>" */
static void write_beat(struct json_out *out, const struct fleet *fleet, const char *text)
{
    long long seen = 0, segments = 0, bytes = 0, oldest = -1;
    char version[33] = "", build[49] = "";
    int lock = 0, taken = sscanf(text, "%lld %32s %48s %lld %lld %lld %d", &seen, version, build,
                                 &segments, &bytes, &oldest, &lock);
    int64_t silent_s = (fleet->now_ms - seen) / 1000;

    if (taken < 7)
        return;
    json_put_number(out, "last_seen_ms", seen);
    json_put_number(out, "silent_s", silent_s > 0 ? silent_s : 0);
    json_put_text(out, "version", version);
    json_put_text(out, "build", build);
    json_put_number(out, "unapplied_segments", segments);
    json_put_number(out, "unapplied_bytes", bytes);
    json_put_number_if(out, "oldest_unapplied_s", oldest >= 0, oldest);
    json_put_bool(out, "lock_held", lock != 0);
}

static void write_instance(struct json_out *out, const struct fleet *fleet, const struct redis_reply *name,
                           const struct redis_reply *beat)
{
    char text[256] = "";

    if (name->kind != REDIS_BYTES || beat->kind != REDIS_BYTES)
        return;
    if (beat->length < sizeof text)
        memcpy(text, beat->text, beat->length);
    json_object(out);
    json_key(out, "instance");
    json_bytes(out, name->text, name->length < 200 ? name->length : 200);
    write_beat(out, fleet, text);
    json_end(out);
}

static void on_instances(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct fleet *fleet = arg;
    struct json_out *out = fleet->control->out;

    if (reply == NULL || reply->kind != REDIS_ARRAY) {
        control_refuse(fleet->control, &fleet->route, 500, "Redis: %.200s",
                       reply != NULL && reply->text != NULL ? reply->text
                       : reason != NULL                     ? reason
                                                            : "no answer");
        free(fleet);
        return;
    }
    json_clear(out);
    json_object(out);
    json_key(out, "instances");
    json_array(out);
    for (size_t i = 0; i + 1 < reply->items && i < 2 * INSTANCES_MAX; i += 2)
        write_instance(out, fleet, &reply->item[i], &reply->item[i + 1]);
    json_end(out);
    json_end(out);
    control_answer(fleet->control, &fleet->route);
    free(fleet);
}

static void on_time(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct fleet *fleet = arg;

    (void)reason;
    if (reply != NULL && reply->kind == REDIS_ARRAY && reply->items == 2)
        fleet->now_ms = redis_item_number(reply, 0) * 1000 + redis_item_number(reply, 1) / 1000;
    else
        fleet->now_ms = wall_now().micros / 1000;
}

static void send(void *arg, struct redis *redis)
{
    struct fleet *fleet = arg;
    char key[80];
    const char *time[] = {"TIME"}, *all[] = {"HGETALL", key};

    snprintf(key, sizeof key, "%sinstances", harness_settings(fleet->control->harness)->redis_prefix);
    redis_command(redis, 1, time, NULL, on_time, fleet);
    redis_command(redis, 2, all, NULL, on_instances, fleet);
}

static void gone(void *arg, const char *why)
{
    struct fleet *fleet = arg;

    control_refuse(fleet->control, &fleet->route, 500, "Redis: %.200s", why);
    free(fleet);
}

void answer_fleet(struct control *control, const struct request *request)
{
    struct fleet *fleet = calloc(1, sizeof *fleet);
    struct err why;

    if (fleet == NULL)
        bug("out of memory");
    fleet->control = control;
    fleet->route = request->route;
    if (!queue_look_lend(status_look(control->status), send, gone, fleet, &why))
        gone(fleet, why.text);
}
