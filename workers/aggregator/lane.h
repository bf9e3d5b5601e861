/*
 * lane.h - one spool directory: its lock, its sealed segments, their names and marks.
 */
#ifndef SPENDD_AGGREGATOR_LANE_H
#define SPENDD_AGGREGATOR_LANE_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/batch/batch.h"
#include "common/batch/segment_name.h"
#include "common/config/settings.h"
#include "common/stats/stats.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sealed { /* kept small: there may be many thousands while a store is down */
    uint64_t seq;
    int64_t began_ms, sealed_ms, applied_ms; /* wall clock; began: its first group was durable */
    uint32_t epoch;                /* index into lane->epochs */
    uint32_t bytes;
    uint32_t number;       /* counts the segments of this life, for fences */
    uint32_t sent, pushed; /* the round in which it was; 0: none */
    bool applied;
    bool hurt; /* could not be read or rescued; left alone until lane_retry_hurt */
};

struct lane {
    const struct settings *settings;
    struct stats_page *stats;
    unsigned index;
    char path[256];
    int directory; /* open and flocked for life */
    char (*epochs)[EPOCH_TEXT];
    uint32_t epoch_count;
    struct sealed *sealed; /* in order of sealing */
    size_t count, size;
    uint32_t numbered; /* the last number given out */
    int64_t bytes, unapplied_bytes, unapplied;
    int64_t open_bytes; /* of the segment that is still open */
    int64_t open_since_ms; /* when the first of them were durable; 0: none are */
    bool full;
    void (*alive)(void *arg); /* told between the steps of a long recovery; NULL: nobody asks */
    void *alive_arg;
    /* Who names what is sealed next. */
    bool minted;
    uint32_t epoch;
    uint64_t next_seq;
    int64_t minted_skew;
    uint64_t open_number; /* of the next open-<n>.seg */
    uint64_t open_first;  /* the first of this life: those before it were found */
};

/* Opens and locks <root>/lane-<index>.  1: somebody else holds it; -1: failed. */
int lane_open(struct lane *lane, const struct settings *settings, struct stats_page *stats,
              unsigned index, struct err *err) MUST_CHECK;
/* The same for a directory that is there, wherever: for tasks. */
int lane_open_at(struct lane *lane, const struct settings *settings, struct stats_page *stats,
                 const char *path, struct err *err) MUST_CHECK;
void lane_close(struct lane *lane);

/* The identity for a segment that is about to be sealed; each call gives another. */
void lane_identity(struct lane *lane, struct identity *identity);
void lane_identity_of(const struct lane *lane, const struct sealed *sealed,
                      struct identity *identity);

struct sealed *lane_add(struct lane *lane, const struct identity *identity, int64_t bytes,
                        int64_t sealed_ms, bool applied);
struct sealed *lane_find(struct lane *lane, const char *epoch, uint64_t seq); /* NULL: none */
void lane_remove(struct lane *lane, struct sealed *sealed); /* from the list, not from the disk */

void lane_alive(const struct lane *lane); /* a long recovery has done a step */
void lane_sort(struct lane *lane); /* by sealing; pointers into the list are void then */
void lane_retry_hurt(struct lane *lane);

/* What Redis says of an epoch: marks follow in both directions.  Returns how many went back. */
unsigned lane_applied(struct lane *lane, const char *epoch, const char *ranges, int64_t now_ms);

/* Deletes applied segments whose time has come, or that stand in the way of the bound; those sealed
 * after `ids_safe_ms` stay: the window's image does not cover them.  Then says whether it is full. */
void lane_upkeep(struct lane *lane, int64_t now_ms, int64_t ids_safe_ms);
void lane_figures(const struct lane *lane);

/* Moves a file into quarantine/ and counts it. */
void lane_quarantine(struct lane *lane, const char *name, const char *why);
int lane_quarantine_bytes(struct lane *lane, const char *name, int64_t offset,
                          const unsigned char *data, size_t bytes, struct err *err) MUST_CHECK;

#endif
