/*
 * backoff.c - when to start a child again.  See backoff.h.
 *
 * Dying before the first success is a different thing from dying after it: the first is structural (a
 * missing library, a port in use) and pausing costs nobody anything; the second interrupts work and is
 * repaired at once, unless it keeps happening.
 * Pure: if we die on any line nothing outside has changed.
 */
#include "supervisor/backoff.h"

/* min * 2^steps, at most max. */
static int64_t bound_ms(const struct backoff_rules *rules, unsigned steps)
{
    int64_t ms = rules->min_ms;

    while (steps-- > 0 && ms < rules->max_ms)
        ms *= 2;
    return ms < rules->max_ms ? ms : rules->max_ms;
}

/* `chance` spread evenly over [0, ms]. */
static int64_t jitter(int64_t ms, uint32_t chance)
{
    return (int64_t)(((uint64_t)ms + 1) * chance >> 32);
}

int64_t backoff_died(struct backoff *backoff, const struct backoff_rules *rules, bool was_ready,
                     mono_t now, uint32_t chance)
{
    int64_t bound;

    if (backoff->deaths == 0 || mono_ms_between(backoff->since, now) > rules->window_ms) {
        backoff->since = now;
        backoff->deaths = 0;
        backoff->flaps = 0;
    }
    backoff->deaths++;
    if (!was_ready) {
        bound = bound_ms(rules, backoff->unready++);
        return bound - jitter(bound / 2, chance);
    }
    if (backoff->deaths < rules->deaths)
        return 0;
    bound = bound_ms(rules, backoff->flaps++);
    return jitter(bound, chance);
}

void backoff_ready(struct backoff *backoff)
{
    backoff->unready = 0;
}
