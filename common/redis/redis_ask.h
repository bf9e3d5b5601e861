/*
 * redis_ask.h - a command that is asked of another node, while a slot moves there.  Only
 * common/redis includes this.
 */
#ifndef SPENDD_REDIS_ASK_H
#define SPENDD_REDIS_ASK_H

#include "common/base/attr.h"
#include "common/base/nodes.h"
#include "common/redis/redis.h"
#include "common/redis/redis_wire.h"

#include <stdbool.h>

struct timer;

struct ask {
    struct redis *door; /* NULL: none */
    struct node at;
    bool waiting, sent; /* the call at the head of the queue waits; its bytes have moved over */
    struct timer *idle, *resume;
};

/* The call at the head of the queue is asked of `to`; nothing more is read until it is answered. */
void ask_follow(struct redis *redis, const struct node *to);
void ask_stop(struct redis *redis); /* the connection that asked is over */
void ask_close(struct redis *redis);

/* Puts ASKING in front of a command. */
int ask_prefix(struct wire_text *head) MUST_CHECK;

#endif
