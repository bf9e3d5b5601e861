/*
 * child.c - one child's life.  See child.h.
 *
 *              START                 IS_UP                STOP, HOLD
 *   STOPPED ----------> STARTING ------------> READY ------------------> DRAINING
 *     ^  ^   START, DUE   |   ^                  |                          |
 *     |  +----------------+-- | ------ EXITED ---+   (SETTLE)               |
 *     |                   v   |                  v                          |
 *    HELD <---- HOLD --- BACKOFF <---------------+         EXITED           |
 *     ^                   FAILED <-- REFUSED from STARTING, READY           |
 *     +--------------------------- STOPPED <--------------------------------+
 *
 * A child that is told to leave always passes STOPPED, and there the supervisor decides afresh: so a gate
 * that closes and opens again while the child drains needs no state of its own.
 * Pure: a constant table.  If we die on any line nothing outside has changed.
 */
#include "supervisor/child.h"

#include "common/base/err.h"

#define STEP(action, next) {CHILD_##action, CHILD_##next}

static const struct child_step table[CHILD_STATES][CHILD_EVENTS] = {
    [CHILD_STOPPED] = {
        [CHILD_START] = STEP(SPAWN, STARTING),
        [CHILD_HOLD] = STEP(NOTHING, HELD),
        [CHILD_STOP] = STEP(NOTHING, STOPPED),
        [CHILD_IS_UP] = STEP(BUG, STOPPED),
        [CHILD_DUE] = STEP(NOTHING, STOPPED),
        [CHILD_EXITED] = STEP(BUG, STOPPED),
        [CHILD_REFUSED] = STEP(BUG, STOPPED),
        [CHILD_SILENT] = STEP(BUG, STOPPED),
        [CHILD_RELOAD] = STEP(NOTHING, STOPPED),
    },
    [CHILD_HELD] = {
        [CHILD_START] = STEP(SPAWN, STARTING),
        [CHILD_HOLD] = STEP(NOTHING, HELD),
        [CHILD_STOP] = STEP(NOTHING, STOPPED),
        [CHILD_IS_UP] = STEP(BUG, HELD),
        [CHILD_DUE] = STEP(NOTHING, HELD),
        [CHILD_EXITED] = STEP(BUG, HELD),
        [CHILD_REFUSED] = STEP(BUG, HELD),
        [CHILD_SILENT] = STEP(BUG, HELD),
        [CHILD_RELOAD] = STEP(NOTHING, HELD),
    },
    [CHILD_STARTING] = {
        [CHILD_START] = STEP(NOTHING, STARTING),
        [CHILD_HOLD] = STEP(DRAIN, DRAINING),
        [CHILD_STOP] = STEP(DRAIN, DRAINING),
        [CHILD_IS_UP] = STEP(NOTHING, READY),
        [CHILD_DUE] = STEP(NOTHING, STARTING),
        [CHILD_EXITED] = STEP(RETRY, BACKOFF),
        [CHILD_REFUSED] = STEP(KILL, FAILED),
        [CHILD_SILENT] = STEP(ABORT, STARTING),
        [CHILD_RELOAD] = STEP(NOTHING, STARTING),
    },
    [CHILD_READY] = {
        [CHILD_START] = STEP(NOTHING, READY),
        [CHILD_HOLD] = STEP(DRAIN, DRAINING),
        [CHILD_STOP] = STEP(DRAIN, DRAINING),
        [CHILD_IS_UP] = STEP(NOTHING, READY),
        [CHILD_DUE] = STEP(NOTHING, READY),
        [CHILD_EXITED] = STEP(RETRY, BACKOFF),
        [CHILD_REFUSED] = STEP(KILL, FAILED),
        [CHILD_SILENT] = STEP(ABORT, READY),
        [CHILD_RELOAD] = STEP(NOTHING, READY),
    },
    [CHILD_DRAINING] = {
        [CHILD_START] = STEP(NOTHING, DRAINING),
        [CHILD_HOLD] = STEP(NOTHING, DRAINING),
        [CHILD_STOP] = STEP(DRAIN, DRAINING),
        [CHILD_IS_UP] = STEP(NOTHING, DRAINING),
        [CHILD_DUE] = STEP(NOTHING, DRAINING),
        [CHILD_EXITED] = STEP(SETTLE, STOPPED),
        [CHILD_REFUSED] = STEP(KILL, FAILED),
        [CHILD_SILENT] = STEP(ABORT, DRAINING),
        [CHILD_RELOAD] = STEP(NOTHING, DRAINING),
    },
    [CHILD_BACKOFF] = {
        [CHILD_START] = STEP(NOTHING, BACKOFF),
        [CHILD_HOLD] = STEP(NOTHING, HELD),
        [CHILD_STOP] = STEP(NOTHING, STOPPED),
        [CHILD_IS_UP] = STEP(BUG, BACKOFF),
        [CHILD_DUE] = STEP(SPAWN, STARTING),
        [CHILD_EXITED] = STEP(BUG, BACKOFF),
        [CHILD_REFUSED] = STEP(BUG, BACKOFF),
        [CHILD_SILENT] = STEP(BUG, BACKOFF),
        [CHILD_RELOAD] = STEP(NOTHING, BACKOFF),
    },
    /* A refused child may still be dying here: what it says no longer matters. */
    [CHILD_FAILED] = {
        [CHILD_START] = STEP(NOTHING, FAILED),
        [CHILD_HOLD] = STEP(NOTHING, FAILED),
        [CHILD_STOP] = STEP(KILL, FAILED),
        [CHILD_IS_UP] = STEP(NOTHING, FAILED),
        [CHILD_DUE] = STEP(NOTHING, FAILED),
        [CHILD_EXITED] = STEP(NOTHING, FAILED),
        [CHILD_REFUSED] = STEP(NOTHING, FAILED),
        [CHILD_SILENT] = STEP(KILL, FAILED),
        [CHILD_RELOAD] = STEP(SETTLE, STOPPED),
    },
};

static const char *const names[CHILD_STATES] = {
    [CHILD_STOPPED] = "STOPPED", [CHILD_HELD] = "HELD",         [CHILD_STARTING] = "STARTING",
    [CHILD_READY] = "READY",     [CHILD_DRAINING] = "DRAINING", [CHILD_BACKOFF] = "BACKOFF",
    [CHILD_FAILED] = "FAILED",
};

struct child_step child_step(enum child_state state, enum child_event event)
{
    if ((unsigned)state >= CHILD_STATES || (unsigned)event >= CHILD_EVENTS)
        bug("child state %d, event %d", (int)state, (int)event);
    return table[state][event];
}

const char *child_state_name(enum child_state state)
{
    return (unsigned)state < CHILD_STATES ? names[state] : "?";
}
