/*
 * crowd.h - the bound on connections at the admin socket (admin.max_connections).
 */
#ifndef SPENDD_CONTROL_CROWD_H
#define SPENDD_CONTROL_CROWD_H

#include "common/bus/bus.h"
#include "common/harness/harness.h"

struct crowd;

/* When the admin socket is bound.  NULL: no memory. */
struct crowd *crowd_watch(struct harness *harness, struct bus *bus);
void crowd_free(struct crowd **crowd);

#endif
