/*
 * child.c - one child's life: the table of child.def, and how it is printed.  See child.h.
 *
 * A child that is told to leave always passes STOPPED, and there the supervisor decides afresh: so a gate
 * that closes and opens again while the child drains, and an operator's restart, need no state of their
 * own.  FAILED, BACKOFF, HELD and STOPPED have no process: one that is refused for its build is killed and
 * keeps its state until it is reaped.
 * Pure: a constant table.  If we die on any line nothing outside has changed.
 */
#include "supervisor/child.h"

#include "common/base/err.h"

#define NOTHING(next) {CHILD_NOTHING, CHILD_##next}
#define SPAWN(next) {CHILD_SPAWN, CHILD_##next}
#define DRAIN(next) {CHILD_DRAIN, CHILD_##next}
#define ABORT(next) {CHILD_ABORT, CHILD_##next}
#define RETRY(next) {CHILD_RETRY, CHILD_##next}
#define SETTLE(next) {CHILD_SETTLE, CHILD_##next}
#define BUG(next) {CHILD_BUG, CHILD_##next}

/* The columns of child.def, in their order there. */
#define CHILD_ROW(state, start, hold, stop, is_up, due, exited, refused, silent, reload)           \
    [CHILD_##state] = {                                                                            \
        [CHILD_START] = start,     [CHILD_HOLD] = hold,     [CHILD_STOP] = stop,                   \
        [CHILD_IS_UP] = is_up,     [CHILD_DUE] = due,       [CHILD_EXITED] = exited,               \
        [CHILD_REFUSED] = refused, [CHILD_SILENT] = silent, [CHILD_RELOAD] = reload,               \
    },
static const struct child_step table[CHILD_STATES][CHILD_EVENTS] = {
#include "supervisor/child.def"
};
#undef CHILD_ROW

static const char *const states[CHILD_STATES] = {
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
    return (unsigned)state < CHILD_STATES ? states[state] : "?";
}

/* --- for people ----------------------------------------------------------------------------------- */

static const char *const happens[CHILD_EVENTS] = {
    [CHILD_START] = "it is wanted, and its gate is open",
    [CHILD_HOLD] = "its gate closes",
    [CHILD_STOP] = "it is told to leave",
    [CHILD_IS_UP] = "it says that it is ready",
    [CHILD_DUE] = "its pause is over",
    [CHILD_EXITED] = "it dies or leaves",
    [CHILD_REFUSED] = "it exits with 78, or is of another build",
    [CHILD_SILENT] = "it gives no sign of life for too long",
    [CHILD_RELOAD] = "there is a new configuration, or `spendctl start`",
};

static const char *const done[CHILD_ACTIONS] = {
    [CHILD_NOTHING] = "left alone",
    [CHILD_SPAWN] = "started",
    [CHILD_DRAIN] = "told to drain, killed at the deadline",
    [CHILD_ABORT] = "aborted, and killed if that does not end it",
    [CHILD_RETRY] = "started again: at once, or after a pause (see supervisor.flap_deaths)",
    [CHILD_SETTLE] = "started or held at once, if it is wanted",
    [CHILD_BUG] = "cannot happen",
};

void child_print(FILE *to)
{
    fprintf(to, "%-9s %-50s %-9s %s\n", "state", "when", "becomes", "and is");
    for (unsigned state = 0; state < CHILD_STATES; state++)
        for (unsigned event = 0; event < CHILD_EVENTS; event++) {
            const struct child_step *step = &table[state][event];

            if (step->action == CHILD_BUG ||
                (step->action == CHILD_NOTHING && step->next == (enum child_state)state))
                continue;
            fprintf(to, "%-9s %-50s %-9s %s\n", states[state], happens[event], states[step->next],
                    done[step->action]);
        }
}
