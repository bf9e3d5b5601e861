/*
 * redis_sentinel.c - asks the Sentinels, in turn, where the master is.  See redis_sentinel.h.
 *
 *   connect to one -> (AUTH) -> SENTINEL GET-MASTER-ADDR-BY-NAME -> close -> the master's address
 *        ^--------- the next one, after any trouble or its share of connect_ms --'
 *
 * Asked before each attempt to connect, and only then.  No subscription to +switch-master: whatever
 * makes a master another one breaks our connection or our next command, and both lead here.  A
 * master that dies or is cut off: the connection breaks, or a command's deadline passes.  One that
 * is demoted by Sentinel: Sentinel ends its clients' connections (CLIENT KILL) as it reconfigures
 * it; by hand: the next write is refused with READONLY.  A subscription would be a fourth
 * connection per user of the door, must be watched for being dead itself, and hears no more than
 * the Sentinel it hangs on; whoever relies on it polls anyway.
 *
 * A Sentinel may be stale, or cut off from the others.  So what it names is believed only after ROLE
 * has said "master" (redis_route.c), else the next Sentinel is asked first.  A master that lives on
 * in a minority cannot be told from inside; Redis is soft state here, so that costs delay, not money:
 * what was pushed there and vanishes with it is pushed again from the spool.
 *
 * Owns one connection at a time, to one Sentinel, and closes it when it has answered: nothing of this
 * is open in steady state.  All of a round together takes at most connect_ms.
 * If we die on any line: a question was asked.
 */
#include "common/redis/redis_inside.h"

#include "common/redis/redis_topology.h"

/* What came of asking one; `why` without who said it. */
static void note(struct sentinel *sentinel, enum redis_refusal refused, const char *why)
{
    char node[NODE_TEXT];

    sentinel->refused = refused;
    err_set(&sentinel->why, "%s: %s",
            node_text(&sentinel->nodes.node[sentinel->turn], node, sizeof node), why);
}

/* The door to one was lost, or never came up; its reason names the Sentinel.  That the password is
 * wrong is the operator's business, whatever else a Sentinel suffers from passes. */
static void lost(struct sentinel *sentinel, const char *reason)
{
    int metric = redis_refusal_of(sentinel->door, NULL)->metric;

    sentinel->refused = metric == redis_refusal(REDIS_REFUSED_noauth)->metric
                            ? REDIS_REFUSED_sentinelauth
                            : REDIS_REFUSED_nosentinel;
    err_set(&sentinel->why, "%s", reason);
}

static void on_master(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct sentinel *sentinel = arg;
    struct err err;

    if (reply == NULL)
        lost(sentinel, reason);
    else if (master_read(reply, &sentinel->at, &err) == 0)
        sentinel->found = true;
    else
        note(sentinel, reply->kind == REDIS_NIL ? REDIS_REFUSED_nomaster : REDIS_REFUSED_nosentinel,
             err.text);
    timer_in_ms(sentinel->end, 0); /* the door must not be closed from within its own calls */
}

static void on_state(void *arg, bool up, const char *reason)
{
    struct sentinel *sentinel = arg;
    const char *argv[] = {"SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinel->master};

    if (up) {
        redis_command(sentinel->door, 3, argv, NULL, on_master, sentinel);
    } else if (!sentinel->found) {
        lost(sentinel, reason);
        timer_in_ms(sentinel->end, 0);
    }
}

static void ask_one(struct redis *redis)
{
    struct sentinel *sentinel = &redis->route->sentinel;
    int64_t share = redis->options.connect_ms / (int64_t)sentinel->nodes.count;
    const struct login login = {sentinel->user, sentinel->password != NULL ? sentinel->password : ""};
    struct err err;

    sentinel->door = redis_open_node(redis, &sentinel->nodes.node[sentinel->turn], &login, share,
                                     on_state, sentinel, &err);
    if (sentinel->door == NULL) {
        note(sentinel, REDIS_REFUSED_resources, err.text);
        timer_in_ms(sentinel->end, 0);
        return;
    }
    note(sentinel, REDIS_REFUSED_nosentinel, "no answer in its share of redis.connect_ms");
    timer_in_ms(sentinel->end, share);
}

static void give_up(struct redis *redis)
{
    const struct sentinel *sentinel = &redis->route->sentinel;
    struct err err;

    err_set(&err, "no Sentinel says where %s is; the last: %s", sentinel->master,
            sentinel->why.text);
    redis_fail(redis, sentinel->refused, err.text);
}

static void on_end(void *arg)
{
    struct redis *redis = arg;
    struct sentinel *sentinel = &redis->route->sentinel;

    redis_close(&sentinel->door);
    if (sentinel->found) {
        redis->route->at = sentinel->at;
        redis_look_up(redis);
    } else if (++sentinel->asked < sentinel->nodes.count) {
        sentinel->turn = (sentinel->turn + 1) % sentinel->nodes.count;
        ask_one(redis);
    } else {
        give_up(redis);
    }
}

void sentinel_ask(struct redis *redis)
{
    struct sentinel *sentinel = &redis->route->sentinel;

    sentinel->asked = 0;
    sentinel->found = false;
    if (sentinel->end == NULL)
        sentinel->end = harness_timer(redis->harness, on_end, redis);
    ask_one(redis);
}

void sentinel_stop(struct redis *redis)
{
    struct sentinel *sentinel = &redis->route->sentinel;

    sentinel->found = true; /* what the door still says goes nowhere */
    redis_close(&sentinel->door);
    if (sentinel->end != NULL)
        timer_stop(sentinel->end);
}

void sentinel_close(struct redis *redis)
{
    sentinel_stop(redis);
    harness_untimer(&redis->route->sentinel.end);
}
