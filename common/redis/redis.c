/*
 * redis.c - the life of one connection to Redis:
 *
 *   WAIT --retry--> LOOKUP --addresses--> CONNECT --writable--> GREET --PING answered--> UP
 *    ^                 |                     |                    |                       |
 *    +-----------------+---- anything wrong, or the deadline -----+-----------------------+
 *
 * Owns the socket (redis_link.c), the look-up (redis_lookup.c), the reader (redis_wire.c) and the
 * calls (redis_calls.c).  One attempt tries one address, in turn; between attempts a pause of
 * random length up to a limit that doubles to backoff_max_ms (full jitter), for ever.
 *
 * Nothing here is freed from within an answer: what a reply asks for (LOADING: leave this
 * server) is noted and done when the replies at hand have all been answered.
 *
 * If we die on any line: commands that were sent may have been carried out; callers know.
 */
#include "common/redis/redis_inside.h"

#include "common/config/secret.h"
#include "common/redis/redis_lookup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BACKOFF_FIRST_MS 50
#define REPLY_BYTES_MAX (64 * 1024 * 1024)
#define READ_BYTES (64 * 1024)
#define READS_PER_TURN 32

static void fail(struct redis *redis, const char *why);

/* --- the pause between attempts ------------------------------------------------------------- */

static int64_t pause_ms(const struct redis *redis)
{
    int64_t limit = redis->options.backoff_max_ms;
    uint32_t dice = 0;

    if (redis->attempts < 16 && (BACKOFF_FIRST_MS << redis->attempts) < limit)
        limit = BACKOFF_FIRST_MS << redis->attempts;
    if (getrandom(&dice, sizeof dice, GRND_NONBLOCK) != (ssize_t)sizeof dice)
        dice = (uint32_t)mono_now().micros * 2654435761u;
    return (int64_t)(dice % (uint32_t)(limit + 1));
}

static void close_link(struct redis *redis)
{
    harness_unwatch(&redis->watch);
    harness_unwatch(&redis->lookup_watch);
    link_close(&redis->link);
    wire_reader_free(&redis->reader);
    explicit_bzero(&redis->url, sizeof redis->url);
    timer_stop(redis->deadline);
}

static void fail(struct redis *redis, const char *why)
{
    snprintf(redis->why, sizeof redis->why, "%s", why);
    close_link(redis);
    redis->phase = PHASE_WAIT;
    redis->attempts++;
    if (redis->after == LEAVE_LONG)
        redis->attempts = 16;
    redis->after = STAY;
    calls_lose(redis);
    timer_in_ms(redis->retry, pause_ms(redis));
    if (!redis->told_down) {
        redis->told_down = true;
        redis->state(redis->arg, false, redis->why);
    }
}

void redis_leave(struct redis *redis, enum redis_after after, const char *why)
{
    if (redis->after != STAY)
        return; /* the first reason is the reason */
    redis->after = after;
    snprintf(redis->leave, sizeof redis->leave, "%s", why);
}

/* --- reading and writing -------------------------------------------------------------------- */

static int read_some(struct redis *redis, struct err *err)
{
    char bytes[READ_BYTES];

    for (int i = 0; i < READS_PER_TURN && redis->after == STAY; i++) {
        int64_t got = link_read(&redis->link, bytes, sizeof bytes, err);
        struct redis_reply *reply;
        int whole;

        if (got <= 0)
            return (int)got;
        if (wire_feed(redis->reader, bytes, (size_t)got, err) != 0)
            return -1;
        while ((whole = wire_reply(redis->reader, &reply, err)) == 1) {
            calls_reply(redis, reply);
            wire_reply_free(&reply);
        }
        if (whole < 0)
            return -1;
    }
    return 0;
}

static void serve(struct redis *redis, short revents)
{
    struct err err;
    int result = 0;

    if (revents & (POLLIN | POLLERR | POLLHUP))
        result = read_some(redis, &err);
    if (redis->after != STAY)
        result = err_set(&err, "%s", redis->leave);
    if (result == 0 && (revents & POLLOUT))
        result = calls_write(redis, &err);
    if (result != 0)
        fail(redis, err.text);
}

static void ready(void *arg, short revents)
{
    struct redis *redis = arg;
    struct err err;

    if (redis->phase != PHASE_CONNECT) {
        serve(redis, revents);
        return;
    }
    if (link_connected(&redis->link, &err) != 0) {
        fail(redis, err.text);
        return;
    }
    redis->phase = PHASE_GREET;
    memset(redis->sha, 0, sizeof redis->sha);
    redis->no_shebang = false;
    redis_greet(redis);
}

void redis_greeted(struct redis *redis)
{
    redis->phase = PHASE_UP;
    redis->told_down = false;
    explicit_bzero(&redis->url, sizeof redis->url);
    timer_stop(redis->deadline);
    redis->state(redis->arg, true, "");
}

/* --- an attempt ----------------------------------------------------------------------------- */

static void connect_to(struct redis *redis, const struct address *address)
{
    struct err err;

    redis->reader = wire_reader_new((size_t)redis->options.reply_bytes_max);
    if (redis->reader == NULL) {
        fail(redis, "no memory for Redis' replies");
        return;
    }
    if (link_open(&redis->link, address, redis->options.command_ms, &err) != 0) {
        fail(redis, err.text);
        return;
    }
    redis->phase = PHASE_CONNECT;
    redis->watch = harness_watch(redis->harness, redis->link.fd, POLLOUT, ready, redis);
}

static void looked_up(void *arg, short revents)
{
    struct redis *redis = arg;
    struct addresses found;
    struct err err;
    int result = lookup_take(redis->lookup, &found, &err);

    (void)revents;
    harness_unwatch(&redis->lookup_watch);
    lookup_free(&redis->lookup);
    if (result != 0)
        fail(redis, err.text);
    else
        connect_to(redis, &found.address[redis->turn++ % found.count]);
}

static void look_up(struct redis *redis)
{
    struct addresses found;
    struct err err;

    if (redis->url.path[0] != '\0') {
        if (link_address_local(redis->url.path, &found.address[0], &err) != 0)
            fail(redis, err.text);
        else
            connect_to(redis, &found.address[0]);
        return;
    }
    if (lookup_numeric(redis->url.host, redis->url.port, &found) == 0) {
        connect_to(redis, &found.address[0]);
        return;
    }
    /* A look-up that outlived its attempt goes on: one thread waits for the name server, not
     * many. */
    if (redis->lookup != NULL && !lookup_of(redis->lookup, redis->url.host, redis->url.port))
        lookup_free(&redis->lookup);
    if (redis->lookup == NULL)
        redis->lookup = lookup_start(redis->url.host, redis->url.port, &err);
    if (redis->lookup == NULL) {
        fail(redis, err.text);
        return;
    }
    redis->phase = PHASE_LOOKUP;
    redis->lookup_watch =
        harness_watch(redis->harness, lookup_fd(redis->lookup), POLLIN, looked_up, redis);
}

static int read_url(const char *setting, struct redis_url *url, struct err *err)
{
    char text[1024];
    int result = secret_read(setting, text, sizeof text, err);

    if (result == 0)
        result = redis_url_parse(text, url, err);
    explicit_bzero(text, sizeof text);
    return result;
}

static void retry(void *arg)
{
    struct redis *redis = arg;
    struct err err;

    timer_in_ms(redis->deadline, redis->options.connect_ms);
    if (read_url(redis->options.url, &redis->url, &err) != 0)
        fail(redis, err.text);
    else
        look_up(redis);
}

static void overdue(void *arg)
{
    struct redis *redis = arg;
    char why[96];

    if (redis->phase == PHASE_UP) {
        /* If it was us who slept, the answer lies in the socket. */
        serve(redis, POLLIN);
        if (redis->phase != PHASE_UP || redis->first == NULL)
            return;
        if (!mono_reached(mono_now(), redis->first->deadline)) {
            timer_at(redis->deadline, redis->first->deadline);
            return;
        }
    }
    snprintf(why, sizeof why, "Redis did not %s within %lld ms",
             redis->phase == PHASE_UP ? "answer" : "take the connection",
             (long long)(redis->phase == PHASE_UP ? redis->options.command_ms
                                                  : redis->options.connect_ms));
    fail(redis, why);
}

static void answer_lost(void *arg)
{
    calls_answer_lost(arg);
}

/* --- the door ------------------------------------------------------------------------------- */

int redis_url_check(const char *url, struct err *err)
{
    struct redis_url parsed;
    int result = read_url(url, &parsed, err);

    explicit_bzero(&parsed, sizeof parsed);
    return result;
}

static void free_redis(struct redis *redis)
{
    char *url = (char *)(uintptr_t)redis->options.url;

    if (url != NULL)
        explicit_bzero(url, strlen(url));
    free(url);
    free((char *)(uintptr_t)redis->options.client);
    free(redis);
}

struct redis *redis_open(struct harness *harness, const struct redis_options *options,
                         redis_state_fn *state, void *arg, struct err *err)
{
    struct redis *redis;

    if (redis_url_check(options->url, err) != 0)
        return NULL;
    redis = calloc(1, sizeof *redis);
    if (redis == NULL) {
        err_set(err, "no memory for a connection to Redis");
        return NULL;
    }
    redis->harness = harness;
    redis->options = *options;
    if (options->reply_bytes_max <= 0)
        redis->options.reply_bytes_max = REPLY_BYTES_MAX;
    redis->options.url = strdup(options->url);
    redis->options.client = strdup(options->client);
    if (redis->options.url == NULL || redis->options.client == NULL) {
        err_set(err, "no memory for a connection to Redis");
        free_redis(redis);
        return NULL;
    }
    redis->state = state;
    redis->arg = arg;
    redis->link.fd = -1;
    snprintf(redis->why, sizeof redis->why, "not connected yet");
    redis->deadline = harness_timer(harness, overdue, redis);
    redis->retry = harness_timer(harness, retry, redis);
    redis->lost = harness_timer(harness, answer_lost, redis);
    timer_in_ms(redis->retry, 0);
    return redis;
}

void redis_close(struct redis **redis)
{
    struct redis *r = *redis;

    if (r == NULL || r->closing)
        return;
    r->closing = true; /* the answers below may still look at us through the owner's pointer */
    r->phase = PHASE_WAIT;
    snprintf(r->why, sizeof r->why, "closing");
    close_link(r);
    calls_lose(r);
    calls_answer_lost(r);
    lookup_free(&r->lookup);
    harness_untimer(&r->deadline);
    harness_untimer(&r->retry);
    harness_untimer(&r->lost);
    free_redis(r);
    *redis = NULL;
}

bool redis_up(const struct redis *redis)
{
    return redis->phase == PHASE_UP;
}

size_t redis_outstanding(const struct redis *redis)
{
    return redis->calls;
}

void redis_command(struct redis *redis, int argc, const char *const *argv, const size_t *lengths,
                   redis_reply_fn *answer, void *arg)
{
    struct call *call;

    if (redis->closing)
        return;
    call = call_new(answer, arg);
    /* During the greeting only the greeting speaks. */
    if (redis->phase == PHASE_UP || (redis->phase == PHASE_GREET && arg == redis)) {
        if (wire_encode(&call->tail, argc, argc, argv, lengths) != 0)
            call->fate = CALL_REFUSED;
    } else {
        call->fate = CALL_LOST;
    }
    calls_add(redis, call);
}
