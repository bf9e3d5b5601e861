/*
 * ranges.c - reads the text of an int8multirange in its canonical form.  See ranges.h.
 * Pure; the text is walked each time: it is short, because neighbours merge.
 */
#include "workers/aggregator/ranges.h"

#include <stddef.h>

static const char *number(const char *at, uint64_t *value)
{
    const char *start = at;

    for (*value = 0; *at >= '0' && *at <= '9'; at++) {
        if (*value > (UINT64_MAX - 9) / 10)
            return NULL;
        *value = *value * 10 + (uint64_t)(*at - '0');
    }
    return at > start ? at : NULL;
}

/* "[a,b)" */
static const char *range(const char *at, uint64_t *from, uint64_t *to)
{
    if (*at++ != '[' || (at = number(at, from)) == NULL || *at++ != ',')
        return NULL;
    if ((at = number(at, to)) == NULL || *at++ != ')')
        return NULL;
    return at;
}

static bool walk(const char *at, uint64_t seq, bool *found)
{
    uint64_t from, to;

    *found = false;
    if (*at++ != '{')
        return false;
    if (*at == '}')
        return at[1] == '\0';
    for (;;) {
        if ((at = range(at, &from, &to)) == NULL)
            return false;
        *found |= seq >= from && seq < to;
        if (*at == '}')
            return at[1] == '\0';
        if (*at++ != ',')
            return false;
    }
}

bool ranges_valid(const char *text)
{
    bool found;

    return walk(text, 0, &found);
}

bool ranges_contain(const char *text, uint64_t seq)
{
    bool found;

    return walk(text, seq, &found) && found;
}
