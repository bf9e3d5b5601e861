/*
 * ranges.c - reads an int8multirange.  See ranges.h.
 *
 * Strict: what is not exactly the form that the server writes is refused, and the caller then moves
 * nothing: guessing here would count a batch twice or lose it.  Pure.
 */
#include "workers/db_flusher/ranges.h"

#include <errno.h>
#include <stdlib.h>

/* "[low,high)" with either bound left out; bounds are canonical, [ and ), for int8. */
static const char *read_one(const char *at, int64_t *low, int64_t *high)
{
    char *end;

    *low = INT64_MIN;
    *high = INT64_MAX;
    if (*at != '[' && *at != '(')
        return NULL;
    errno = 0;
    if (*++at != ',') {
        *low = strtoll(at, &end, 10);
        if (end == at || errno)
            return NULL;
        at = end;
    }
    if (*at++ != ',')
        return NULL;
    if (*at != ')') {
        *high = strtoll(at, &end, 10);
        if (end == at || errno)
            return NULL;
        at = end;
    }
    return *at == ')' ? at + 1 : NULL;
}

int ranges_have(const char *text, uint64_t seq)
{
    int64_t low, high, number = (int64_t)seq;
    const char *at = text;
    int found = 0;

    if (seq > INT64_MAX || *at++ != '{')
        return -1;
    if (*at == '}')
        return at[1] ? -1 : 0;
    for (;;) {
        at = read_one(at, &low, &high);
        if (!at)
            return -1;
        found |= number >= low && number < high;
        if (*at == '}')
            return at[1] ? -1 : found;
        if (*at++ != ',')
            return -1;
    }
}
