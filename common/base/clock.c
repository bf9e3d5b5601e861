/*
 * clock.c - typed time.  See clock.h.  Reads clocks and formats; holds no state.
 */
#include "common/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define MICROS_PER_SECOND 1000000LL
#define MICROS_PER_DAY (86400LL * MICROS_PER_SECOND)

static int64_t read_micros(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * MICROS_PER_SECOND + ts.tv_nsec / 1000;
}

mono_t mono_now(void)
{
    return (mono_t){read_micros(CLOCK_MONOTONIC)};
}

mono_t mono_after_ms(mono_t t, int64_t ms)
{
    if (t.micros > INT64_MAX - ms * 1000)
        return mono_never();
    return (mono_t){t.micros + ms * 1000};
}

int64_t mono_ms_between(mono_t earlier, mono_t later)
{
    return (later.micros - earlier.micros) / 1000;
}

int64_t mono_us_between(mono_t earlier, mono_t later)
{
    return later.micros - earlier.micros;
}

bool mono_reached(mono_t now, mono_t deadline)
{
    return now.micros >= deadline.micros;
}

mono_t mono_never(void)
{
    return (mono_t){INT64_MAX};
}

wall_t wall_now(void)
{
    return (wall_t){read_micros(CLOCK_REALTIME)};
}

static int64_t floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

day_t wall_day(wall_t t)
{
    return (day_t)floor_div(t.micros, MICROS_PER_DAY);
}

int64_t clock_skew_micros(void)
{
    return read_micros(CLOCK_BOOTTIME) - read_micros(CLOCK_REALTIME);
}

char *wall_text(wall_t t, char *text, size_t size)
{
    time_t seconds = (time_t)floor_div(t.micros, MICROS_PER_SECOND);
    int64_t micros = t.micros - (int64_t)seconds * MICROS_PER_SECOND;
    struct tm tm;
    size_t used;

    gmtime_r(&seconds, &tm);
    used = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + used, size - used, ".%06" PRId64 "Z", micros);
    return text;
}

char *day_text(day_t day, char *text, size_t size)
{
    time_t seconds = (time_t)day * 86400;
    struct tm tm;

    gmtime_r(&seconds, &tm);
    if (strftime(text, size, "%Y-%m-%d", &tm) == 0 && size > 0)
        text[0] = '\0';
    return text;
}
