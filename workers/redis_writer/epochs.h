/*
 * epochs.h - the epochs that the lanes hold segments of, and what each lane was told is applied.
 */
#ifndef SPENDD_REDIS_WRITER_EPOCHS_H
#define SPENDD_REDIS_WRITER_EPOCHS_H

#include "common/base/attr.h"
#include "common/batch/batch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EPOCHS_MAX 1024

struct epoch {
    char name[EPOCH_TEXT];
    uint32_t lane;  /* who announced it last */
    uint32_t told;  /* bit per lane: has been told `value` */
    uint64_t asked; /* the last look that asked for it; 0: none yet */
    size_t item;    /* ... and where its answer stands in the reply */
    char *value;    /* "<version> <ranges>" as Redis said last; NULL: nothing there */
};

struct epochs {
    struct epoch *epoch; /* EPOCHS_MAX of them */
    size_t count;
};

int epochs_init(struct epochs *epochs) MUST_CHECK;
void epochs_cleanup(struct epochs *epochs);

/* Known from now on.  True: it was not known before.  When full, the oldest makes room: its lane
 * announces it again when it starts, and to push an applied batch again is harmless. */
bool epochs_add(struct epochs *epochs, const char *name, uint32_t lane);
void epochs_lane_begins(struct epochs *epochs, uint32_t lane); /* it will announce what it holds */
void epochs_untold(struct epochs *epochs);                     /* everybody must be told anew */

/* What Redis says; true if that is new. */
bool epoch_says(struct epoch *epoch, const char *value);

#endif
