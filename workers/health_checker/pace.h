/*
 * pace.h - when the database is probed: often while something is wrong or this instance flushes,
 * rarely otherwise, and not at all where a flush has just proved more than a probe could.  Pure.
 */
#ifndef SPENDD_HEALTH_CHECKER_PACE_H
#define SPENDD_HEALTH_CHECKER_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace_facts {
    bool ever;       /* probed at all */
    bool passed;     /* the last time */
    bool gate_open;
    bool holder;     /* this instance has the lock */
    bool flushed;    /* it has committed since the last look */
    bool idle_due;   /* the long pause is over */
    bool stood_down; /* since the last look the flusher has found what stops it: can a probe see it? */
};

enum pace { PACE_PROBE, PACE_PROVED /* a committed flush counts as a passed probe */, PACE_WAIT };

enum pace pace_decide(const struct pace_facts *facts);

/* Bound of the pause to the next look: `ms`, doubled with each refusal in a row that said that something
 * is scarce, up to four times as long. */
int64_t pace_pause_ms(int64_t ms, unsigned scarce);

#endif
