/*
 * redis_route.c - where the next attempt to connect goes.  See redis_route.h.
 *
 * One client of a cluster serves one hash slot: a connection to the node that owns the slot, and
 * nothing else.  All keys of spendd are in one slot by their prefix's {tag}, so its users never
 * notice.  Keys in other slots (the lists of LiteLLM's pods) get clients of their own, each with the
 * `key` it is for.  The alternative, one client with a connection for each node that routes every
 * command by its key, would answer in another order than asked, could be half up, and would have to
 * look into every command and script for its keys.
 *
 * The owner is found by asking a node for a key of the slot (EXISTS): who does not serve it says
 * who does, and a replica says who its master is.  So the one question that the data path depends on
 * is answered by the data path's own rule, and CLUSTER SLOTS, which an ACL may forbid, is asked only
 * to learn of further nodes.  In the same way ROLE, where it is permitted, tells that a server named
 * by a Sentinel is a master.
 *
 *   MOVED    at any time: leave for the node that it names, at once.  What was asked is answered
 *            NULL, as after any loss: the slot has another owner once in a long while.
 *   ASK      the slot is being moved and this key has gone ahead: that one command goes there
 *            (redis_ask.c); the connection stays.
 *   TRYAGAIN the keys of one script are on both sides: answered to the caller, as an error.  All
 *            callers ask again at their own pace, so a pause here would only be a second one.  A
 *            key that does not exist (an empty list) is on neither side: such scripts have to
 *            wait until the slot has moved, on whatever client.
 *
 * If we die on any line: nothing is kept, the next start asks again.
 */
#include "common/redis/redis_inside.h"

#include "common/config/secret.h"
#include "common/redis/redis_topology.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENTINEL_PORT "26379"
#define REDIS_PORT "6379"

/* --- open, close ---------------------------------------------------------------------------- */

static bool given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static int open_sentinel(struct route *route, const struct redis_options *options, struct err *err)
{
    struct sentinel *sentinel = &route->sentinel;
    struct err why;

    route->kind = ROUTE_SENTINEL;
    if (nodes_parse(options->sentinels, SENTINEL_PORT, &sentinel->nodes, &why) != 0)
        return err_set(err, "redis.sentinels: %s", why.text);
    if (!given(options->sentinel_master))
        return err_set(err, "redis.sentinel_master is empty");
    snprintf(sentinel->master, sizeof sentinel->master, "%s", options->sentinel_master);
    if (given(options->sentinel_user))
        snprintf(sentinel->user, sizeof sentinel->user, "%s", options->sentinel_user);
    if (!given(options->sentinel_password))
        return 0;
    sentinel->password = strdup(options->sentinel_password);
    return sentinel->password != NULL ? 0 : err_set(err, "no memory");
}

static int open_cluster(struct route *route, const struct redis_options *options, struct err *err)
{
    struct err why;

    route->kind = ROUTE_CLUSTER;
    if (nodes_parse(options->cluster_nodes, REDIS_PORT, &route->cluster.start, &why) != 0)
        return err_set(err, "redis.cluster_nodes: %s", why.text);
    if (!given(options->key))
        return err_set(err, "a client of a cluster needs a key");
    snprintf(route->key, sizeof route->key, "%s", options->key);
    route->slot = redis_slot(route->key, strlen(route->key));
    return 0;
}

/* Whether the URL is one of this kind's. */
static int fits(const struct route *route, const struct redis_url *url, struct err *err)
{
    bool cluster = route->kind == ROUTE_CLUSTER;

    if (route->kind != ROUTE_URL && url->path[0] != '\0')
        return err_set(err, "redis url: a Unix socket leads to no %s",
                       cluster ? "cluster" : "Sentinel's master");
    if (cluster && url->db != 0)
        return err_set(err, "redis url: a cluster has only database 0");
    return 0;
}

static int open_kind(struct route *route, const struct redis_options *options, struct err *err)
{
    if (given(options->sentinels) && given(options->cluster_nodes))
        return err_set(err, "redis.sentinels and redis.cluster_nodes exclude each other");
    if (given(options->sentinels))
        return open_sentinel(route, options, err);
    return given(options->cluster_nodes) ? open_cluster(route, options, err) : 0;
}

int route_open(struct redis *redis, const struct redis_options *options, struct err *err)
{
    struct redis_url url;
    int result;

    redis->route = calloc(1, sizeof *redis->route);
    if (redis->route == NULL)
        return err_set(err, "no memory for a connection to Redis");
    if (open_kind(redis->route, options, err) != 0)
        return -1;
    result = redis_read_url(options->url, &url, err);
    if (result == 0)
        result = fits(redis->route, &url, err);
    explicit_bzero(&url, sizeof url);
    return result;
}

int route_open_node(struct redis *redis, const struct node *node, const struct login *login,
                    struct err *err)
{
    redis->route = calloc(1, sizeof *redis->route);
    if (redis->route == NULL)
        return err_set(err, "no memory for a connection to Redis");
    redis->route->kind = ROUTE_NODE;
    redis->route->at = *node;
    if (login == NULL)
        return 0;
    snprintf(redis->route->user, sizeof redis->route->user, "%s", login->user);
    redis->route->password = strdup(login->password);
    return redis->route->password != NULL ? 0 : err_set(err, "no memory");
}

static void wipe(char **secret)
{
    if (*secret != NULL)
        explicit_bzero(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}

void route_close(struct redis *redis)
{
    if (redis->route == NULL)
        return;
    if (redis->route->kind == ROUTE_SENTINEL)
        sentinel_close(redis);
    if (redis->route->kind == ROUTE_CLUSTER)
        ask_close(redis);
    wipe(&redis->route->password);
    wipe(&redis->route->sentinel.password);
    free(redis->route);
    redis->route = NULL;
}

/* --- an attempt ----------------------------------------------------------------------------- */

static int own_login(const struct route *route, struct redis_url *url, struct err *err)
{
    snprintf(url->user, sizeof url->user, "%s", route->user);
    url->password[0] = '\0';
    return route->password[0] != '\0'
               ? secret_read(route->password, url->password, sizeof url->password, err)
               : 0;
}

int route_begin(struct redis *redis, struct err *err)
{
    struct route *route = redis->route;

    route->moved = route->no_master = false;
    if (route->kind == ROUTE_URL)
        return 1;
    if (fits(route, &redis->url, err) != 0) /* a file's may have changed */
        return -1;
    if (route->kind == ROUTE_SENTINEL) {
        sentinel_ask(redis);
        return 0;
    }
    if (route->kind == ROUTE_CLUSTER)
        route->at = *cluster_target(&route->cluster);
    else
        redis->url.db = 0;
    return route->password != NULL && own_login(route, &redis->url, err) != 0 ? -1 : 1;
}

/* One silent node must not use up the time in which another might have answered. */
int64_t route_patience_ms(const struct redis *redis)
{
    const struct cluster *cluster = &redis->route->cluster;
    bool several = cluster->learnt.count + cluster->start.count > 1;

    return redis->options.connect_ms / (redis->route->kind == ROUTE_CLUSTER && several ? 3 : 1);
}

void route_stop(struct redis *redis)
{
    if (redis->route->kind == ROUTE_SENTINEL)
        sentinel_stop(redis);
    if (redis->route->kind == ROUTE_CLUSTER)
        ask_stop(redis);
}

/* --- the greeting --------------------------------------------------------------------------- */

static void on_role(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct redis *redis = arg;

    (void)reason;
    if (reply == NULL || role_read(reply) != ROLE_OTHER)
        return;
    redis->route->no_master = true;
    redis_leave(redis, REDIS_REFUSED_notmaster,
                "it is a replica, not the master that Sentinel says it is");
}

/* MOVED is route_takes' business; ASK says that the slot is leaving, but still here; a refusal says
 * nothing. */
static void on_owner(void *arg, const struct redis_reply *reply, const char *reason)
{
    (void)arg;
    (void)reply;
    (void)reason;
}

void route_greet(struct redis *redis)
{
    if (redis->route->kind == ROUTE_SENTINEL)
        redis_command(redis, 1, (const char *const[]){"ROLE"}, NULL, on_role, redis);
    if (redis->route->kind == ROUTE_CLUSTER)
        redis_command(redis, 2, (const char *const[]){"EXISTS", redis->route->key}, NULL, on_owner,
                      redis);
}

static void on_slots(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct redis *redis = arg;
    struct route *route = redis->route;
    struct nodes learnt = {.count = 0};

    (void)reason;
    slots_read(reply, &route->at, route->slot, &learnt);
    if (learnt.count > 0)
        route->cluster.learnt = learnt;
}

void route_greeted(struct redis *redis)
{
    struct route *route = redis->route;

    route->stale = 0;
    if (route->kind != ROUTE_CLUSTER)
        return;
    cluster_found(&route->cluster, &route->at);
    redis_command(redis, 2, (const char *const[]){"CLUSTER", "SLOTS"}, NULL, on_slots, redis);
}

/* --- redirects, and the end ----------------------------------------------------------------- */

bool route_takes(struct redis *redis, const struct redis_reply *reply)
{
    struct route *route = redis->route;
    enum redirect_kind kind = REDIRECT_NOT;
    struct node to;

    if (route->kind == ROUTE_CLUSTER)
        kind = redirect_read(reply, &route->at, route->slot, &to);
    if (kind == REDIRECT_MOVED) {
        route->moved = true;
        route->moved_to = to;
        redis->held = true; /* what else it answers to is of no interest */
        redis_leave(redis, REDIS_REFUSED_moved, reply->text);
        return true;
    }
    if (kind == REDIRECT_ASK && redis->phase == PHASE_UP) {
        ask_follow(redis, &to);
        return true;
    }
    return false;
}

bool route_over(struct redis *redis)
{
    struct route *route = redis->route;
    struct sentinel *sentinel = &route->sentinel;
    bool up = redis->phase == PHASE_UP;

    if (route->kind == ROUTE_CLUSTER && route->moved)
        return cluster_moved(&route->cluster, &route->moved_to);
    if (up)
        return false;
    if (route->kind == ROUTE_CLUSTER)
        return cluster_failed(&route->cluster);
    if (route->kind != ROUTE_SENTINEL)
        return false;
    sentinel->turn = (sentinel->turn + 1) % sentinel->nodes.count;
    if (route->no_master && ++route->stale < sentinel->nodes.count)
        return true;
    route->stale = 0;
    return false;
}
