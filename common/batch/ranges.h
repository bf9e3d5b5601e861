/*
 * ranges.h - which batches of an epoch are applied: an int8multirange as PostgreSQL writes it,
 * "{[1,6),[8,9)}".  The ledger holds it, Redis carries it, the spool is marked by it.  Pure.
 */
#ifndef SPENDD_BATCH_RANGES_H
#define SPENDD_BATCH_RANGES_H

#include "common/base/attr.h"

#include <stdbool.h>
#include <stdint.h>

/* Is `seq` in it?  1, 0, or -1: it is not a multirange. */
int ranges_have(const char *text, uint64_t seq) MUST_CHECK;

#endif
