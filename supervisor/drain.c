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

#define LAST_ANSWERS_MS 1000 /* of control, to whoever waited for the end */

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

/* However late it is: control has time to say to whoever waited that this is the end. */
static void begin_last_step(struct supervisor *supervisor)
{
    mono_t answered = mono_after_ms(mono_now(), LAST_ANSWERS_MS);

    waiting_drained(supervisor, false);
    if (supervisor->drain_at.micros < answered.micros)
        supervisor->drain_at = answered;
}

static void begin_step(struct supervisor *supervisor, unsigned step)
{
    supervisor->step = step;
    if (step == last_step())
        begin_last_step(supervisor);
    for (unsigned i = 0; i < supervisor->count; i++)
        if (roster_table[supervisor->slots[i].row].drain == step)
            slot_event(supervisor, &supervisor->slots[i], CHILD_STOP);
}

/* Who is spared is told to leave, and killed by slot_check if it does not. */
static void kill_all(struct supervisor *supervisor, uint64_t spared)
{
    supervisor->leaving = true;
    supervisor->step = last_step(); /* nobody is started again */
    for (unsigned i = 0; i < supervisor->count; i++) {
        struct slot *slot = &supervisor->slots[i];

        if (slot->state != CHILD_DRAINING)
            slot_event(supervisor, slot, CHILD_STOP);
        if (slot->pid > 0 && (spared >> i & 1) == 0)
            kill(slot->pid, SIGKILL);
    }
}

void drain_cut_short(struct supervisor *supervisor, const char *asked_by, uint64_t spared)
{
    log_warn("drain_cut_short", "asked_by=%s", asked_by);
    supervisor->draining = true;
    supervisor->drain_at = mono_after_ms(mono_now(), LAST_ANSWERS_MS);
    kill_all(supervisor, spared);
}

void drain_begin(struct supervisor *supervisor, const char *asked_by)
{
    int64_t ms = supervisor->settings.supervisor_drain_ms;

    if (supervisor->draining)
        return;
    log_info("drain_started", "drain_ms=%lld asked_by=%s", (long long)ms, asked_by);
    supervisor->draining = true;
    event_daemon(supervisor, "DRAINING", asked_by);
    for (unsigned i = 0; i < supervisor->count; i++)
        supervisor->slots[i].restart = RESTART_NONE;
    supervisor->drain_at = mono_after_ms(mono_now(), ms);
    begin_step(supervisor, 1);
}

void drain_check(struct supervisor *supervisor, mono_t now)
{
    if (!supervisor->draining)
        return;
    while (supervisor->step < last_step() && step_gone(supervisor, supervisor->step))
        begin_step(supervisor, supervisor->step + 1);
    if (supervisor->step > 1)
        listen_close(&supervisor->listeners); /* who would have accepted has left */
    if (!supervisor->leaving && mono_reached(now, supervisor->drain_at)) {
        log_warn("drain_late", "step=%u", supervisor->step);
        supervisor->drain_at = mono_after_ms(now, LAST_ANSWERS_MS);
        kill_all(supervisor, waiting_drained(supervisor, true));
    }
}

bool drain_done(const struct supervisor *supervisor)
{
    return supervisor->draining && step_gone(supervisor, last_step());
}
