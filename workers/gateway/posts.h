/*
 * posts.h - payloads on their way to an aggregator, and the answers that say that they are durable.
 */
#ifndef SPENDD_GATEWAY_POSTS_H
#define SPENDD_GATEWAY_POSTS_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/bus/bus.h"
#include "common/harness/harness.h"

#include <stdbool.h>
#include <stddef.h>

enum post_outcome {
    POST_DURABLE,  /* at least one event was accepted, or known */
    POST_NOTHING,  /* every event was refused */
    POST_REFUSED,  /* the whole of it, for good */
    POST_LATER,    /* refused for now */
    POST_LOST      /* its aggregator died, or will not answer: perhaps it is durable, nobody knows */
};

/* `json` is the aggregator's answer, borrowed for the call; POST_LOST: none. */
typedef void post_fn(void *arg, enum post_outcome outcome, const char *json, size_t bytes);

struct posts;
struct post;

/* NULL: failed. */
struct posts *posts_open(struct harness *harness, struct bus *bus, struct err *err);
void posts_close(struct posts **posts);

/* Sends the payload as soon as an aggregator takes it, and tells `done` once.  `payload` stays the caller's
 * and must stay until then, or until post_forget.  NULL: too many wait already. */
struct post *post_send(struct posts *posts, const void *payload, size_t bytes, post_fn *done, void *arg);
/* `done` is not called any more. */
void post_forget(struct posts *posts, struct post *post);

/* spendd drains: an aggregator that does not serve will not serve again.  What nobody has taken is POST_LOST at the
 * next turn of the loop, not at its deadline. */
void posts_end(struct posts *posts);

/* Instance `lane` of the aggregator lives and takes messages, or it does not. */
void posts_lane(struct posts *posts, unsigned lane, bool serves, bool lives);

#endif
