/*
 * ranges.c - reads an int8multirange.  See ranges.h.
 *
 * Strict: what is not exactly the form that the server writes is refused, and the caller then moves
 * nothing: guessing here would count a batch twice or lose it.  The text is walked each time: it is
 * short, because neighbours merge.  Pure.
 */
#include "common/batch/ranges.h"

#include <errno.h>
#include <stdlib.h>

static const char *read_bound(const char *at, int64_t *bound)
{
    char *end;

    if (*at != '-' && (*at < '0' || *at > '9'))
        return NULL; /* strtoll would let blanks and '+' pass */
    errno = 0;
    *bound = strtoll(at, &end, 10);
    return errno == 0 ? end : NULL;
}

/* "[low,high)", "(,high)", "[low,)" or "(,)": the canonical forms of int8. */
static const char *read_one(const char *at, int64_t *low, int64_t *high)
{
    char open = *at;

    *low = INT64_MIN;
    *high = INT64_MAX;
    if (open != '[' && open != '(')
        return NULL;
    at++;
    if (open == '[' && (at = read_bound(at, low)) == NULL)
        return NULL;
    if (*at++ != ',')
        return NULL;
    if (*at != ')' && (at = read_bound(at, high)) == NULL)
        return NULL;
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
