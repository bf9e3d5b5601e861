/*
 * drain.c - the ordered way out: the steps of the roster's `drain` column, one after the other.
 *
 * A step begins when everything of the one before has left, so that what an aggregator hands on still
 * finds a writer.  Each step may use nine tenths of what is left: a store that is down costs one step
 * its time, not the others theirs.  Past the deadline whoever is left is killed: what they had is in
 * the spool.  If we die on any line the workers drain by themselves.
 */
#include "supervisor/supervisor.h"

#include "common/base/log.h"

#include <signal.h>

static unsigned last_step(void)
{
    unsigned last = 0;

    for (unsigned row = 0; row < roster_rows; row++)
        if (roster_table[row].drain > last)
            last = roster_table[row].drain;
    return last;
}

static bool gone(const struct slot *slot)
{
    return slot->pid == 0 && slot->state != CHILD_STARTING && slot->state != CHILD_BACKOFF;
}

/* Has everything of this step left? */
static bool step_gone(const struct supervisor *supervisor, unsigned step)
{
    for (unsigned i = 0; i < supervisor->count; i++)
        if (roster_table[supervisor->slots[i].row].drain <= step && !gone(&supervisor->slots[i]))
            return false;
    return true;
}

int64_t drain_left_ms(const struct supervisor *supervisor)
{
    int64_t left = mono_ms_between(mono_now(), supervisor->drain_at);

    return left > 0 ? left - left / 10 : 0;
}

static void begin_step(struct supervisor *supervisor, unsigned step)
{
    supervisor->step = step;
    for (unsigned i = 0; i < supervisor->count; i++)
        if (roster_table[supervisor->slots[i].row].drain == step)
            slot_event(supervisor, &supervisor->slots[i], CHILD_STOP);
}

static void kill_all(struct supervisor *supervisor)
{
    supervisor->leaving = true;
    supervisor->step = last_step(); /* nobody is started again */
    for (unsigned i = 0; i < supervisor->count; i++) {
        struct slot *slot = &supervisor->slots[i];

        if (slot->state != CHILD_DRAINING)
            slot_event(supervisor, slot, CHILD_STOP);
        if (slot->pid > 0)
            kill(slot->pid, SIGKILL);
    }
}

void drain_begin(struct supervisor *supervisor)
{
    int64_t ms = supervisor->settings.supervisor_drain_ms;

    if (supervisor->draining) {
        log_warn("drain_cut_short", "signal=second");
        kill_all(supervisor);
        return;
    }
    log_info("drain_started", "drain_ms=%lld", (long long)ms);
    supervisor->draining = true;
    supervisor->drain_at = mono_after_ms(mono_now(), ms);
    begin_step(supervisor, 1);
}

void drain_check(struct supervisor *supervisor, mono_t now)
{
    if (!supervisor->draining)
        return;
    while (supervisor->step < last_step() && step_gone(supervisor, supervisor->step))
        begin_step(supervisor, supervisor->step + 1);
    if (!supervisor->leaving && mono_reached(now, supervisor->drain_at)) {
        log_warn("drain_late", "step=%u", supervisor->step);
        kill_all(supervisor);
    }
}

bool drain_done(const struct supervisor *supervisor)
{
    return supervisor->draining && step_gone(supervisor, last_step());
}
