/*
 * fence.h - errands of the operator that are about this lane's spool: flush (seal now, and perhaps wait until
 * PostgreSQL has it), backlog.
 */
#ifndef SPENDD_AGGREGATOR_FENCE_H
#define SPENDD_AGGREGATOR_FENCE_H

#include "common/harness/harness.h"
#include "workers/aggregator/lane.h"
#include "workers/aggregator/spool.h"

struct fences;

/* Never NULL: a lane that cannot be asked goes on without. */
struct fences *fences_open(struct harness *harness, struct lane *lane, struct spool *spool);
void fences_close(struct fences **fences);

void fences_look(struct fences *fences);       /* answers what has become true */
bool fences_seal(const struct fences *fences); /* does one wait for the open segment's seal? */

#endif
