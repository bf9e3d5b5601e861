/*
 * segment.h - a segment file as bytes: read it, judge it, save what can be saved.
 */
#ifndef SPENDD_AGGREGATOR_SEGMENT_H
#define SPENDD_AGGREGATOR_SEGMENT_H

#include "workers/aggregator/lane.h"
#include "workers/aggregator/window.h"

struct segment {
    unsigned char *memory; /* owned; segment_free */
    unsigned char *data;   /* in it, behind ENVELOPE_LINE_MAX bytes of room */
    size_t bytes;
    bool header;      /* it has a good one */
    size_t good;      /* the first `good` bytes are header and whole records */
    uint32_t records; /* in them */
};

/* Reads the whole file.  -1: could not be read (err); -2: for want of memory. */
int segment_read(int directory, const char *name, struct segment *segment, struct err *err) MUST_CHECK;
void segment_free(struct segment *segment);

/* Pure: judges bytes that were read. */
bool segment_whole(const struct segment *segment);
bool segment_tail_is_zeros(const struct segment *segment);

/* Every intact record, before and behind the damage, packed behind a header in place.  Returns how
 * many; `bytes` shrinks to them. */
uint32_t segment_salvage(struct segment *segment);

/* Puts the ids of its events into the window. */
void segment_ids(const struct segment *segment, struct window *window, uint32_t now_second);

/* Recovery of one open segment found in `from` (a lane or an abandoned one): cut at the first torn
 * record, synced, sealed into `lane` under a new identity.  -1: could not (err); the file stays. */
int segment_recover(struct lane *lane, int from, const char *name, struct err *err) MUST_CHECK;

/* A sealed segment that does not verify: its intact records are sealed again under a new identity,
 * the file goes to quarantine. */
int segment_rescue(struct lane *lane, struct sealed *sealed, struct segment *segment,
                   struct err *err) MUST_CHECK;

#endif
