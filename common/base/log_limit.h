/*
 * log_limit.h - how often the same message may be written.  Pure: the time is an argument.
 * Only log.c uses it.
 *
 * A message is a call site, known by its event and its format (where both are the same, so is the message).
 * The table is fixed: a message that finds no place in it
 * is written without a limit, and places are given to others when their window is over.
 */
#ifndef SPENDD_BASE_LOG_LIMIT_H
#define SPENDD_BASE_LOG_LIMIT_H

#include "common/base/clock.h"

#include <stdbool.h>

enum { LOG_LIMIT_SITES = 64, LOG_LIMIT_WINDOW_MS = 10000 };

struct log_limit_site {
    const void *site; /* NULL: free */
    const char *event;
    mono_t since;
    unsigned lines, suppressed; /* in the window that began then */
};

struct log_limit {
    struct log_limit_site site[LOG_LIMIT_SITES];
    unsigned burst; /* lines of a message in a window; 0: no limit */
};

/* May it be written?  `event` is kept until the window is told of: a literal. */
bool log_limit_allows(struct log_limit *limit, const void *site, const char *event, mono_t now);

/* A window that is over and in which lines were suppressed: its event and their number, told once.
 * `all`: windows that are not over too (the process leaves). */
bool log_limit_told(struct log_limit *limit, mono_t now, bool all, const char **event,
                    unsigned *suppressed);

#endif
