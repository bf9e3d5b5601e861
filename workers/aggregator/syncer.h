/*
 * syncer.h - the thread that waits for the disk, so that the loop never does.  One job at a time.
 */
#ifndef SPENDD_AGGREGATOR_SYNCER_H
#define SPENDD_AGGREGATOR_SYNCER_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sync_op {
    SYNC_COMMIT,  /* write `data` at `offset` and sync it; fd < 0: make the file `name` first */
    SYNC_SEAL,    /* cut to `offset` if `cut`, rename `name` to `to`, sync the directory, close */
    SYNC_DISCARD, /* close and remove `name`: it holds nothing that was acknowledged */
    SYNC_WRITE    /* write `data` at `offset` of `fd` and sync it (the window's image) */
};

struct sync_job {
    enum sync_op op;
    int directory, fd;
    char name[32], to[96];
    bool cut;
    const unsigned char *data; /* the owner's; untouched until done */
    size_t bytes;
    int64_t offset;
    int error; /* errno, 0: done and durable */
    int64_t took_us;
};

struct syncer;
struct syncer *syncer_start(struct err *err);
void syncer_stop(struct syncer **syncer); /* after the job in hand */
int syncer_fd(const struct syncer *syncer); /* readable when a job is done */
void syncer_give(struct syncer *syncer, const struct sync_job *job); /* only when idle */
bool syncer_take(struct syncer *syncer, struct sync_job *job); /* the finished job; false: none yet */
bool syncer_idle(const struct syncer *syncer);

#endif
