/*
 * round.c - whose turn it is to check the models.  See round.h.
 * Pure; if we die on any line nothing outside has changed.
 */
#include "workers/health_checker/round.h"

#include <stdio.h>
#include <string.h>

#define POLL_MAX_MS 5000
#define POLL_MIN_MS 50
#define POLLS_PER_INTERVAL 5

int64_t round_interval_ms(const struct round_rules *rules)
{
    int64_t kept = rules->cache_ms;

    if (rules->shared && rules->litellm)
        kept = rules->cache_ms > 2 * rules->lock_ms ? rules->cache_ms - rules->lock_ms : rules->cache_ms / 2;
    return rules->interval_ms < kept || !rules->shared ? rules->interval_ms : kept;
}

int64_t round_poll_ms(const struct round_rules *rules)
{
    int64_t ms = round_interval_ms(rules) / POLLS_PER_INTERVAL;

    if (ms > POLL_MAX_MS)
        return POLL_MAX_MS;
    return ms < POLL_MIN_MS ? POLL_MIN_MS : ms;
}

bool round_alone(const struct round_rules *rules, bool due)
{
    return due && !(rules->shared && rules->last_known);
}

void round_wait_end(struct round_wait *wait)
{
    wait->waiting = false;
}

bool round_waited(struct round_wait *wait, mono_t now, const char *owner, int64_t left_ms, int64_t lock_ms)
{
    int64_t expected = wait->left_ms - mono_ms_between(wait->seen, now);
    bool renewed = left_ms >= 0 && left_ms > expected + lock_ms / 20;

    if (!wait->waiting || renewed || strncmp(wait->owner, owner, sizeof wait->owner - 1) != 0)
        wait->since = now;
    wait->waiting = true;
    wait->seen = now;
    wait->left_ms = left_ms;
    snprintf(wait->owner, sizeof wait->owner, "%s", owner);
    return mono_ms_between(wait->since, now) >= lock_ms;
}
