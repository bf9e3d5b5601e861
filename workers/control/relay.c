/*
 * relay.c - passes a request on to a worker, and its answers back.  See relay.h.
 *
 * Nothing is looked at on the way: the worker judges the words and writes the JSON.  While it works, the
 * asker is told once a second that it is still being worked on, so that the asker's own time limit means
 * "nobody is there" and not "it takes long".  An answer that the asker does not take yet is kept, and no
 * more is read from the worker meanwhile: a slow reader of a long list costs one item of memory.
 * An asker that takes nothing for LOST_MS has left: then the worker sees us leave, and stops.
 * If we die on any line, the worker sees the same.
 */
#include "workers/control/relay.h"

#include "common/errand/errand.h"
#include "common/json/json_put.h"

#include <stdlib.h>
#include <string.h>

#define RELAYS_MAX 16
#define ALIVE_MS 1000
#define RETRY_MS 20
#define LOST_MS 10000

struct relay {
    struct relays *relays;
    struct errand_ask *ask; /* NULL: free, or the final answer is kept below */
    bool used;
    struct route route;
    struct timer *timer;
    mono_t began, said; /* said: the asker took something then */
    int status;         /* of what is kept */
    char *kept;         /* an answer that was not taken yet; NULL: none */
    size_t length;
};

struct relays {
    struct control *control;
    struct relay relay[RELAYS_MAX];
};

static void end(struct relay *relay)
{
    timer_stop(relay->timer);
    errand_ask_drop(&relay->ask);
    free(relay->kept);
    relay->kept = NULL;
    relay->used = false;
}

static bool say(struct relay *relay, int status, const char *json, size_t length)
{
    if (!control_reply(relay->relays->control, &relay->route, status, json, length))
        return false;
    relay->said = mono_now();
    return true;
}

static void keep(struct relay *relay, int status, const char *json, size_t length)
{
    relay->kept = malloc(length + 1);
    if (relay->kept == NULL)
        bug("out of memory for an answer of %zu bytes", length);
    memcpy(relay->kept, json, length);
    relay->status = status;
    relay->length = length;
    if (relay->ask != NULL)
        errand_ask_pause(relay->ask, true);
    timer_in_ms(relay->timer, RETRY_MS);
}

static void on_answer(void *arg, int status, const char *json, size_t length)
{
    struct relay *relay = arg;

    if (status != ERRAND_ITEM)
        relay->ask = NULL; /* it is over */
    if (status == 0)
        status = 500;
    if (status >= 300)
        stats_add(harness_stats(relay->relays->control->harness), METRIC_admin_refused_total, 1);
    if (!say(relay, status, json, length))
        keep(relay, status, json, length);
    else if (status != ERRAND_ITEM)
        end(relay);
}

static void still_working(struct relay *relay)
{
    struct json_out *out = relay->relays->control->out;
    const char *json;
    size_t length;

    json_clear(out);
    json_object(out);
    json_key(out, "progress");
    json_object(out);
    json_put_number(out, "waited_s", mono_ms_between(relay->began, mono_now()) / 1000);
    json_end(out);
    json_end(out);
    json = json_text(out, &length);
    (void)say(relay, ERRAND_ITEM, json, length);
}

static void on_timer(void *arg)
{
    struct relay *relay = arg;
    mono_t now = mono_now();

    if (mono_ms_between(relay->said, now) > LOST_MS) {
        end(relay);
        return;
    }
    if (relay->kept == NULL) {
        if (mono_ms_between(relay->said, now) >= ALIVE_MS)
            still_working(relay);
        timer_in_ms(relay->timer, ALIVE_MS);
        return;
    }
    if (!say(relay, relay->status, relay->kept, relay->length)) {
        timer_in_ms(relay->timer, RETRY_MS);
        return;
    }
    free(relay->kept);
    relay->kept = NULL;
    if (relay->ask == NULL) {
        end(relay);
        return;
    }
    timer_in_ms(relay->timer, ALIVE_MS);
    errand_ask_pause(relay->ask, false);
}

static void ask(struct relays *relays, const struct request *request, const char *worker)
{
    struct control *control = relays->control;
    const char *words[REQUEST_WORDS_MAX];
    struct relay *relay = NULL;
    struct err err;

    for (size_t i = 0; i < RELAYS_MAX && relay == NULL; i++)
        if (!relays->relay[i].used)
            relay = &relays->relay[i];
    if (relay == NULL) {
        control_refuse(control, &request->route, 409, "too many questions at once, ask again");
        return;
    }
    for (size_t i = 0; i < request->count; i++)
        words[i] = request->word[i];
    relay->ask = errand_ask(control->harness, worker, 0, request->count, words, &err);
    if (relay->ask == NULL) {
        control_refuse(control, &request->route, 409, "%s%s%s", err.text,
                       control->gate_why[0] != '\0' ? ": the gate database is closed: " : "",
                       control->gate_why);
        return;
    }
    relay->used = true;
    relay->route = request->route;
    relay->began = relay->said = mono_now();
    errand_ask_answer(relay->ask, on_answer, relay);
    timer_in_ms(relay->timer, ALIVE_MS);
}

struct relays *relays_new(struct control *control)
{
    struct relays *relays = calloc(1, sizeof *relays);

    if (relays == NULL)
        bug("out of memory");
    relays->control = control;
    for (size_t i = 0; i < RELAYS_MAX; i++) {
        relays->relay[i].relays = relays;
        relays->relay[i].timer = harness_timer(control->harness, on_timer, &relays->relay[i]);
    }
    return relays;
}

void relays_free(struct relays **relays)
{
    if (*relays == NULL)
        return;
    for (size_t i = 0; i < RELAYS_MAX; i++) {
        end(&(*relays)->relay[i]);
        harness_untimer(&(*relays)->relay[i].timer);
    }
    free(*relays);
    *relays = NULL;
}

/* --- the words that one worker answers ------------------------------------------------------------ */

void answer_step_down(struct control *control, const struct request *request)
{
    ask(control->relays, request, "db_flusher");
}

void answer_dead(struct control *control, const struct request *request)
{
    ask(control->relays, request, "db_flusher");
}

void answer_audit(struct control *control, const struct request *request)
{
    ask(control->relays, request, "db_flusher");
}
