/*
 * pauses.c - pause and resume.  See pauses.h.
 *
 *   pause flush|push|ingest [--for T]            this instance: an order to the supervisor, who keeps it
 *   pause flush|push|ingest --fleet [--for T]    every instance: a hold in Redis, with an end (1h)
 *   resume [flush|push|ingest] [--fleet]
 *
 * A pause of the fleet always ends by itself: whoever set it may be gone, and nobody would know why money
 * is not counted.  A pause of this instance ends by itself, by resume, or with a full restart.
 * Owns what the supervisor said last; if we die on any line, it says it again to our successor.
 */
#include "workers/control/pauses.h"

#include "common/admin/words.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/json/json_put.h"
#include "common/redis/redis.h"
#include "workers/control/orders.h"
#include "workers/control/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLEET_MS 3600000
#define FLEET_MOST_MS 86400000
#define HOLDING_MAX 4

struct pause {
    bool on;
    mono_t until; /* mono_never: until it is resumed */
    char who[80];
};

/* A hold on its way to Redis. */
struct holding {
    struct pauses *pauses;
    bool used;
    struct route route;
    unsigned waiting; /* answers of Redis */
    bool failed, resume;
    int first, last; /* of queue_look_holds */
    int64_t ms;
    char who[80];
};

struct pauses {
    struct control *control;
    struct pause pause[HOLDS];
    struct holding holding[HOLDING_MAX];
};

static int what_of(const char *word)
{
    for (int what = 0; what < HOLDS; what++)
        if (strcmp(queue_look_holds[what], word) == 0)
            return what;
    return -1;
}

void pauses_record(struct pauses *pauses, const struct msg *record)
{
    int what = record->kind == MSG_pause ? what_of(record->pause.what) : -1;
    struct pause *pause;

    if (what < 0)
        return;
    pause = &pauses->pause[what];
    pause->on = record->pause.left_ms != 0;
    pause->until = record->pause.left_ms < 0 ? mono_never()
                                             : mono_after_ms(mono_now(), record->pause.left_ms);
    snprintf(pause->who, sizeof pause->who, "%s", record->pause.who);
}

static void write_one(struct json_out *out, const char *what, const char *scope, int64_t left_ms,
                      const char *who)
{
    json_object(out);
    json_put_text(out, "what", what);
    json_put_text(out, "scope", scope);
    json_put_number_if(out, "until_ms", left_ms >= 0, wall_now().micros / 1000 + left_ms);
    json_put_text(out, "who", who);
    json_end(out);
}

void pauses_write(const struct control *control, const struct queue_figures *queue, struct json_out *out)
{
    const struct pauses *pauses = control->pauses;
    mono_t now = mono_now();

    json_key(out, "paused");
    json_array(out);
    for (int what = 0; what < HOLDS; what++) {
        const struct pause *pause = &pauses->pause[what];

        if (pause->on && !mono_reached(now, pause->until))
            write_one(out, queue_look_holds[what], "instance",
                      pause->until.micros == mono_never().micros
                          ? -1
                          : mono_ms_between(now, pause->until),
                      pause->who);
        if (queue->known && queue->hold[what].left_ms > 0)
            write_one(out, queue_look_holds[what], "fleet", queue->hold[what].left_ms,
                      queue->hold[what].who);
    }
    json_end(out);
}

/* --- the fleet ------------------------------------------------------------------------------------ */

static void say_done(struct control *control, const struct route *route, const char *text)
{
    json_clear(control->out);
    json_object(control->out);
    json_put_text(control->out, "text", text);
    json_end(control->out);
    control_answer(control, route);
}

static void on_held(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct holding *holding = arg;
    struct control *control = holding->pauses->control;

    holding->failed |= !redis_said(reply, "ok");
    if (--holding->waiting > 0)
        return;
    holding->used = false;
    if (holding->failed)
        control_refuse(control, &holding->route, 500, "Redis did not take it: %.200s",
                       reply != NULL && reply->kind == REDIS_ERROR ? reply->text
                       : reason != NULL                            ? reason
                                                                   : "it refused");
    else
        say_done(control, &holding->route, holding->resume ? "resumed in the fleet" : "paused in the fleet");
}

static void send_hold(void *arg, struct redis *redis)
{
    struct holding *holding = arg;
    char key[80], ms[24];

    snprintf(key, sizeof key, "%shold:0",
             harness_settings(holding->pauses->control->harness)->redis_prefix);
    snprintf(ms, sizeof ms, "%lld", (long long)holding->ms);
    holding->waiting = (unsigned)(holding->last - holding->first + 1);
    for (int what = holding->first; what <= holding->last; what++) {
        const char *words[] = {key, queue_look_holds[what], ms, holding->who};

        redis_script(redis, REDIS_hold, 4, words, NULL, on_held, holding);
    }
}

static void no_redis(void *arg, const char *why)
{
    struct holding *holding = arg;

    holding->used = false;
    control_refuse(holding->pauses->control, &holding->route, 500, "Redis: %.200s", why);
}

/* ms 0: no longer.  what -1: all. */
static void hold_fleet(struct control *control, const struct route *route, int what, int64_t ms,
                       const char *who)
{
    struct holding *holding = NULL;
    struct err why;

    for (size_t i = 0; i < HOLDING_MAX && holding == NULL; i++)
        if (!control->pauses->holding[i].used)
            holding = &control->pauses->holding[i];
    if (holding == NULL) {
        control_refuse(control, route, 409, "too many holds at once, ask again");
        return;
    }
    *holding = (struct holding){.pauses = control->pauses,
                                .used = true,
                                .route = *route,
                                .resume = ms == 0,
                                .first = what < 0 ? 0 : what,
                                .last = what < 0 ? HOLDS - 1 : what,
                                .ms = ms};
    snprintf(holding->who, sizeof holding->who, "%s", who);
    log_warn(ms > 0 ? "fleet_paused" : "fleet_resumed", "what=%s for_ms=%lld who=\"%s\"",
             what < 0 ? "all" : queue_look_holds[what], (long long)ms, who);
    if (!queue_look_lend(status_look(control->status), send_hold, no_redis, holding, &why))
        no_redis(holding, why.text);
}

/* --- the words ------------------------------------------------------------------------------------ */

struct asked {
    const char *what, *time, *who;
    bool fleet;
    int64_t ms; /* 0: no end was given */
};

static int read_words(struct asked *asked, const struct request *request, struct err *err)
{
    const char *words[REQUEST_WORDS_MAX], *plain[REQUEST_WORDS_MAX];
    const struct words_option options[] = {
        {"--for", &asked->time, NULL}, {"--by", &asked->who, NULL}, {"--fleet", NULL, &asked->fleet}};
    size_t others;

    for (size_t i = 1; i < request->count; i++)
        words[i - 1] = request->word[i];
    if (words_read(request->count - 1, words, options, COUNT_OF(options), plain, &others, err) != 0 ||
        (asked->time != NULL && duration_read(asked->time, &asked->ms, err) != 0))
        return -1;
    if (others > 1)
        return err_set(err, "one of flush, push and ingest at a time");
    asked->what = others == 1 ? plain[0] : NULL;
    if (asked->what != NULL && what_of(asked->what) < 0)
        return err_set(err, "\"%.40s\" is none of flush, push and ingest", asked->what);
    if (asked->who == NULL)
        asked->who = "somebody";
    if (strlen(asked->who) >= sizeof((struct pause *)0)->who)
        return err_set(err, "--by is too long");
    return 0;
}

static void order(struct control *control, const struct route *route, const struct asked *asked,
                  const char *verb)
{
    struct msg_order order = {0};

    snprintf(order.verb, sizeof order.verb, "%s", verb);
    snprintf(order.target, sizeof order.target, "%s", asked->what != NULL ? asked->what : "");
    if (strcmp(verb, "pause") == 0)
        snprintf(order.argument, sizeof order.argument, "%lld %s", (long long)asked->ms, asked->who);
    if (!orders_ask(control->orders, route, &order))
        control_refuse(control, route, 409, "too many orders at once, ask again");
}

void answer_pause(struct control *control, const struct request *request)
{
    struct asked asked = {0};
    struct err err;

    if (read_words(&asked, request, &err) != 0)
        control_refuse(control, &request->route, 400, "%s", err.text);
    else if (asked.what == NULL)
        control_refuse(control, &request->route, 400, "pause flush, push or ingest");
    else if (!asked.fleet)
        order(control, &request->route, &asked, "pause");
    else if (asked.ms > FLEET_MOST_MS)
        control_refuse(control, &request->route, 400, "the fleet is paused for a day at most");
    else
        hold_fleet(control, &request->route, what_of(asked.what), asked.ms > 0 ? asked.ms : FLEET_MS,
                   asked.who);
}

void answer_resume(struct control *control, const struct request *request)
{
    struct asked asked = {0};
    struct err err;

    if (read_words(&asked, request, &err) != 0)
        control_refuse(control, &request->route, 400, "%s", err.text);
    else if (asked.time != NULL)
        control_refuse(control, &request->route, 400, "what is resumed has no end");
    else if (asked.fleet)
        hold_fleet(control, &request->route, asked.what != NULL ? what_of(asked.what) : -1, 0, asked.who);
    else
        order(control, &request->route, &asked, "resume");
}

struct pauses *pauses_new(struct control *control)
{
    struct pauses *pauses = calloc(1, sizeof *pauses);

    if (pauses == NULL)
        bug("out of memory");
    pauses->control = control;
    return pauses;
}

void pauses_free(struct pauses **pauses)
{
    free(*pauses);
    *pauses = NULL;
}
