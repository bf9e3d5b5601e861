/*
 * clock.h - typed time: the monotonic clock and the wall clock cannot be mixed by accident.
 *
 * mono_t is for waiting and ageing (CLOCK_MONOTONIC); wall_t is for what people and PostgreSQL read
 * (CLOCK_REALTIME, microseconds since 1970-01-01 UTC, no leap seconds).  Pure files never call the
 * *_now functions: they take `now` as an argument.
 */
#ifndef SPENDD_BASE_CLOCK_H
#define SPENDD_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t micros;
} mono_t;

typedef struct {
    int64_t micros;
} wall_t;

/* Days since 1970-01-01, UTC.  Negative before. */
typedef int32_t day_t;

mono_t mono_now(void);
mono_t mono_after_ms(mono_t t, int64_t ms);
int64_t mono_ms_between(mono_t earlier, mono_t later); /* negative if `later` is earlier */
int64_t mono_us_between(mono_t earlier, mono_t later);
bool mono_reached(mono_t now, mono_t deadline);
mono_t mono_never(void);                               /* later than every other time */

wall_t wall_now(void);
day_t wall_day(wall_t t);

/* Boot clock minus wall clock, in microseconds: two readings that differ by more than a second mean
 * that the machine was suspended, or that its wall clock was set (custody: a resumed VM). */
int64_t clock_skew_micros(void);

/* "2026-11-21T04:15:00.123456Z"; size >= 28 or the text is cut.  Returns `text`. */
char *wall_text(wall_t t, char *text, size_t size);

/* "2026-11-21"; size >= 11. */
char *day_text(day_t day, char *text, size_t size);

#endif
