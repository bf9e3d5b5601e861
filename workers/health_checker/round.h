/*
 * round.h - whose turn it is to check the models.  Pure: facts in, a decision out; `now` is an argument.
 */
#ifndef SPENDD_HEALTH_CHECKER_ROUND_H
#define SPENDD_HEALTH_CHECKER_ROUND_H

#include "common/base/clock.h"

#include <stdbool.h>
#include <stdint.h>

/* Of health.* */
struct round_rules {
    bool shared, litellm, last_known;
    int64_t interval_ms, cache_ms, lock_ms;
};

/* How old a round may grow before the next one.  Never older than it is kept; where LiteLLM's pods read
 * it, so much younger that the next round is over before it expires, or they would check for themselves. */
int64_t round_interval_ms(const struct round_rules *rules);

/* Pause between two looks at Redis. */
int64_t round_poll_ms(const struct round_rules *rules);

/* Not shared, or Redis is away: check for ourselves now?  `due`: no result that we know is younger than the
 * interval. */
bool round_alone(const struct round_rules *rules, bool due);

/* Somebody else holds the lock and no round is kept: for how long have we waited?  Whoever renews it is
 * alive and works; one who does not is waited for as long as the lock lives, and no longer. */
struct round_wait {
    bool waiting;
    mono_t since, seen;
    int64_t left_ms; /* of the lock, when seen */
    char owner[160];
};

void round_wait_end(struct round_wait *wait);

/* The lock was seen with `left_ms` (-1: it never ends).  True: waited long enough, check locally. */
bool round_waited(struct round_wait *wait, mono_t now, const char *owner, int64_t left_ms, int64_t lock_ms);

#endif
