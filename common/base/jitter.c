/*
 * jitter.c - chance in pauses.  See jitter.h.
 *
 * Full jitter: a pause is anywhere from nothing to its bound, evenly.  Half a bound kept as a floor would
 * keep those who failed together half together; measured in tests/fault/test_stampede.py, the peak of
 * fifty instances is what the mean is, within chance.
 *
 * Pure but for jitter_dice.  If we die on any line nothing outside has changed.
 */
#include "common/base/jitter.h"

#include "common/base/clock.h"

#include <sys/random.h>
#include <unistd.h>

uint32_t jitter_dice(void)
{
    uint32_t dice = 0;

    if (getrandom(&dice, sizeof dice, GRND_NONBLOCK) != (ssize_t)sizeof dice)
        dice = ((uint32_t)mono_now().micros ^ (uint32_t)getpid() << 16) * 2654435761U;
    return dice;
}

int64_t jitter_ms(int64_t most_ms, uint32_t dice)
{
    if (most_ms < 0)
        return 0;
    return (int64_t)((unsigned __int128)((uint64_t)most_ms + 1) * dice >> 32);
}

int64_t jitter_bound_ms(int64_t first_ms, int64_t most_ms, unsigned failures)
{
    int64_t bound = first_ms;

    for (; failures > 0 && bound < most_ms; failures--)
        bound *= 2;
    return bound < most_ms ? bound : most_ms;
}

int64_t jitter_backoff_ms(int64_t first_ms, int64_t most_ms, unsigned failures, uint32_t dice)
{
    return jitter_ms(jitter_bound_ms(first_ms, most_ms, failures), dice);
}
