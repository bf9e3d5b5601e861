/*
 * give_back.h - claims go back to their lists: first PostgreSQL is told that they are returned, so that
 * nobody who still has one in hand counts it; then their elements move (tests/model).
 */
#ifndef SPENDD_DB_FLUSHER_GIVE_BACK_H
#define SPENDD_DB_FLUSHER_GIVE_BACK_H

#include "workers/db_flusher/claim.h"

struct give_back;

/* After it each claim says what PostgreSQL holds of it: CLAIM_RETURNED, or CLAIM_APPLIED where it was counted
 * after all; with a refusal none says anything. */
typedef void give_back_fn(void *arg, enum pg_refusal refusal, const char *why); /* why NULL: done */

struct give_back *give_back_open(struct pg *pg, const struct settings *settings, const struct schema *schema);
void give_back_close(struct give_back **back);

/* Marks every claim that has an id.  Needs a connection with nothing under way. */
void give_back_mark(struct give_back *back, struct claim *claims, size_t count, give_back_fn *done, void *arg);

#endif
