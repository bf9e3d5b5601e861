/*
 * redis_route.h - where the next attempt to connect goes: the URL's own host, the master that the
 * Sentinels name, or the node of a cluster that serves our slot.  Only common/redis includes this.
 */
#ifndef SPENDD_REDIS_ROUTE_H
#define SPENDD_REDIS_ROUTE_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/base/nodes.h"
#include "common/redis/redis.h"
#include "common/redis/redis_cluster.h"
#include "common/redis/redis_sentinel.h"

enum route_kind { ROUTE_URL, ROUTE_NODE, ROUTE_SENTINEL, ROUTE_CLUSTER };

struct route {
    enum route_kind kind;
    struct node at; /* of this attempt; not for ROUTE_URL */
    char user[128];
    char *password; /* ROUTE_NODE: both in place of the URL's login; NULL: the URL's */

    struct sentinel sentinel; /* ROUTE_SENTINEL */
    bool no_master;           /* this attempt found a server that is none */
    size_t stale;             /* ... how many times in a row */

    struct cluster cluster; /* ROUTE_CLUSTER */
    unsigned slot;
    char key[96];
    bool moved; /* this attempt, or connection, ended by a redirect to: */
    struct node moved_to;
};

int route_open(struct redis *redis, const struct redis_options *options,
               struct err *err) MUST_CHECK;
int route_open_node(struct redis *redis, const struct node *node, const struct login *login,
                    struct err *err) MUST_CHECK; /* to this node alone */
void route_close(struct redis *redis);

/* The URL was read: say where to.  1: it stands in redis->url; 0: it is being asked for, then
 * redis_look_up or redis_fail is called; -1: err. */
int route_begin(struct redis *redis, struct err *err) MUST_CHECK;
int64_t route_patience_ms(const struct redis *redis); /* for the attempt that begins */
void route_stop(struct redis *redis); /* the asking, if any */

/* What the greeting asks besides, and when all of it was answered. */
void route_greet(struct redis *redis);
void route_greeted(struct redis *redis);

/* True: the reply was a redirect, and its call stays at the head of the queue. */
bool route_takes(struct redis *redis, const struct redis_reply *reply);

/* The attempt or the connection is over.  True: begin the next one at once. */
bool route_over(struct redis *redis);

#endif
