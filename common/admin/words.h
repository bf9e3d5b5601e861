/*
 * words.h - the arguments of a command, read: options that take a value, flags, durations.  Pure.
 */
#ifndef SPENDD_ADMIN_WORDS_H
#define SPENDD_ADMIN_WORDS_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DURATION_MOST_MS ((int64_t)366 * 86400 * 1000)

struct words_option {
    const char *name;   /* "--for" */
    const char **value; /* what follows it; NULL: it is a flag */
    bool *flag;
};

/* Goes through the words; what is no option is put to the front of `plain` (room for `count`), and
 * *plain_count says how many.  -1: an option twice, without its value, or unknown. */
int words_read(size_t count, const char *const *words, const struct words_option *options,
               size_t option_count, const char **plain, size_t *plain_count, struct err *err) MUST_CHECK;

/* "500ms", "30s", "5m", "2h", "7d", or plain seconds; more than 0, at most a year. */
int duration_read(const char *text, int64_t *ms, struct err *err) MUST_CHECK;

/* A whole number from `least` to `most`. */
int words_number(const char *text, int64_t least, int64_t most, int64_t *number,
                 struct err *err) MUST_CHECK;

#endif
