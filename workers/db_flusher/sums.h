/*
 * sums.h - what one flush adds to each table of the layout.  Filled by a flush from its load's events, or by
 * somebody else before the flush runs (flush_ask.sums; litellm.h has the calls).
 */
#ifndef SPENDD_DB_FLUSHER_SUMS_H
#define SPENDD_DB_FLUSHER_SUMS_H

#include "workers/db_flusher/layout.h"

struct sums {
    const struct layout *layout;
    struct tally tally[LAYOUT_TABLES]; /* layout->tables of them */
};

void sums_init(struct sums *sums, const struct layout *layout);
void sums_clear(struct sums *sums); /* keeps the memory, unless it is much */
void sums_free(struct sums *sums);

#endif
