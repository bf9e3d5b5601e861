/*
 * backoff.h - a child died: start it again when?  Pure: time and chance are arguments.
 */
#ifndef SPENDD_SUPERVISOR_BACKOFF_H
#define SPENDD_SUPERVISOR_BACKOFF_H

#include "common/base/clock.h"

#include <stdbool.h>

struct backoff_rules {
    int64_t min_ms, max_ms; /* first and longest pause */
    int64_t window_ms;      /* deaths within it count as repeated */
    int64_t deaths;         /* this many in the window make it flap */
};

struct backoff {
    unsigned unready;  /* deaths in a row before readiness */
    unsigned flaps;    /* deaths in a row while flapping */
    unsigned deaths;   /* in the window that began at `since` */
    mono_t since;
};

/* Counts a death; returns the pause in ms.  `chance` is any 32-bit random number.
 * Before first readiness: a pause at once, growing.  Later: none, until the deaths in the window reach
 * the rule's number; then a growing one.  Full jitter, for ever (common/base/jitter.h): a machine full of
 * instances whose disk was away does not start them in step. */
int64_t backoff_died(struct backoff *backoff, const struct backoff_rules *rules, bool was_ready,
                     mono_t now, uint32_t chance);

void backoff_ready(struct backoff *backoff);

#endif
