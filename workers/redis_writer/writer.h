/*
 * writer.h - the state of redis_writer: what lanes have sent, what Redis has.
 */
#ifndef SPENDD_REDIS_WRITER_WRITER_H
#define SPENDD_REDIS_WRITER_WRITER_H

#include "common/bus/bus.h"
#include "common/harness/harness.h"
#include "common/redis/redis.h"
#include "workers/redis_writer/epochs.h"
#include "workers/redis_writer/pending.h"

#define LANES_MAX 16
#define KEY_BYTES 96
#define HELD_MAX 64 /* twice what the lanes may send on credit; more is a lane gone wrong */

/* A batch that a lane has sent and that is not in Redis yet. */
struct held {
    struct held *next;
    struct msg_batch batch;
    size_t bytes;
    char envelope[];
};

struct lane {
    struct bus_socket *receipts;
    uint64_t aggregator; /* who it was when it last said hello; 0: not heard of */
    bool looked;         /* all epochs it has announced were looked up since */
};

struct writer {
    struct harness *harness;
    const struct settings *settings;
    struct stats_page *stats;
    struct bus *bus;
    struct bus_socket *batches;
    struct redis *redis;
    struct timer *hello, *poll, *fleet;
    struct lane lane[LANES_MAX];
    unsigned lanes, credit;
    uint64_t id;
    char queue[KEY_BYTES], meta[KEY_BYTES], applied[KEY_BYTES], hold[KEY_BYTES], instances[KEY_BYTES];
    char generation[40]; /* in which we push; "": not known yet */
    char announced[40];  /* ... as the lanes know it: only after they know what is applied */
    char run[104];       /* run_id and master_replid of the server; "": not known */
    struct epochs epochs;
    struct pending pending;
    struct held *first, *last; /* in the order they came */
    size_t held;
    int64_t queue_bytes;
    uint64_t looks;   /* begun */
    bool known;       /* a look has answered since the connection came up */
    bool must_renew;  /* Redis may have gone back without noticing */
    bool paused; /* push, by the operator, until pause_ends */
    mono_t pause_ends, hold_ends; /* hold_ends: the whole fleet's */
    uint64_t fleet_looks;
    bool ingest_held; /* the lanes were told so */
    bool looking, pushing, full, draining, drained_once;
    bool down; /* and was said to be */
    struct refusal_voice voice;
    unsigned refusals;  /* of pushes, in a row */
    mono_t push_after; /* ... so not before */
    mono_t push_began; /* of the one under way */
};

/* writer_lanes.c: the two channels. */
void lanes_batch(void *arg, struct bus_socket *socket, const struct bus_frame *frames,
                 size_t count);
void lanes_hello(struct writer *writer);
void lanes_tell_applied(struct writer *writer);
void lanes_hold_ingest(struct writer *writer, int64_t ms);
bool lanes_again(void *arg, const struct pending_batch *batch);
void lanes_pushed(struct writer *writer, const struct msg_batch *batch);
void held_drop_first(struct writer *writer);
void held_drop_all(struct writer *writer);

/* writer_fleet.c: this instance among the others. */
void fleet_look(void *writer); /* timer */
void fleet_record(struct writer *writer, const struct msg *record);
bool fleet_push_paused(const struct writer *writer);

/* writer_redis.c: the scripts. */
void redis_begin(struct writer *writer); /* the connection came up */
void redis_lost(struct writer *writer);
void redis_look(struct writer *writer);
void redis_push_next(struct writer *writer);
void redis_complain(struct writer *writer, const char *what, const struct redis_reply *reply,
                    const char *reason);

#endif
