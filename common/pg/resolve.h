/*
 * resolve.h - names to addresses in a helper thread, because getaddrinfo blocks and knows no deadline.
 * Inside common/pg only.
 */
#ifndef SPENDD_PG_RESOLVE_H
#define SPENDD_PG_RESOLVE_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/pg/targets.h"

#include <stdbool.h>

struct resolve;

/* Starts the thread.  NULL with err: no thread to be had. */
struct resolve *resolve_start(const struct pg_targets *asked, struct err *err);

/* Readable when it is done. */
int resolve_fd(const struct resolve *resolve);

/* Is this the look-up of these very names? */
bool resolve_of(const struct resolve *resolve, const struct pg_targets *asked);

/* After it is done: as asked, each name replaced by its addresses in the resolver's order.  -1: not one
 * name was found and there is nothing else to try. */
int resolve_result(const struct resolve *resolve, struct pg_targets *found,
                   struct err *err) MUST_CHECK;

/* Lets go; a thread that still runs ends by itself and frees what is left. */
void resolve_drop(struct resolve **resolve);

#endif
