/*
 * queue_look.h - what stands in Redis at this moment: length and bytes of the queue, holder of the
 * lock. A connection of its own, opened by the first question and closed after a minute without
 * one.
 */
#ifndef SPENDD_CONTROL_QUEUE_LOOK_H
#define SPENDD_CONTROL_QUEUE_LOOK_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct harness;
struct queue_look;

struct queue_figures {
    bool known;
    char why[240];    /* when not known */
    char node[264];   /* the server that was asked: Sentinels and clusters have several */
    int64_t length;   /* batches in the queue */
    int64_t bytes;    /* -1: Redis has no count of them */
    bool held;        /* somebody holds the lock */
    char holder[160]; /* who */
    int64_t ttl_ms;   /* how long yet, if nobody renews it */
};

/* The answer to a question; once for each, never from within queue_look_ask. */
typedef void queue_look_fn(void *arg, uint32_t ticket, const struct queue_figures *figures);

struct queue_look *queue_look_new(struct harness *harness, queue_look_fn *answer, void *arg,
                                  struct err *err);
void queue_look_free(struct queue_look **look);

/* False: cannot be asked; `why` says so (a full list of questions, a bad URL) and no answer comes.
 */
bool queue_look_ask(struct queue_look *look, uint32_t ticket, struct err *why);

#endif
