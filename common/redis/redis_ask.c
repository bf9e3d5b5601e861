/*
 * redis_ask.c - a command whose key has gone ahead to the node that its slot is being moved to.
 *
 * ASK names that node for one command, said there behind ASKING; the slot itself, and every other
 * key of it, still belong to the node at hand.  So the call at the head of the queue is sent over a
 * second connection, and until it is answered nothing more is read from the first: answers come in
 * the order of questions, without anything being kept aside.  Slower than need be, for the seconds
 * that a slot takes to move.
 *
 * Owns that second connection: opened by the first ASK, closed when none came for a while, when the
 * first connection ends, or when another node is named.  If the other node cannot be reached, the
 * one command is answered with NULL; the first connection stays.
 * If we die on any line: the command was carried out or not; callers know.
 */
#include "common/redis/redis_inside.h"

#include <stdlib.h>
#include <string.h>

#define IDLE_MS 10000
#define ASKING "*1\r\n$6\r\nASKING\r\n"

int ask_prefix(struct wire_text *head)
{
    size_t length = strlen(ASKING);
    char *bytes = malloc(length + head->length);

    if (bytes == NULL)
        return -1;
    memcpy(bytes, ASKING, length);
    if (head->length > 0)
        memcpy(bytes + length, head->bytes, head->length);
    free(head->bytes);
    *head = (struct wire_text){bytes, length + head->length};
    return 0;
}

static void on_resume(void *arg)
{
    struct redis *redis = arg;

    redis->held = false;
    redis_serve(redis);
}

static void on_idle(void *arg)
{
    struct redis *redis = arg;

    if (redis->ask.waiting)
        timer_in_ms(redis->ask.idle, IDLE_MS);
    else
        redis_close(&redis->ask.door);
}

static void answered(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct redis *redis = arg;

    if (!redis->ask.waiting)
        return; /* the connection that asked is over, and has answered */
    redis->ask.waiting = redis->ask.sent = false;
    calls_answer_head(redis, reply, reason);
    /* Not from within the other door's call: reading on may lead to another node. */
    timer_in_ms(redis->ask.resume, 0);
}

/* What is to be sent moves over; the call keeps its place and its caller. */
static void send_head(struct redis *redis)
{
    struct call *head = redis->first, *call = call_new(answered, redis);

    call->script = head->script;
    call->arguments = head->arguments;
    call->asking = true;
    call->tail = head->tail;
    redis->bytes -= head->tail.length;
    head->tail = (struct wire_text){NULL, 0};
    redis->ask.sent = true;
    script_send(redis->ask.door, call);
}

static void on_state(void *arg, bool up, const char *reason)
{
    struct redis *redis = arg;

    if (!redis->ask.waiting || redis->ask.sent)
        return;
    if (up)
        send_head(redis);
    else
        answered(redis, NULL, reason);
}

void ask_follow(struct redis *redis, const struct node *to)
{
    struct ask *ask = &redis->ask;
    struct err err;

    if (ask->idle == NULL) {
        ask->idle = harness_timer(redis->harness, on_idle, redis);
        ask->resume = harness_timer(redis->harness, on_resume, redis);
    }
    redis_count(redis, REDIS_REFUSED_ask);
    ask->waiting = redis->held = true;
    calls_watch(redis);
    timer_in_ms(ask->idle, IDLE_MS);
    if (ask->door != NULL && (!node_same(&ask->at, to) || !redis_up(ask->door)))
        redis_close(&ask->door);
    if (ask->door != NULL) {
        send_head(redis);
        return;
    }
    ask->at = *to;
    ask->door = redis_open_node(redis, to, NULL, redis->options.command_ms, on_state, redis, &err);
    if (ask->door == NULL)
        answered(redis, NULL, err.text);
}

void ask_stop(struct redis *redis)
{
    struct ask *ask = &redis->ask;

    ask->waiting = ask->sent = false;
    redis_close(&ask->door);
    if (ask->resume != NULL)
        timer_stop(ask->resume);
}

void ask_close(struct redis *redis)
{
    ask_stop(redis);
    harness_untimer(&redis->ask.idle);
    harness_untimer(&redis->ask.resume);
}
