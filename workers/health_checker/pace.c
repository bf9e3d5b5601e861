/*
 * pace.c - when the database is probed.  See pace.h.
 *
 * Fifty instances probe one database.  The one that flushes needs to know soon; the others only so that
 * their gate is right when their turn comes.  A database without free connections is asked less and less
 * often, for each try costs it a process.  Pure.
 */
#include "workers/health_checker/pace.h"

#define DOUBLINGS_MAX 2

enum pace pace_decide(const struct pace_facts *facts)
{
    if (!facts->ever || !facts->passed || !facts->gate_open || facts->stood_down)
        return PACE_PROBE;
    if (facts->holder)
        return facts->flushed ? PACE_PROVED : PACE_PROBE;
    return facts->idle_due ? PACE_PROBE : PACE_WAIT;
}

int64_t pace_pause_ms(int64_t ms, unsigned scarce)
{
    return ms << (scarce < DOUBLINGS_MAX ? scarce : DOUBLINGS_MAX);
}
