/*
 * pg_refusal.c - which row of refusals.def a refusal is.  See pg_refusal.h.
 *
 * The server's answer has an SQLSTATE; libpq's own reasons have words only, and what a pooler says has
 * words and a class (08) that means everything.  Pure: if we die on any line nothing outside changes.
 */
#include "common/pg/pg_refusal.h"

#include "common/base/attr.h"
#include "common/stats/stats.h"

#include <stdio.h>
#include <string.h>

enum load { SAME, HALF };

static const struct refusal refusals[PG_REFUSALS] = {
#define REFUSAL(name, match, class, connection, first_ms, metric, load, means)                     \
    [PG_REFUSED_##name] = {#name,    match,                                 REFUSAL_##class,       \
                           connection, first_ms, METRIC_database_refused_##metric##_total, means},
#include "common/pg/refusals.def"
#undef REFUSAL
};

static const enum load loads[PG_REFUSALS] = {
#define REFUSAL(name, match, class, connection, first_ms, metric, load, means)                     \
    [PG_REFUSED_##name] = load,
#include "common/pg/refusals.def"
#undef REFUSAL
};

/* Up to five capitals and digits: an SQLSTATE, or how one begins. */
static bool is_state(const char *text, size_t length)
{
    return length > 0 && length <= 5 &&
           strspn(text, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") >= length;
}

/* How much of `sqlstate` the best alternative covers. */
static size_t covers(const char *match, const char *sqlstate)
{
    size_t best = 0, length;

    for (; *match; match += length + (match[length] == '|')) {
        length = strcspn(match, "|");
        if (length > best && is_state(match, length) && strncmp(match, sqlstate, length) == 0)
            best = length;
    }
    return best;
}

static bool has_words(const char *match, const char *text)
{
    char word[64];
    size_t length;

    for (; *match; match += length + (match[length] == '|')) {
        length = strcspn(match, "|");
        if (is_state(match, length) || length >= sizeof word)
            continue;
        memcpy(word, match, length);
        word[length] = '\0';
        if (strstr(text, word))
            return true;
    }
    return false;
}

enum pg_refusal pg_refusal_find(const char *sqlstate, const char *text)
{
    enum pg_refusal found = PG_REFUSED_other;
    size_t best = 0;

    if (!sqlstate[0] || strncmp(sqlstate, "08", 2) == 0) {
        for (int i = 0; i < PG_REFUSALS; i++)
            if (has_words(refusals[i].match, text))
                return (enum pg_refusal)i;
        return PG_REFUSED_connection_lost;
    }
    for (int i = 0; i < PG_REFUSALS; i++) {
        size_t length = covers(refusals[i].match, sqlstate);

        if (length > best) {
            best = length;
            found = (enum pg_refusal)i;
        }
    }
    return found;
}

const struct refusal *pg_refusal_row(enum pg_refusal refusal)
{
    return refusal < PG_REFUSALS ? &refusals[refusal] : NULL;
}

bool pg_refusal_halves(enum pg_refusal refusal)
{
    return refusal < PG_REFUSALS && loads[refusal] == HALF;
}

/* "...:  28P01: text": libpq sets two blanks between the severity, in any language, and the code. */
static const char *find_state(const char *text)
{
    for (const char *at = strstr(text, ":  "); at; at = strstr(at + 1, ":  "))
        if (is_state(at + 3, 5) && at[8] == ':' && at[9] == ' ')
            return at + 3;
    return NULL;
}

void pg_refusal_parse(const char *verbose, char sqlstate[6], char *line, size_t size)
{
    const char *state = find_state(verbose);
    size_t used = 0;

    snprintf(sqlstate, 6, "%.5s", state ? state : "");
    for (const char *c = verbose; *c && *c != '\n' && used + 1 < size; c++) {
        if (state && c == state - 1) {
            c = state + 6; /* one of the two blanks, the code, its colon and blank */
            continue;
        }
        line[used++] = (unsigned char)*c < 0x20 ? ' ' : *c;
    }
    line[used] = '\0';
}
