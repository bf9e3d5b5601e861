/*
 * attempt.h - brings one load into PostgreSQL, however many transactions that takes: again after a
 * wrong hypothesis, bisection after a refusal of data.  One commit at the most.
 */
#ifndef SPENDD_DB_FLUSHER_ATTEMPT_H
#define SPENDD_DB_FLUSHER_ATTEMPT_H

#include "workers/db_flusher/flush.h"

struct attempt;

struct attempt *attempt_open(struct flush *flush, const struct settings *settings, struct err *err);
void attempt_close(struct attempt **attempt);

/* Answers once; never with FLUSH_AGAIN, FLUSH_TRIED or FLUSH_DATA. */
void attempt_run(struct attempt *attempt, const struct flush_ask *ask, flush_fn *done, void *arg);

#endif
