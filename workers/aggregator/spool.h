/*
 * spool.h - the open segment: group commits into it, and its sealing.  One disk job at a time.
 */
#ifndef SPENDD_AGGREGATOR_SPOOL_H
#define SPENDD_AGGREGATOR_SPOOL_H

#include "common/base/clock.h"
#include "workers/aggregator/lane.h"
#include "workers/aggregator/syncer.h"
#include "workers/aggregator/window.h"

/* SPOOL_GONE: the lane, or the open file, is no longer where it was. */
enum spool_did { SPOOL_NOTHING, SPOOL_COMMITTED, SPOOL_FAILED, SPOOL_SEALED, SPOOL_GONE };

struct spool {
    struct lane *lane;
    struct syncer *syncer;
    struct window *window;
    /* The open segment; fd < 0: none. */
    int fd;
    char name[32];
    int64_t good; /* bytes that are durable: header and whole groups */
    uint64_t events;
    mono_t since;
    bool broken;        /* takes no more records */
    bool seal_now;      /* asked to (drain) */
    mono_t retry_at;    /* after a seal that failed */
    uint64_t seals;     /* so far; a segment thrown away counts too */
    uint64_t job_events;
    size_t job_bytes;
    struct identity sealing;
    bool named; /* `sealing` is its name already: a failed seal is tried again under the same */
    /* The window's image. */
    int image_fd;
    unsigned char *image_run;
    bool image_wanted;
    int64_t image_began_ms, ids_safe_ms;
};

void spool_init(struct spool *spool, struct lane *lane, struct syncer *syncer,
                struct window *window);
void spool_cleanup(struct spool *spool);

/* Gives the disk what is due before the next group; true: it is busy or must wait. */
bool spool_busy(struct spool *spool, mono_t now);
/* A group of records; not while busy.  `data` stays untouched until spool_done says so. */
void spool_commit(struct spool *spool, const unsigned char *data, size_t bytes, uint64_t events);
/* After the syncer's descriptor was readable. */
enum spool_did spool_done(struct spool *spool, mono_t now);
bool spool_empty(const struct spool *spool); /* nothing open, nothing under way */
bool spool_stuck(const struct spool *spool, mono_t now);

#endif
