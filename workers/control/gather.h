/*
 * gather.h - one errand for every aggregator, and its answers added up.
 */
#ifndef SPENDD_CONTROL_GATHER_H
#define SPENDD_CONTROL_GATHER_H

#include "workers/control/control.h"

struct gather;

/* All have answered: `segments` that PostgreSQL does not have (their sum), and `bytes` of an open one; or
 * one of them could not: `why` (NULL: all did).  The gather is gone then. */
typedef void gather_fn(void *arg, int64_t segments, int64_t bytes, const char *why);

/* NULL: could not begin; `err`. */
struct gather *gather_ask(struct control *control, size_t count, const char *const *words,
                          gather_fn *done, void *arg, struct err *err);
void gather_drop(struct gather **gather);

#endif
