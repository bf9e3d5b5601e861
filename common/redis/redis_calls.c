/*
 * redis_calls.c - the queue of calls: given, sent, answered in order, each exactly once.
 *
 * A call that can get no reply (no connection, queue full, no memory) stays in its place in the
 * queue, marked, and is answered with NULL when it comes to the head; so order holds for those
 * as well. The queue is bounded in calls and bytes; one call alone may be of any size.
 *
 * If we die on any line: a command that was sent may have been carried out or not.  Every script
 * can be run again.
 */
#include "common/redis/redis_inside.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLS_MAX 16384
#define BYTES_MAX (64 * 1024 * 1024)
#define WRITE_CALLS 16 /* calls per write */

struct call *call_new(redis_reply_fn *answer, void *arg)
{
    struct call *call = calloc(1, sizeof *call);

    if (call == NULL)
        bug("no memory for a command"); /* no way left to answer it */
    call->answer = answer;
    call->arg = arg;
    call->script = -1;
    return call;
}

static void free_call(struct call **call)
{
    wire_free(&(*call)->head);
    wire_free(&(*call)->tail);
    free(*call);
    *call = NULL;
}

static size_t call_bytes(const struct call *call)
{
    return call->head.length + call->tail.length;
}

void calls_watch(struct redis *redis)
{
    short events;

    if (redis->watch == NULL)
        return;
    events = link_events(&redis->link, redis->unsent != NULL);
    if (redis->held)
        events &= (short)~POLLIN;
    watch_events(redis->watch, events);
}

static void arm_deadline(struct redis *redis)
{
    if (redis->phase == PHASE_UP && redis->first != NULL)
        timer_at(redis->deadline, redis->first->deadline);
}

void calls_add(struct redis *redis, struct call *call)
{
    bool connected = redis->phase == PHASE_UP || redis->phase == PHASE_GREET;
    bool full = redis->calls >= CALLS_MAX ||
                (redis->calls > 0 && redis->bytes + call_bytes(call) > BYTES_MAX);

    call->next = NULL;
    call->sent = 0;
    call->deadline = mono_after_ms(mono_now(), redis->options.command_ms);
    if (call->fate == CALL_LIVE && !connected)
        call->fate = CALL_LOST;
    if (call->fate == CALL_LIVE && full)
        call->fate = CALL_REFUSED;
    if (call->fate != CALL_LIVE) {
        wire_free(&call->head);
        wire_free(&call->tail);
        timer_in_ms(redis->lost, 0);
    }
    if (redis->first == NULL)
        redis->first = call;
    else
        redis->last->next = call;
    redis->last = call;
    redis->calls++;
    redis->bytes += call_bytes(call);
    if (call->fate != CALL_LIVE)
        return;
    if (redis->unsent == NULL)
        redis->unsent = call;
    calls_watch(redis);
    if (redis->first == call)
        arm_deadline(redis);
}

static struct call *pop(struct redis *redis)
{
    struct call *call = redis->first;

    redis->first = call->next;
    if (redis->first == NULL)
        redis->last = NULL;
    if (redis->unsent == call)
        redis->unsent = call->next;
    redis->calls--;
    redis->bytes -= call_bytes(call);
    return call;
}

void calls_lose(struct redis *redis)
{
    for (struct call *call = redis->first; call != NULL; call = call->next) {
        redis->bytes -= call_bytes(call);
        wire_free(&call->head);
        wire_free(&call->tail);
        if (call->fate == CALL_LIVE)
            call->fate = CALL_LOST;
    }
    redis->unsent = NULL;
    if (redis->first != NULL)
        timer_in_ms(redis->lost, 0);
}

static void answer_null(struct redis *redis, const struct call *call)
{
    enum redis_refusal lost_by = redis->lost_by;

    if (call->fate == CALL_LOST) {
        call->answer(call->arg, NULL, redis->why);
        return;
    }
    redis->lost_by = REDIS_REFUSED_backlog; /* for this answer alone */
    redis_count(redis, redis->lost_by);
    call->answer(call->arg, NULL, "too much is waiting for Redis");
    redis->lost_by = lost_by;
}

void calls_answer_lost(struct redis *redis)
{
    /* Not more than stand there now: who asks again at once must not hold the loop. */
    for (size_t left = redis->calls; left > 0 && redis->first->fate != CALL_LIVE; left--) {
        struct call *call = pop(redis);

        answer_null(redis, call);
        free_call(&call);
    }
    if (redis->first != NULL && redis->first->fate != CALL_LIVE)
        timer_in_ms(redis->lost, 0);
}

/* The head leaves the queue, with what follows from that. */
static struct call *take_head(struct redis *redis)
{
    struct call *call = pop(redis);

    arm_deadline(redis);
    /* One that was asked during the greeting may stand behind it, and no other reply may come. */
    if (redis->first != NULL && redis->first->fate != CALL_LIVE)
        timer_in_ms(redis->lost, 0);
    return call;
}

void calls_answer_head(struct redis *redis, const struct redis_reply *reply, const char *reason)
{
    struct call *call = take_head(redis);

    call->answer(call->arg, reply, reason);
    free_call(&call);
}

void calls_reply(struct redis *redis, const struct redis_reply *reply)
{
    enum redis_refusal refusal = redis_refused(reply);
    struct call *call;

    redis->heard = mono_now();
    redis->greeted = true;
    if (refusal != REDIS_REFUSED_NOT && redis_refusal(refusal)->connection == LEAVE)
        redis_leave(redis, refusal, reply->text);
    calls_answer_lost(redis);
    if (redis->first == NULL || redis->first->fate != CALL_LIVE ||
        redis->first->sent < call_bytes(redis->first)) {
        redis_leave(redis, REDIS_REFUSED_protocol,
                    reply->kind == REDIS_ERROR ? reply->text : "a reply that nobody asked for");
        return;
    }
    if (redis->first->swallow) {
        redis->first->swallow = false; /* ASKING's own; what it was for says all */
        return;
    }
    if (route_takes(redis, reply))
        return;
    if (refusal != REDIS_REFUSED_NOT && redis_refusal(refusal)->connection == STAY)
        redis_count(redis, refusal);
    call = take_head(redis);
    if (call->script >= 0 && script_again(redis, &call, reply))
        return;
    if (reply->kind != REDIS_ERROR && redis->phase == PHASE_UP)
        redis->attempts = 0;
    call->answer(call->arg, reply, NULL);
    free_call(&call);
}

/* What of `text` is not sent yet, given that `before` bytes stand in front of it. */
static void part(const struct wire_text *text, size_t before, size_t sent, struct iovec *to)
{
    size_t done = sent > before ? sent - before : 0;

    if (done > text->length)
        done = text->length;
    to->iov_base = text->length > done ? text->bytes + done : NULL;
    to->iov_len = text->length - done;
}

static void sent_bytes(struct redis *redis, size_t bytes)
{
    while (redis->unsent != NULL) {
        struct call *call = redis->unsent;
        size_t left = call_bytes(call) - call->sent;

        if (call->fate == CALL_LIVE && bytes < left) {
            call->sent += bytes;
            return;
        }
        if (call->fate == CALL_LIVE) {
            call->sent += left;
            bytes -= left;
        }
        redis->unsent = call->next;
    }
}

int calls_write(struct redis *redis, struct err *err)
{
    while (redis->unsent != NULL) {
        struct iovec iov[2 * WRITE_CALLS];
        int count = 0;
        int64_t sent;

        for (struct call *call = redis->unsent; call != NULL && count < 2 * WRITE_CALLS;
             call = call->next) {
            if (call->fate != CALL_LIVE)
                continue;
            part(&call->head, 0, call->sent, &iov[count]);
            part(&call->tail, call->head.length, call->sent, &iov[count + 1]);
            count += 2;
        }
        sent = count > 0 ? link_write(&redis->link, iov, count, err) : 0;
        if (sent < 0)
            return -1;
        if (sent == 0 && count > 0)
            break;
        sent_bytes(redis, (size_t)sent);
    }
    return 0;
}
