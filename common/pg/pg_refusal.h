/*
 * pg_refusal.h - which row of refusals.def a refusal is, and what follows from it.  Pure.
 */
#ifndef SPENDD_PG_REFUSAL_H
#define SPENDD_PG_REFUSAL_H

#include "common/base/refusal.h"

#include <stdbool.h>
#include <stddef.h>

enum pg_refusal {
#define REFUSAL(name, match, class, connection, first_ms, metric, load, means) PG_REFUSED_##name,
#include "common/pg/refusals.def"
#undef REFUSAL
    PG_REFUSALS,
    PG_REFUSED_NOT = PG_REFUSALS
};

/* `sqlstate` may be empty: then the words of `text` decide. */
enum pg_refusal pg_refusal_find(const char *sqlstate, const char *text);

/* NULL for PG_REFUSED_NOT. */
const struct refusal *pg_refusal_row(enum pg_refusal refusal);

/* Was the flush too much?  The next one takes half. */
bool pg_refusal_halves(enum pg_refusal refusal);

/* libpq's verbose text of a failed connect -> its SQLSTATE ("" where the server was not asked) and one
 * line without it. */
void pg_refusal_parse(const char *verbose, char sqlstate[6], char *line, size_t size);

#endif
