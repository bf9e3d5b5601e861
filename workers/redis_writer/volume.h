/*
 * volume.h - the sealed segments of a spool that nobody owns, as envelopes.
 */
#ifndef SPENDD_REDIS_WRITER_VOLUME_H
#define SPENDD_REDIS_WRITER_VOLUME_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/batch/batch.h"

#include <stdbool.h>
#include <stddef.h>

#define VOLUME_LANES_MAX 64

struct volume_segment {
    unsigned lane;
    struct identity identity;
    int64_t sealed_ms;
};

struct volume {
    int lane[VOLUME_LANES_MAX]; /* directories, locked while it is open */
    unsigned lanes;
    struct volume_segment *segment; /* not applied as far as their names say; oldest first */
    size_t count;
    size_t applied; /* the others */
};

/* A spool, or one lane.  -1: in use, or cannot be read (err). */
int volume_open(struct volume *volume, const char *path, struct err *err) MUST_CHECK;
void volume_close(struct volume *volume);

/* The envelope of a segment, owned by the caller.  NULL: damaged, or cannot be read (err). */
char *volume_envelope(const struct volume *volume, const struct volume_segment *segment, size_t *bytes,
                      struct err *err);

#endif
