/*
 * timers.h - one-shot timers in a heap.  The public face (timer_at, timer_stop...) is harness.h.
 * Pure: `now` is an argument.
 */
#ifndef SPENDD_HARNESS_TIMERS_H
#define SPENDD_HARNESS_TIMERS_H

#include "common/harness/harness.h"

#define TIMERS_MAX 65536 /* more than that is a leak */

struct timers {
    struct timer **heap; /* the earliest first */
    unsigned count, size;
    bool firing; /* within timers_fire, for `now` */
    mono_t now;
};

struct timer *timers_add(struct timers *timers, timer_fn *due, void *arg);

/* When the earliest is due; mono_never() without any. */
mono_t timers_next(const struct timers *timers);

/* Calls what is due at `now`.  A timer set again from a callback waits for the next call, even if it is
 * due at once: one call ends.  Returns how many were called. */
unsigned timers_fire(struct timers *timers, mono_t now);

void timers_cleanup(struct timers *timers); /* timers that still exist are their owners' */

#endif
