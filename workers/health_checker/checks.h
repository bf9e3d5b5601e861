/*
 * checks.h - asks models over HTTP, some at once, each once, within its deadline.  The door to libcurl.
 */
#ifndef SPENDD_HEALTH_CHECKER_CHECKS_H
#define SPENDD_HEALTH_CHECKER_CHECKS_H

#include "common/base/err.h"
#include "workers/health_checker/results.h"

struct harness;
struct checks;

/* All are done; `found` has a result for each model, in their order, and is borrowed for the call. */
typedef void checks_done_fn(void *arg, const struct result *found, unsigned count);

struct checks *checks_new(struct harness *harness, checks_done_fn *done, void *arg, struct err *err);
void checks_free(struct checks **checks);

/* Of the models that stand in the settings now (copied).  One round at a time.  `done` is called from the
 * loop, never from within this call. */
void checks_start(struct checks *checks);

/* What is under way is broken off; `done` is not called. */
void checks_stop(struct checks *checks);

#endif
