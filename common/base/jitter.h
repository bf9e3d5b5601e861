/*
 * jitter.h - chance in pauses: fifty instances that lost the same store must not come back in step.
 *
 * The one place that knows how a pause before a retry grows: exponential, capped, full jitter, for
 * ever.  Who retries keeps a count of failures and sets it to 0 when it worked.
 */
#ifndef SPENDD_BASE_JITTER_H
#define SPENDD_BASE_JITTER_H

#include <stdint.h>

/* 32 random bits.  Never blocks and never fails: before the kernel has entropy (early at boot) they come
 * from the clock and the pid. */
uint32_t jitter_dice(void);

/* Pure: `dice` spread evenly over 0 to most_ms; 0 for a negative one. */
int64_t jitter_ms(int64_t most_ms, uint32_t dice);

/* Pure: the bound after so many failures in a row: first_ms, doubled with each, at most most_ms. */
int64_t jitter_bound_ms(int64_t first_ms, int64_t most_ms, unsigned failures);

/* Pure: anywhere from 0 to that bound. */
int64_t jitter_backoff_ms(int64_t first_ms, int64_t most_ms, unsigned failures, uint32_t dice);

#endif
