/*
 * restarts.c - workers that are drained and started again one after the other, and orders that are answered
 * when their workers are where they were sent.
 *
 * One restart is under way at a time, so that a reload or `restart all` never has two workers away at once;
 * it is over when the worker is ready again, or cannot be for now (HELD, BACKOFF, FAILED, STOPPED): the
 * others do not wait for its mending.  Slots go in roster order, control - through whom the answer goes -
 * after every order that waits for others was answered.
 * If we die on any line the workers read end of file; who waited sees no answer.
 */
#include "supervisor/supervisor.h"

#include "common/base/log.h"

static bool settled(enum child_state state)
{
    return state != CHILD_STARTING && state != CHILD_DRAINING;
}

/* --- restarts ------------------------------------------------------------------------------------- */

static void begin(struct supervisor *supervisor, struct slot *slot)
{
    slot->restart = RESTART_UNDERWAY;
    log_info("worker_restart", "worker=%s state=%s", slot->name, child_state_name(slot->state));
    if (slot->pid != 0 && slot->state != CHILD_DRAINING) {
        slot_event(supervisor, slot, CHILD_STOP);
    } else if (slot->pid == 0) {
        slot_event(supervisor, slot, CHILD_RELOAD);
        slot_settle(supervisor, slot);
    }
}

void restarts_check(struct supervisor *supervisor)
{
    struct slot *next = NULL;

    for (unsigned i = 0; i < supervisor->count; i++) {
        struct slot *slot = &supervisor->slots[i];

        if (slot->restart == RESTART_UNDERWAY && settled(slot->state))
            slot->restart = RESTART_NONE;
        if (slot->restart == RESTART_UNDERWAY)
            return;
        if (slot->restart == RESTART_QUEUED && next == NULL)
            next = slot;
    }
    if (next != NULL && !supervisor->draining)
        begin(supervisor, next);
}

/* --- orders that wait ----------------------------------------------------------------------------- */

static bool arrived(const struct waiting *waiting, const struct slot *slot)
{
    return slot->restart != RESTART_QUEUED && settled(slot->state) &&
           (!waiting->stop || slot->state == CHILD_STOPPED);
}

/* Is it where the operator wanted it?  HELD: it will run when its gate opens. */
static bool as_wanted(const struct waiting *waiting, const struct slot *slot)
{
    return waiting->stop || slot->state == CHILD_READY || slot->state == CHILD_HELD;
}

static void answer(struct supervisor *supervisor, struct waiting *waiting, struct slot *asker)
{
    unsigned astray = 0;

    for (unsigned i = 0; i < supervisor->count; i++) {
        const struct slot *slot = &supervisor->slots[i];

        if ((waiting->slots >> i & 1) == 0 || slot == asker)
            continue;
        if (!arrived(waiting, slot))
            return;
        astray += !as_wanted(waiting, slot);
    }
    waiting->used = false;
    order_answer_rows(supervisor, asker, waiting->ticket, waiting->slots);
    if (astray == 0)
        order_answer(asker, waiting->ticket, 200, "%s", "");
    else
        order_answer(asker, waiting->ticket, 409, "%u of them did not come up: see status", astray);
}

/* The asker lives no more, and with it whoever it would tell. */
static bool deserted(const struct supervisor *supervisor, const struct waiting *waiting)
{
    const struct slot *asker = &supervisor->slots[waiting->asker];

    return asker->generation != waiting->generation || asker->line == NULL;
}

void waiting_check(struct supervisor *supervisor)
{
    for (unsigned i = 0; i < WAITING_MAX; i++) {
        struct waiting *waiting = &supervisor->waiting[i];

        if (waiting->used && deserted(supervisor, waiting))
            waiting->used = false;
        if (waiting->used && !waiting->drain)
            answer(supervisor, waiting, &supervisor->slots[waiting->asker]);
    }
}

uint64_t waiting_drained(struct supervisor *supervisor, bool late)
{
    uint64_t told = 0;

    for (unsigned i = 0; i < WAITING_MAX; i++) {
        struct waiting *waiting = &supervisor->waiting[i];

        if (!waiting->used || !waiting->drain)
            continue;
        waiting->used = false;
        told |= (uint64_t)1 << waiting->asker;
        if (late)
            order_answer(&supervisor->slots[waiting->asker], waiting->ticket, 409,
                         "the deadline has passed: what is not delivered waits in the spool");
        else
            order_answer(&supervisor->slots[waiting->asker], waiting->ticket, 200, "drained");
    }
    return told;
}
