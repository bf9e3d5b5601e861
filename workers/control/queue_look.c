/*
 * queue_look.c - asks Redis what stands in it at this moment.  See queue_look.h.
 *
 * Only reads, and only plain commands: a question must never change what it looks at (the scripts
 * of scripts.def mend a lost state; that is the writers' business).  Questions that come before the
 * connection is up wait for it; a connection that cannot be made answers them with the reason. What
 * waits is bounded, so a frozen Redis costs nothing but the word "unknown".
 * If we die on any line, a question stays unanswered and the asker's own deadline says so.
 */
#include "workers/control/queue_look.h"

#include "common/harness/harness.h"
#include "common/redis/redis.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASKS_MAX 16
#define IDLE_MS 60000
#define BACKOFF_MAX_MS 1000 /* somebody waits: try again soon */

/* The last ones only where LiteLLM's lists are adopted: else the keys are none of our business. */
enum part {
    PART_META,
    PART_LENGTH,
    PART_HOLDER,
    PART_TTL,
    PART_ASIDE,
    PART_TIME,
    PART_HOLD,
    PARTS_OWN,
    PART_POD_HOLDER = PARTS_OWN, /* and then the other lock */
    PART_POD_TTL = PART_POD_HOLDER + LITELLM_LOCKS,
    PARTS = PART_POD_TTL + LITELLM_LOCKS
};

const char *const queue_look_holds[HOLDS] = {
    [HOLD_FLUSH] = "flush", [HOLD_PUSH] = "push", [HOLD_INGEST] = "ingest"};

/* One question under way. */
struct ask {
    struct queue_look *look;
    uint32_t ticket;
    bool used, sent;
    unsigned part, parts; /* answers of Redis: had, and altogether */
    int64_t now_ms; /* by the clock of Redis */
    queue_look_send_fn *send; /* the connection is lent; NULL: a question of ours */
    queue_look_gone_fn *gone;
    void *arg;
    struct queue_figures figures;
};

struct queue_look {
    struct harness *harness;
    queue_look_fn *answer;
    void *arg;
    struct redis *redis; /* NULL: closed */
    bool failed;         /* the last attempt to connect did */
    struct timer *idle;
    struct ask ask[ASKS_MAX];
    char meta[80], queue[80], lock[80], aside[80], hold[80], pod[LITELLM_LOCKS][LITELLM_KEY];
};

static void on_part(void *arg, const struct redis_reply *reply, const char *reason);

/* The first reason counts: what follows it is mostly its echo. */
static void unknown(struct queue_figures *figures, const char *why)
{
    if (figures->known)
        snprintf(figures->why, sizeof figures->why, "%s", why);
    figures->known = false;
}

static void finish(struct ask *ask)
{
    struct queue_figures figures = ask->figures;

    ask->used = false;
    ask->look->answer(ask->look->arg, ask->ticket, &figures);
}

/* --- reading the replies, in the order in which they were asked
 * -------------------------------- */
static void read_meta(struct ask *ask, const struct redis_reply *reply)
{
    struct queue_figures *figures = &ask->figures;

    figures->bytes = reply->kind == REDIS_ARRAY ? redis_item_number(reply, 0) : -1;
}

static void read_length(struct ask *ask, const struct redis_reply *reply)
{
    struct queue_figures *figures = &ask->figures;

    figures->length = reply->number;
    if (figures->length == 0 && figures->bytes < 0)
        figures->bytes = 0; /* nobody has pushed yet */
}

static bool take_holder(char holder[160], const struct redis_reply *reply)
{
    if (reply->kind != REDIS_BYTES)
        return false;
    snprintf(holder, 160, "%.*s", (int)(reply->length < 160 ? reply->length : 159), reply->text);
    return true;
}

static void read_holder(struct ask *ask, const struct redis_reply *reply)
{
    ask->figures.held = take_holder(ask->figures.holder, reply);
}

static void read_pod_holder(struct ask *ask, const struct redis_reply *reply)
{
    unsigned lock = ask->part - PART_POD_HOLDER;

    ask->figures.pod[lock].held = take_holder(ask->figures.pod[lock].holder, reply);
}

static void read_pod_ttl(struct ask *ask, const struct redis_reply *reply)
{
    unsigned lock = ask->part - PART_POD_TTL;

    ask->figures.pod[lock].ttl_ms = reply->number;
    if (reply->number == -2)
        ask->figures.pod[lock].held = false; /* it ran out between the two */
}

static void read_ttl(struct ask *ask, const struct redis_reply *reply)
{
    struct queue_figures *figures = &ask->figures;

    figures->ttl_ms = reply->number;
    if (figures->ttl_ms < 0)
        figures->held = figures->held && figures->ttl_ms == -1; /* -2: it ran out between the two */
}

static void read_aside(struct ask *ask, const struct redis_reply *reply)
{
    ask->figures.aside = reply->kind == REDIS_NUMBER ? reply->number : 0;
}

static void read_time(struct ask *ask, const struct redis_reply *reply)
{
    if (reply->kind == REDIS_ARRAY && reply->items == 2)
        ask->now_ms = redis_item_number(reply, 0) * 1000 + redis_item_number(reply, 1) / 1000;
}

/* "<ms of Redis' clock> <who>", as the script `hold` writes it. */
static void read_hold(struct ask *ask, const struct redis_reply *reply)
{
    for (size_t i = 0; reply->kind == REDIS_ARRAY && i < HOLDS && i < reply->items; i++) {
        const struct redis_reply *item = &reply->item[i];
        char text[120] = "", *who;

        if (item->kind != REDIS_BYTES || item->length >= sizeof text)
            continue;
        memcpy(text, item->text, item->length);
        ask->figures.hold[i].left_ms = strtoll(text, &who, 10) - ask->now_ms;
        if (ask->figures.hold[i].left_ms < 0)
            ask->figures.hold[i].left_ms = 0;
        snprintf(ask->figures.hold[i].who, sizeof ask->figures.hold[i].who, "%s",
                 *who == ' ' ? who + 1 : "");
    }
}

static void (*const readers[PARTS])(struct ask *, const struct redis_reply *) = {
    [PART_META] = read_meta,
    [PART_LENGTH] = read_length,
    [PART_HOLDER] = read_holder,
    [PART_TTL] = read_ttl,
    [PART_ASIDE] = read_aside,
    [PART_TIME] = read_time,
    [PART_HOLD] = read_hold,
    [PART_POD_HOLDER] = read_pod_holder,
    [PART_POD_HOLDER + 1] = read_pod_holder,
    [PART_POD_TTL] = read_pod_ttl,
    [PART_POD_TTL + 1] = read_pod_ttl,
};
static_assert(LITELLM_LOCKS == 2, "a reader for each lock");

static void on_part(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct ask *ask = arg;
    char why[200];

    if (reply == NULL) {
        unknown(&ask->figures, reason ? reason : "the connection to Redis was lost");
    } else if (reply->kind == REDIS_ERROR) {
        snprintf(why, sizeof why, "Redis says: %.*s", (int)reply->length, reply->text);
        unknown(&ask->figures, why);
    } else if (ask->figures.known) {
        readers[ask->part](ask, reply);
    }
    if (++ask->part == ask->parts)
        finish(ask);
}

static void send_pod(struct ask *ask, const char *command)
{
    for (unsigned lock = 0; lock < LITELLM_LOCKS; lock++) {
        const char *words[] = {command, ask->look->pod[lock]};

        redis_command(ask->look->redis, 2, words, NULL, on_part, ask);
    }
}

static void send_ask(struct ask *ask)
{
    struct queue_look *look = ask->look;
    const char *meta[] = {"HMGET", look->meta, "bytes"};
    const char *length[] = {"LLEN", look->queue};
    const char *holder[] = {"GET", look->lock};
    const char *ttl[] = {"PTTL", look->lock};
    const char *aside[] = {"LLEN", look->aside};
    const char *time[] = {"TIME"};
    const char *hold[2 + HOLDS] = {"HMGET", look->hold};

    for (size_t i = 0; i < HOLDS; i++)
        hold[2 + i] = queue_look_holds[i];

    ask->sent = true;
    snprintf(ask->figures.node, sizeof ask->figures.node, "%s", redis_node(look->redis));
    ask->part = 0;
    ask->parts = harness_settings(look->harness)->litellm_adopt ? PARTS : PARTS_OWN;
    redis_command(look->redis, 3, meta, NULL, on_part, ask);
    redis_command(look->redis, 2, length, NULL, on_part, ask);
    redis_command(look->redis, 2, holder, NULL, on_part, ask);
    redis_command(look->redis, 2, ttl, NULL, on_part, ask);
    redis_command(look->redis, 2, aside, NULL, on_part, ask);
    redis_command(look->redis, 1, time, NULL, on_part, ask);
    redis_command(look->redis, 2 + HOLDS, hold, NULL, on_part, ask);
    if (ask->parts == PARTS_OWN)
        return;
    send_pod(ask, "GET");
    send_pod(ask, "PTTL");
}

/* --- the connection
 * ------------------------------------------------------------------------------- */
static void on_state(void *arg, bool up, const char *reason)
{
    struct queue_look *look = arg;

    look->failed = !up;
    for (size_t i = 0; i < ASKS_MAX; i++) {
        struct ask *ask = &look->ask[i];

        if (!ask->used || ask->sent)
            continue; /* what was sent is answered by the door */
        if (ask->send != NULL) {
            ask->used = false;
            if (up)
                ask->send(ask->arg, look->redis);
            else
                ask->gone(ask->arg, reason ? reason : "Redis cannot be reached");
        } else if (up) {
            send_ask(ask);
        } else {
            unknown(&ask->figures, reason ? reason : "Redis cannot be reached");
            finish(ask);
        }
    }
}

static bool asked_nothing(const struct queue_look *look)
{
    for (size_t i = 0; i < ASKS_MAX; i++)
        if (look->ask[i].used)
            return false;
    return true;
}

static void on_idle(void *arg)
{
    struct queue_look *look = arg;

    if (asked_nothing(look))
        redis_close(&look->redis);
    else
        timer_in_ms(look->idle, IDLE_MS);
}

static int open_redis(struct queue_look *look, struct err *err)
{
    struct redis_options options =
        redis_options_from(harness_settings(look->harness), "spendd-control");

    options.backoff_max_ms = BACKOFF_MAX_MS;
    look->failed = false;
    look->redis = redis_open(look->harness, &options, on_state, look, err);
    return look->redis != NULL ? 0 : -1;
}

/* A place for a question, and a connection that is up or on its way.  NULL: `why`. */
static struct ask *place_for(struct queue_look *look, struct err *why)
{
    struct ask *ask = NULL;

    /* A door that has failed sits in its pause; who asks now wants to know how it is now. */
    if (look->redis != NULL && look->failed && asked_nothing(look))
        redis_close(&look->redis);
    if (look->redis == NULL && open_redis(look, why) != 0)
        return NULL;
    for (size_t i = 0; i < ASKS_MAX && ask == NULL; i++)
        if (!look->ask[i].used)
            ask = &look->ask[i];
    if (ask == NULL) {
        err_set(why, "Redis has not answered the last %d questions", ASKS_MAX);
        return NULL;
    }
    *ask = (struct ask){.look = look, .used = true, .figures = {.known = true}};
    timer_in_ms(look->idle, IDLE_MS);
    return ask;
}

bool queue_look_lend(struct queue_look *look, queue_look_send_fn *send, queue_look_gone_fn *gone,
                     void *arg, struct err *why)
{
    struct ask *ask = place_for(look, why);

    if (ask == NULL)
        return false;
    ask->send = send;
    ask->gone = gone;
    ask->arg = arg;
    if (!redis_up(look->redis))
        return true;
    ask->used = false;
    send(arg, look->redis);
    return true;
}

bool queue_look_ask(struct queue_look *look, uint32_t ticket, struct err *why)
{
    struct ask *ask = place_for(look, why);

    if (ask == NULL)
        return false;
    ask->ticket = ticket;
    if (redis_up(look->redis))
        send_ask(ask);
    return true;
}

struct queue_look *queue_look_new(struct harness *harness, queue_look_fn *answer, void *arg,
                                  struct err *err)
{
    const char *prefix = harness_settings(harness)->redis_prefix;
    struct queue_look *look = calloc(1, sizeof *look);

    if (look == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    look->harness = harness;
    look->answer = answer;
    look->arg = arg;
    look->idle = harness_timer(harness, on_idle, look);
    snprintf(look->meta, sizeof look->meta, "%smeta:0", prefix);
    snprintf(look->queue, sizeof look->queue, "%squeue:0", prefix);
    snprintf(look->lock, sizeof look->lock, "%slock:0", prefix);
    snprintf(look->aside, sizeof look->aside, "%saside:0", prefix);
    snprintf(look->hold, sizeof look->hold, "%shold:0", prefix);
    for (unsigned lock = 0; lock < LITELLM_LOCKS; lock++)
        litellm_lock_key(lock, harness_settings(harness)->litellm_lock_namespace, look->pod[lock]);
    return look;
}

void queue_look_free(struct queue_look **look)
{
    if (*look == NULL)
        return;
    redis_close(&(*look)->redis);
    harness_untimer(&(*look)->idle);
    free(*look);
    *look = NULL;
}
