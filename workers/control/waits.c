/*
 * waits.c - wait and flush: the answer comes when something has become true.  See waits.h.
 *
 *   wait database   the gate is open: PostgreSQL can be written to
 *   wait redis      Redis answers
 *   wait ready      every worker that nothing holds back is ready
 *   wait drained    PostgreSQL has every event that was acknowledged, as far as this spool knows
 *   flush           the open segments are sealed now; --wait: and everything that was acknowledged before
 *                   this question is in PostgreSQL, whoever has flushed it
 *
 * A wait looks again and again, a flush is one errand for each aggregator: the spool knows what is applied.
 * Each asker has a place, and is told once a second that it is still waited for; others are served meanwhile.
 * A place whose asker takes nothing any more is given up.  If we die on any line, an asker that wants to
 * know asks our successor; a fence that was asked for is not needed by anybody else.
 */
#include "workers/control/waits.h"

#include "common/admin/words.h"
#include "common/base/clock.h"
#include "common/json/json_put.h"
#include "workers/control/gather.h"
#include "workers/control/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 32
#define LOOK_MS 100
#define ALIVE_MS 1000
#define WAIT_MS 60000
#define LOST_MS 10000

struct place;

struct condition {
    const char *word;
    void (*look)(struct place *place); /* ends in `seen` */
};

struct place {
    struct control *control;
    bool used, looking, flush;
    struct route route;
    const struct condition *condition;
    struct gather *gather;
    struct timer *timer;
    mono_t began, deadline, said;
    char why[200]; /* it is not true yet */
};

struct waits {
    struct place place[PLACES];
};

static void end(struct place *place)
{
    timer_stop(place->timer);
    gather_drop(&place->gather);
    place->used = false;
}

static void begin_answer(struct place *place)
{
    json_clear(place->control->out);
    json_object(place->control->out);
}

static void answer(struct place *place)
{
    json_put_number(place->control->out, "waited_ms", mono_ms_between(place->began, mono_now()));
    json_end(place->control->out);
    control_answer(place->control, &place->route);
    end(place);
}

/* What a look has found. */
static void seen(struct place *place, bool true_now, const char *why)
{
    place->looking = false;
    snprintf(place->why, sizeof place->why, "%s", why);
    if (!place->used || !true_now)
        return;
    begin_answer(place);
    json_put_text(place->control->out, "waited_for", place->condition->word);
    answer(place);
}

/* --- the conditions ------------------------------------------------------------------------------- */

static void on_seen(void *arg, const struct route *route, const struct status_seen *status)
{
    struct place *place = arg;
    const char *word = place->used && place->condition != NULL ? place->condition->word : "";
    char text[80];
    const char *unready;

    (void)route;
    if (strcmp(word, "database") == 0) {
        seen(place, status->supervisor && status->snapshot.database_open,
             status->supervisor ? status->snapshot.database_why : "the supervisor does not answer");
    } else if (strcmp(word, "redis") == 0) {
        seen(place, status->queue.known, status->queue.why);
    } else {
        unready = status_unready(status, text, sizeof text);
        seen(place, unready == NULL, unready != NULL ? unready : "");
    }
}

static void look_status(struct place *place)
{
    if (!status_ask(place->control->status, &place->route, on_seen, place))
        place->looking = false; /* the next look */
}

static void on_backlog(void *arg, int64_t segments, int64_t bytes, const char *why)
{
    struct place *place = arg;
    char text[80];

    place->gather = NULL;
    snprintf(text, sizeof text, "%lld segments and %lld bytes of open ones are not in PostgreSQL",
             (long long)segments, (long long)bytes);
    seen(place, why == NULL && segments == 0 && bytes == 0, why != NULL ? why : text);
}

static void look_backlog(struct place *place)
{
    const char *const words[] = {"backlog"};
    struct err err;

    place->gather = gather_ask(place->control, 1, words, on_backlog, place, &err);
    if (place->gather == NULL)
        seen(place, false, err.text);
}

static const struct condition conditions[] = {{"database", look_status},
                                              {"redis", look_status},
                                              {"ready", look_status},
                                              {"drained", look_backlog}};

/* --- waiting -------------------------------------------------------------------------------------- */

static bool say_alive(struct place *place)
{
    const char *json;
    size_t length;

    begin_answer(place);
    json_key(place->control->out, "progress");
    json_object(place->control->out);
    json_put_number(place->control->out, "waited_s", mono_ms_between(place->began, mono_now()) / 1000);
    json_put_text(place->control->out, "why", place->why);
    json_end(place->control->out);
    json_end(place->control->out);
    json = json_text(place->control->out, &length);
    return control_reply(place->control, &place->route, 102, json, length);
}

static void on_timer(void *arg)
{
    struct place *place = arg;
    mono_t now = mono_now();

    if (mono_reached(now, place->deadline)) {
        control_refuse(place->control, &place->route, 408, "not within %lld ms: %s",
                       (long long)mono_ms_between(place->began, now), place->why);
        end(place);
        return;
    }
    if (mono_ms_between(place->said, now) >= ALIVE_MS && say_alive(place))
        place->said = now;
    if (mono_ms_between(place->said, now) > LOST_MS) {
        end(place);
        return;
    }
    timer_in_ms(place->timer, LOOK_MS);
    if (!place->flush && !place->looking) {
        place->looking = true;
        place->condition->look(place);
    }
}

static struct place *take_place(struct control *control, const struct request *request)
{
    struct place *place = NULL;

    /* One whose look is still under way is not given to another asker. */
    for (size_t i = 0; i < PLACES && place == NULL; i++)
        if (!control->waits->place[i].used && !control->waits->place[i].looking)
            place = &control->waits->place[i];
    if (place == NULL) {
        control_refuse(control, &request->route, 409, "too many wait already, ask again");
        return NULL;
    }
    place->used = true;
    place->flush = false;
    place->condition = NULL;
    place->route = request->route;
    place->began = place->said = mono_now();
    place->deadline = mono_never();
    snprintf(place->why, sizeof place->why, "it is not known yet");
    return place;
}

/* One plain word; an option for a time, and a flag.  Either may be NULL. */
static int read_words(const struct request *request, const char **plain, const char **time, bool *flag,
                      struct err *err)
{
    const char *words[REQUEST_WORDS_MAX], *others[REQUEST_WORDS_MAX];
    const struct words_option timed = {"--timeout", time, NULL}, flagged = {"--wait", NULL, flag};
    size_t count;

    for (size_t i = 1; i < request->count; i++)
        words[i - 1] = request->word[i];
    if (words_read(request->count - 1, words, time != NULL ? &timed : &flagged, 1, others, &count, err) != 0)
        return -1;
    if (count > 1 || (plain == NULL && count > 0))
        return err_set(err, "what is \"%.60s\"?", others[count - 1]);
    if (plain != NULL)
        *plain = count == 1 ? others[0] : "";
    return 0;
}

void answer_wait(struct control *control, const struct request *request)
{
    const struct condition *condition = NULL;
    const char *word, *time = NULL;
    int64_t ms = WAIT_MS;
    struct place *place;
    struct err err;

    if (read_words(request, &word, &time, NULL, &err) != 0 ||
        (time != NULL && duration_read(time, &ms, &err) != 0)) {
        control_refuse(control, &request->route, 400, "%s", err.text);
        return;
    }
    for (size_t i = 0; i < COUNT_OF(conditions); i++)
        if (strcmp(conditions[i].word, word) == 0)
            condition = &conditions[i];
    if (condition == NULL) {
        control_refuse(control, &request->route, 400, "wait for database, redis, ready or drained");
        return;
    }
    place = take_place(control, request);
    if (place == NULL)
        return;
    place->condition = condition;
    place->deadline = mono_after_ms(mono_now(), ms);
    place->looking = true;
    timer_in_ms(place->timer, LOOK_MS);
    condition->look(place);
}

/* --- flush ---------------------------------------------------------------------------------------- */

static void on_flushed(void *arg, int64_t segments, int64_t bytes, const char *why)
{
    struct place *place = arg;

    (void)bytes;
    place->gather = NULL;
    if (why != NULL) {
        control_refuse(place->control, &place->route, 500, "%s", why);
        end(place);
        return;
    }
    begin_answer(place);
    json_put_bool(place->control->out, "flushed", place->flush && segments == 0);
    json_put_number(place->control->out, "unapplied_segments", segments);
    answer(place);
}

void answer_flush(struct control *control, const struct request *request)
{
    const char *words[] = {"flush", "--wait"};
    bool wait = false;
    struct place *place;
    struct err err;

    if (read_words(request, NULL, NULL, &wait, &err) != 0) {
        control_refuse(control, &request->route, 400, "%s", err.text);
        return;
    }
    place = take_place(control, request);
    if (place == NULL)
        return;
    place->flush = true;
    snprintf(place->why, sizeof place->why, "segments are on their way");
    timer_in_ms(place->timer, LOOK_MS);
    place->gather = gather_ask(control, wait ? 2 : 1, words, on_flushed, place, &err);
    if (place->gather == NULL) {
        control_refuse(control, &request->route, 409, "%s", err.text);
        end(place);
    }
}

struct waits *waits_new(struct control *control)
{
    struct waits *waits = calloc(1, sizeof *waits);

    if (waits == NULL)
        bug("out of memory");
    for (size_t i = 0; i < PLACES; i++) {
        waits->place[i].control = control;
        waits->place[i].timer = harness_timer(control->harness, on_timer, &waits->place[i]);
    }
    return waits;
}

void waits_free(struct waits **waits)
{
    if (*waits == NULL)
        return;
    for (size_t i = 0; i < PLACES; i++) {
        end(&(*waits)->place[i]);
        harness_untimer(&(*waits)->place[i].timer);
    }
    free(*waits);
    *waits = NULL;
}
