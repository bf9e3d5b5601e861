/*
 * redis_sentinel.h - asks the Sentinels, in turn, where the master is.  Only common/redis includes
 * this.
 */
#ifndef SPENDD_REDIS_SENTINEL_H
#define SPENDD_REDIS_SENTINEL_H

#include "common/base/err.h"
#include "common/base/nodes.h"
#include "common/redis/redis.h"

struct timer;

/* In place of the URL's; "" is none. */
struct login {
    const char *user, *password;
};

struct sentinel {
    struct nodes nodes;
    size_t turn;  /* whom to ask first: who was right the last time */
    size_t asked; /* in this round */
    char master[128];
    char user[128];     /* "": the default user */
    char *password;     /* as it stands in the settings; NULL: none */
    struct redis *door; /* to the one being asked; NULL: nobody is */
    struct timer *end;
    bool found;
    struct node at;
    enum redis_refusal refused;
    struct err why; /* of the last one that did not help */
};

/* Begins a round, which ends in redis_look_up or redis_fail of `redis`, or by sentinel_stop. */
void sentinel_ask(struct redis *redis);
void sentinel_stop(struct redis *redis);
void sentinel_close(struct redis *redis);

#endif
