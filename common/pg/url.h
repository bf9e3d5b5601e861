/*
 * url.h - database.url made into what libpq takes: parameters of other engines out, ours in.
 * Inside common/pg only.  Pure but for libpq's parser: no network, no file.
 */
#ifndef SPENDD_PG_URL_H
#define SPENDD_PG_URL_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stddef.h>

#define PG_PARAMETERS_MAX 48

/* Keywords and values as PQconnectStartParams takes them, NULL-terminated; all text is owned. */
struct pg_parameters {
    char *keyword[PG_PARAMETERS_MAX + 1];
    char *value[PG_PARAMETERS_MAX + 1];
    size_t count;
    char schema[64]; /* schema= of a gateway's URL: of no interest to libpq; "": not given */
};

/* Parses a URI or keywords.  Query parameters that libpq does not know but LiteLLM's engine does are
 * honoured, or ignored and listed in `ignored` (may be NULL).  -1: err has no secret in it. */
int pg_parameters_parse(struct pg_parameters *parameters, const char *url, char *ignored,
                        size_t size, struct err *err) MUST_CHECK;

/* Adds or replaces; `only_if_absent` leaves a value that is there.  -1: no room. */
int pg_parameters_set(struct pg_parameters *parameters, const char *keyword, const char *value,
                      int only_if_absent) MUST_CHECK;

/* NULL: not given. */
const char *pg_parameters_get(const struct pg_parameters *parameters, const char *keyword);

void pg_parameters_clear(struct pg_parameters *parameters);

#endif
