/*
 * queue_look.h - what stands in Redis at this moment: length and bytes of the queue, holder of the
 * lock. A connection of its own, opened by the first question and closed after a minute without
 * one.
 */
#ifndef SPENDD_CONTROL_QUEUE_LOOK_H
#define SPENDD_CONTROL_QUEUE_LOOK_H

#include "common/base/err.h"
#include "common/litellm/lists.h"

#include <stdbool.h>
#include <stdint.h>

struct harness;
struct queue_look;
struct redis;

enum { HOLD_FLUSH, HOLD_PUSH, HOLD_INGEST, HOLDS };

struct queue_figures {
    bool known;
    char why[240];    /* when not known */
    char node[264];   /* the server that was asked: Sentinels and clusters have several */
    int64_t length;   /* batches in the queue */
    int64_t bytes;    /* -1: Redis has no count of them */
    bool held;        /* somebody holds the lock */
    char holder[160]; /* who */
    int64_t ttl_ms;   /* how long yet, if nobody renews it */
    int64_t aside;    /* envelopes of a newer build, set aside */
    struct {
        bool held;
        char holder[160];
        int64_t ttl_ms;
    } pod[LITELLM_LOCKS]; /* LiteLLM's pod locks, where its lists are adopted */
    struct {
        int64_t left_ms; /* the fleet is to hold: for how long yet; 0: not */
        char who[80];
    } hold[HOLDS];
};

extern const char *const queue_look_holds[HOLDS]; /* their words: flush, push, ingest */

/* The answer to a question; once for each, never from within queue_look_ask. */
typedef void queue_look_fn(void *arg, uint32_t ticket, const struct queue_figures *figures);

struct queue_look *queue_look_new(struct harness *harness, queue_look_fn *answer, void *arg,
                                  struct err *err);
void queue_look_free(struct queue_look **look);

/* False: cannot be asked; `why` says so (a full list of questions, a bad URL) and no answer comes.
 */
bool queue_look_ask(struct queue_look *look, uint32_t ticket, struct err *why);

/* Lends the connection for something else: calls `send` when it is up (at once, if it is), or `gone` with
 * the reason.  False: as above. */
typedef void queue_look_send_fn(void *arg, struct redis *redis);
typedef void queue_look_gone_fn(void *arg, const char *why);
bool queue_look_lend(struct queue_look *look, queue_look_send_fn *send, queue_look_gone_fn *gone,
                     void *arg, struct err *why);

#endif
