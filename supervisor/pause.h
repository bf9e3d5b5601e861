/*
 * pause.h - what the operator has paused (spendctl pause flush|push|ingest), and until when.
 * Kept by the supervisor: it outlives every worker, so a pause survives a worker's restart; a full
 * restart begins without any.
 */
#ifndef SPENDD_SUPERVISOR_PAUSE_H
#define SPENDD_SUPERVISOR_PAUSE_H

#include "common/base/clock.h"
#include "common/msg/msg.h"

#include <stdbool.h>

struct supervisor;
struct slot;

enum pause_what { PAUSE_FLUSH, PAUSE_PUSH, PAUSE_INGEST, PAUSES };

struct pause {
    bool on;
    mono_t until; /* mono_never: until it is resumed */
    char who[sizeof((struct msg_pause *)0)->who];
};

/* The orders "pause" (target: what; argument: "<ms, 0: no end> <who>") and "resume" (target: what, or
 * empty for all). */
void pause_order(struct supervisor *supervisor, const struct msg_order *order, struct msg *answer);
void pause_resume(struct supervisor *supervisor, const struct msg_order *order, struct msg *answer);

/* To a worker that was just started: what is paused. */
void pause_tell(const struct supervisor *supervisor, struct slot *slot);

#endif
