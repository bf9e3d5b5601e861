/*
 * pending.h - batches that are in Redis and not yet known to be applied: which to forget, which to
 * ask for again.  Pure: time and what Redis said are arguments.
 */
#ifndef SPENDD_REDIS_WRITER_PENDING_H
#define SPENDD_REDIS_WRITER_PENDING_H

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "common/batch/batch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENDING_MAX 65536
#define PENDING_ASKS_MAX 16 /* a lane that does not answer that often has it no more */

struct pending_batch {
    struct identity identity;
    uint32_t lane;
    int64_t ticket;
    int64_t popped; /* of the queue, when it was pushed or asked for last */
    mono_t due;     /* to be asked for again, if nothing happens */
    uint8_t asks;   /* how often it was asked for */
    bool suspected; /* a look found it popped, or overtaken, and not applied */
    bool applied;
};

struct pending {
    struct pending_batch *batch; /* in the order of their first push */
    size_t count, size;
    int64_t newest_applied; /* highest ticket of ours that was applied */
};

void pending_cleanup(struct pending *pending);
void pending_forget(struct pending *pending); /* a generation begins: tickets mean nothing now */

/* No room: nothing more may be pushed. */
bool pending_full(const struct pending *pending);

/* Pushed, for the first time or again.  -1: no memory. */
int pending_pushed(struct pending *pending, const struct pending_batch *pushed, mono_t now,
                   int64_t repush_ms) MUST_CHECK;

/* The wait is another one now: nobody waits longer than that, from now on. */
void pending_hurry(struct pending *pending, mono_t now, int64_t repush_ms);

/* Redis counts fewer pushes than one of our tickets: it went back in time. */
bool pending_went_back(const struct pending *pending, int64_t pushed);

/* What is applied of an epoch (see common/batch/ranges.h).  Returns how many batches it settled. */
size_t pending_applied(struct pending *pending, const char *epoch, const char *ranges);

/* After a look: `again` is told each batch to ask for; it returns false if it could not ask. */
typedef bool pending_again_fn(void *arg, const struct pending_batch *batch);
void pending_sweep(struct pending *pending, int64_t popped, mono_t now, int64_t repush_ms,
                   pending_again_fn *again, void *arg);

#endif
