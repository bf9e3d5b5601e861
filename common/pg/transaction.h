/*
 * transaction.h - how every transaction of ours begins: with its own limits, set for it alone, so that
 * a pooler in transaction mode may hand the server session to anybody afterwards.
 */
#ifndef SPENDD_PG_TRANSACTION_H
#define SPENDD_PG_TRANSACTION_H

#include "common/base/attr.h"

#include <stddef.h>
#include <stdint.h>

#define PG_BEGIN_BYTES 512

struct pg_limits {
    int64_t statement_ms, lock_ms;
    int64_t idle_ms; /* waiting for us, between two statements; and for our host to answer at all */
};

/* "BEGIN ...; SET LOCAL ...; " into `sql`. */
void pg_begin_text(char sql[PG_BEGIN_BYTES], const struct pg_limits *limits);

#endif
