/*
 * backoff.c - when to start a child again.  See backoff.h.
 *
 * Dying before the first success is a different thing from dying after it: the first is structural (a
 * missing library, a port in use) and pausing costs nobody anything; the second interrupts work and is
 * repaired at once, unless it keeps happening.
 * Pure: if we die on any line nothing outside has changed.
 */
#include "supervisor/backoff.h"

#include "common/base/jitter.h"

int64_t backoff_died(struct backoff *backoff, const struct backoff_rules *rules, bool was_ready,
                     mono_t now, uint32_t chance)
{
    if (backoff->deaths == 0 || mono_ms_between(backoff->since, now) > rules->window_ms) {
        backoff->since = now;
        backoff->deaths = 0;
        backoff->flaps = 0;
    }
    backoff->deaths++;
    if (!was_ready)
        return jitter_backoff_ms(rules->min_ms, rules->max_ms, backoff->unready++, chance);
    if (backoff->deaths < rules->deaths)
        return 0;
    return jitter_backoff_ms(rules->min_ms, rules->max_ms, backoff->flaps++, chance);
}

void backoff_ready(struct backoff *backoff)
{
    backoff->unready = 0;
}
