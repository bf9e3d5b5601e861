/*
 * adopt_parts.h - claimed elements, read into what one flush adds to LiteLLM's tables, and into dead letters.
 *
 * Made anew for every attempt: claims that turned out to be settled are left out, and so are entries that
 * PostgreSQL refused; entries are numbered in the order in which they stand, which is what a hunt for the
 * refused ones goes by.  Pure but for hashing.
 */
#ifndef SPENDD_DB_FLUSHER_ADOPT_PARTS_H
#define SPENDD_DB_FLUSHER_ADOPT_PARTS_H

#include "workers/db_flusher/claim.h"
#include "workers/db_flusher/litellm.h"

#include <stdint.h>

struct adopt_parts {
    struct claim *claim; /* `claims` of them; those of which PostgreSQL says nothing are read */
    size_t claims;
    struct sums sums;
    struct load load;       /* no batches of the queue: dead letters */
    struct text records;    /* of the dead letters */
    struct flush_windows windows;
    uint8_t *refused;       /* by entry: PostgreSQL refused it */
    size_t refused_room;
    size_t items;           /* entries that could be counted, when last made */
    int64_t elements, dead_elements, dead_entries; /* when last made */
};

void adopt_parts_init(struct adopt_parts *parts, const struct layout *layout);
void adopt_parts_free(struct adopt_parts *parts);

/* Nothing was refused yet: a new attempt at these claims. */
void adopt_parts_begin(struct adopt_parts *parts, struct claim *claim, size_t claims);
/* -1: out of memory.  `poison`: NULL, or of what a trial holds. */
int adopt_parts_make(struct adopt_parts *parts, const struct poison *poison) MUST_CHECK;
int adopt_parts_refuse(struct adopt_parts *parts, size_t item) MUST_CHECK;

/* Does nothing stand in this element?  Pods push such ones all the time. */
bool adopt_element_empty(enum litellm_list list, const char *bytes, size_t length);

#endif
