/*
 * redis.c - the life of one connection to Redis:
 *
 *   WAIT --retry--> LOOKUP --addresses--> CONNECT --writable--> [HANDSHAKE] --> GREET --PING--> UP
 *    ^                 |                     |                      |             |             |
 *    +-----------------+-------- anything wrong, or the deadline ---+-------------+-------------+
 *
 * Between WAIT and LOOKUP, ROUTE says where to; where it has to ask Sentinels, that takes a while
 * (redis_route.c).  Where several nodes may serve us, they are tried one after the other without a
 * pause, and quietly: users hear of it when nobody could be reached, or connect_ms have passed.
 *
 * Owns the socket (redis_link.c), the look-up (redis_lookup.c), the reader (redis_wire.c) and the
 * calls (redis_calls.c); redis_attempt.c leads up to the greeting.  Between attempts a pause of random
 * length (full jitter), for ever.  Every way to fail is a row of refusals.def, which says how long that
 * pause may be; a connection that was closed while idle is opened again without growing it.
 *
 * Nothing here is freed from within an answer: what a reply asks for (LOADING: leave this
 * server) is noted and done when the replies at hand have all been answered.
 *
 * If we die on any line: commands that were sent may have been carried out; callers know.
 */
#include "common/redis/redis_inside.h"

#include "common/base/jitter.h"
#include "common/redis/redis_lookup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_BYTES_MAX (64 * 1024 * 1024)
#define READ_BYTES (64 * 1024)
#define READS_PER_TURN 32
#define SLOW_TIMES 6 /* the slow cap, where none is given */
#define IDLE_MS 1000 /* nothing asked and nothing heard for this long: closing it then is normal */

/* --- the pause between attempts ------------------------------------------------------------- */

int64_t redis_pause_ms(const struct redis *redis, const struct refusal *refusal, unsigned attempts)
{
    int64_t soon = redis->options.backoff_max_ms, slow = redis->options.backoff_slow_max_ms;

    return refusal_pause_ms(refusal, attempts, soon, slow > soon ? slow : soon, jitter_dice());
}

static void close_link(struct redis *redis)
{
    harness_unwatch(&redis->watch);
    harness_unwatch(&redis->lookup_watch);
    route_stop(redis);
    redis->held = false;
    link_close(&redis->link);
    wire_reader_free(&redis->reader);
    explicit_bzero(&redis->url, sizeof redis->url);
    timer_stop(redis->deadline);
}

void redis_count(struct redis *redis, enum redis_refusal refusal)
{
    struct stats_page *stats = harness_stats(redis->harness);

    if (stats != NULL)
        stats_add(stats, (enum metric)redis_refusal(refusal)->metric, 1);
}

const struct refusal *redis_refusal_of(const struct redis *redis, const struct redis_reply *reply)
{
    if (reply == NULL)
        return redis_refusal(redis->lost_by);
    return redis_refusal(reply->kind == REDIS_ERROR ? redis_refused(reply)
                                                    : REDIS_REFUSED_unexpected);
}

void redis_fail(struct redis *redis, enum redis_refusal refusal, const char *why)
{
    const struct refusal *row = redis_refusal(refusal);
    bool up = redis->phase == PHASE_UP, quiet;
    bool several = redis->route->kind != ROUTE_URL && redis->phase != PHASE_ROUTE;

    redis->lost_by = refusal;
    redis->again = route_over(redis);
    quiet = redis->again && !up && !mono_reached(mono_now(), redis->round);
    snprintf(redis->why, sizeof redis->why, "%s%s%s", several ? redis->node : "",
             several ? ": " : "", why);
    close_link(redis);
    redis->phase = PHASE_WAIT;
    redis->leave = REDIS_REFUSED_NOT;
    redis_count(redis, refusal);
    calls_lose(redis);
    timer_in_ms(redis->retry, redis->again ? 0 : redis_pause_ms(redis, row, redis->attempts));
    if (row->class != REFUSAL_NORMAL && !redis->again && redis->attempts < UINT_MAX)
        redis->attempts++;
    if (!quiet)
        redis->state(redis->arg, false, redis->why);
}

void redis_leave(struct redis *redis, enum redis_refusal refusal, const char *why)
{
    if (redis->leave != REDIS_REFUSED_NOT)
        return; /* the first reason is the reason */
    redis->leave = refusal;
    snprintf(redis->leave_why, sizeof redis->leave_why, "%s", why);
}

/* --- reading and writing -------------------------------------------------------------------- */

/* A TLS server that is spoken to in plain answers with an alert. */
static bool is_tls_alert(const struct redis *redis, const char *bytes, int64_t count)
{
    return redis->phase == PHASE_GREET && redis->link.tls == NULL && count >= 2 &&
           bytes[0] == 0x15 && bytes[1] == 0x03;
}

static enum redis_refusal take_replies(struct redis *redis, struct err *err)
{
    struct redis_reply *reply;

    while (!redis->held) {
        int whole = wire_reply(redis->reader, &reply, err);

        if (whole != 1)
            return whole < 0 ? REDIS_REFUSED_protocol : REDIS_REFUSED_NOT;
        calls_reply(redis, reply);
        wire_reply_free(&reply);
    }
    return REDIS_REFUSED_NOT;
}

static enum redis_refusal take_bytes(struct redis *redis, const char *bytes, int64_t count,
                                     struct err *err)
{
    if (is_tls_alert(redis, bytes, count)) {
        err_set(err, "Redis answered with an alert of TLS");
        return REDIS_REFUSED_plain_tls;
    }
    if (wire_feed(redis->reader, bytes, (size_t)count, err) != 0)
        return REDIS_REFUSED_protocol;
    return take_replies(redis, err);
}

/* Nothing was asked, nothing was heard for a while: a server's `timeout`, or a load balancer's. */
static bool was_idle(const struct redis *redis)
{
    return redis->phase == PHASE_UP && redis->calls == 0 &&
           mono_ms_between(redis->heard, mono_now()) >= IDLE_MS;
}

/* The link is over: what does that mean at this point of the connection's life? */
static enum redis_refusal how_it_ended(const struct redis *redis)
{
    if (redis->link.refused == REDIS_REFUSED_closed && was_idle(redis))
        return REDIS_REFUSED_closed_idle;
    if (redis->link.refused == REDIS_REFUSED_closed && !redis->greeted)
        return REDIS_REFUSED_cut_greeting;
    return redis->link.refused;
}

static enum redis_refusal read_some(struct redis *redis, struct err *err)
{
    char bytes[READ_BYTES];
    /* What stands here since the call before it was held. */
    enum redis_refusal refusal = take_replies(redis, err);

    for (int i = 0; refusal == REDIS_REFUSED_NOT && redis->leave == REDIS_REFUSED_NOT && !redis->held;
         i++) {
        int64_t got;

        if (i >= READS_PER_TURN && !link_pending(&redis->link))
            break; /* the socket will tell of the rest */
        got = link_read(&redis->link, bytes, sizeof bytes, err);
        if (got == 0)
            break;
        if (got < 0)
            return how_it_ended(redis);
        refusal = take_bytes(redis, bytes, got, err);
    }
    return refusal;
}

/* Reads and writes what goes, whatever the event was: with TLS either may wait for either. */
void redis_serve(struct redis *redis)
{
    struct err err;
    enum redis_refusal refusal = read_some(redis, &err);

    if (refusal == REDIS_REFUSED_NOT && redis->leave == REDIS_REFUSED_NOT &&
        calls_write(redis, &err) != 0) {
        struct err nothing;

        refusal = how_it_ended(redis);
        (void)read_some(redis, &nothing); /* its last words may have come meanwhile */
    }
    if (redis->leave != REDIS_REFUSED_NOT) {
        refusal = redis->leave; /* what it said counts for more than how it hung up */
        err_set(&err, "%s", redis->leave_why);
    }
    if (refusal != REDIS_REFUSED_NOT)
        redis_fail(redis, refusal, err.text);
    else
        calls_watch(redis);
}

void redis_greeted(struct redis *redis)
{
    redis->phase = PHASE_UP;
    redis->heard = mono_now();
    redis->again = false;
    explicit_bzero(&redis->url, sizeof redis->url);
    timer_stop(redis->deadline);
    route_greeted(redis);
    redis->state(redis->arg, true, "");
}

static void overdue(void *arg)
{
    struct redis *redis = arg;
    bool up = redis->phase == PHASE_UP;
    char why[96];

    if (up) {
        /* If it was us who slept, the answer lies in the socket. */
        redis_serve(redis);
        if (redis->phase != PHASE_UP || redis->first == NULL)
            return;
        if (!mono_reached(mono_now(), redis->first->deadline)) {
            timer_at(redis->deadline, redis->first->deadline);
            return;
        }
    }
    snprintf(why, sizeof why, "Redis did not %s within %lld ms",
             up ? "answer" : "take the connection",
             (long long)(up ? redis->options.command_ms : route_patience_ms(redis)));
    redis_fail(redis,
               up                                ? REDIS_REFUSED_slow_command
               : redis->phase == PHASE_HANDSHAKE ? REDIS_REFUSED_tls_silent
                                                 : REDIS_REFUSED_slow_connect,
               why);
}

static void retry(void *arg)
{
    redis_attempt(arg);
}

static void answer_lost(void *arg)
{
    calls_answer_lost(arg);
}

/* --- the door ------------------------------------------------------------------------------- */

/* The options' strings, which we keep copies of. */
static const char **option_text(struct redis *redis, size_t index)
{
    struct redis_options *options = &redis->options;
    const char **const texts[] = {&options->url,     &options->client,   &options->tls.ca,
                                  &options->tls.cert, &options->tls.key, &options->tls.name};

    return index < COUNT_OF(texts) ? texts[index] : NULL;
}

static int keep_options(struct redis *redis, const struct redis_options *options)
{
    int result = 0;

    redis->options = *options;
    redis->options.sentinels = redis->options.cluster_nodes = redis->options.key = NULL;
    redis->options.sentinel_master = redis->options.sentinel_user = NULL; /* the route's */
    redis->options.sentinel_password = NULL;
    if (options->reply_bytes_max <= 0)
        redis->options.reply_bytes_max = REPLY_BYTES_MAX;
    if (options->backoff_slow_max_ms <= 0)
        redis->options.backoff_slow_max_ms = SLOW_TIMES * options->backoff_max_ms;
    for (size_t i = 0; option_text(redis, i) != NULL; i++) {
        const char **text = option_text(redis, i);

        *text = strdup(*text != NULL ? *text : "");
        if (*text == NULL)
            result = -1;
    }
    return result;
}

static void free_redis(struct redis *redis)
{
    route_close(redis);
    for (size_t i = 0; option_text(redis, i) != NULL; i++) {
        char *text = (char *)(uintptr_t)*option_text(redis, i);

        if (text != NULL)
            explicit_bzero(text, strlen(text)); /* one of them holds the password */
        free(text);
    }
    free(redis);
}

/* Everything but its route. */
static struct redis *make(struct harness *harness, const struct redis_options *options,
                          redis_state_fn *state, void *arg, struct err *err)
{
    struct redis *redis = calloc(1, sizeof *redis);

    if (redis == NULL || keep_options(redis, options) != 0) {
        err_set(err, "no memory for a connection to Redis");
        if (redis != NULL)
            free_redis(redis);
        return NULL;
    }
    redis->harness = harness;
    redis->state = state;
    redis->arg = arg;
    redis->link.fd = -1;
    snprintf(redis->why, sizeof redis->why, "not connected yet");
    return redis;
}

/* `routed`: what its route's opening said. */
static struct redis *begin(struct redis *redis, int routed)
{
    if (routed != 0) {
        free_redis(redis);
        return NULL;
    }
    redis->deadline = harness_timer(redis->harness, overdue, redis);
    redis->retry = harness_timer(redis->harness, retry, redis);
    redis->lost = harness_timer(redis->harness, answer_lost, redis);
    timer_in_ms(redis->retry, 0);
    return redis;
}

struct redis *redis_open(struct harness *harness, const struct redis_options *options,
                         redis_state_fn *state, void *arg, struct err *err)
{
    struct redis *redis = make(harness, options, state, arg, err);

    return redis != NULL ? begin(redis, route_open(redis, options, err)) : NULL;
}

struct redis *redis_open_node(struct redis *of, const struct node *node, const struct login *login,
                              int64_t deadline_ms, redis_state_fn *state, void *arg,
                              struct err *err)
{
    struct redis_options options = of->options;
    struct redis *redis;

    options.connect_ms = options.command_ms = deadline_ms;
    redis = make(of->harness, &options, state, arg, err);
    return redis != NULL ? begin(redis, route_open_node(redis, node, login, err)) : NULL;
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

const char *redis_node(const struct redis *redis)
{
    return redis_up(redis) ? redis->node : "";
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
