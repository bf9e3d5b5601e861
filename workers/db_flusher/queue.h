/*
 * queue.h - the flusher's words to Redis: keys, and the arguments of the scripts it runs.
 */
#ifndef SPENDD_DB_FLUSHER_QUEUE_H
#define SPENDD_DB_FLUSHER_QUEUE_H

#include "common/config/settings.h"
#include "common/redis/redis.h"
#include "workers/db_flusher/load.h"

#define QUEUE_KEY 96

struct queue {
    struct redis *redis;
    char queue[QUEUE_KEY], meta[QUEUE_KEY], applied[QUEUE_KEY], aside[QUEUE_KEY], lock[QUEUE_KEY], hold[QUEUE_KEY];
    char audit[QUEUE_KEY]; /* a lock as well: who audits while the fleet has nothing to do */
    char token[160]; /* what the lock holds while it is ours */
    int64_t redis_ms; /* the clock of Redis, when last asked about a hold; 0: unknown */
};

void queue_init(struct queue *queue, struct redis *redis, const struct settings *settings);

/* Which elements: `batches` of them at the most, from `first` on, `bytes` altogether, and about `piece`
 * bytes in one answer.  The head alone is given whatever its size. */
struct queue_part {
    int64_t first, batches, bytes, piece;
};
void queue_peek(struct queue *queue, const struct queue_part *part, redis_reply_fn *f, void *arg);
void queue_holder(struct queue *queue, redis_reply_fn *f, void *arg); /* who has the lock? */
/* Is the fleet to hold its flushes?  Plain commands: answered before whatever is asked behind them. */
void queue_hold(struct queue *queue, redis_reply_fn *f, void *arg);
int64_t queue_hold_left(const struct queue *queue, const struct redis_reply *reply); /* ms; -1: unknown */
void queue_target(struct queue *queue, const char *install, redis_reply_fn *f, void *arg);
void queue_lock(struct queue *queue, int64_t ttl_ms, redis_reply_fn *f, void *arg);
void queue_renew(struct queue *queue, int64_t ttl_ms, redis_reply_fn *f, void *arg);
void queue_audit(struct queue *queue, int64_t ttl_ms, redis_reply_fn *f, void *arg);
void queue_unlock(struct queue *queue, redis_reply_fn *f, void *arg);
void queue_published(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg);
void queue_all_published(struct queue *queue, redis_reply_fn *f, void *arg);
/* What is published of the load's old epochs leaves Redis, some of it at a time; false: there is nothing. */
bool queue_retire(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg);
void queue_aside(struct queue *queue, const struct load *load, const char *sha1, redis_reply_fn *f,
                 void *arg);

/* The element of `aside` at an index; the one envelope of a load to the queue's end; out of `aside`. */
void queue_look_aside(struct queue *queue, int64_t index, redis_reply_fn *f, void *arg);
void queue_put_back(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg);
void queue_forget_aside(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg);

/* What a finished commit made true of this load: ranges of its epochs, and which elements leave. */
void queue_publish(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg);
void queue_rewrite(struct queue *queue, const struct load *load, redis_reply_fn *f, void *arg);

#endif
