/*
 * transaction.c - how every transaction of ours begins.  See transaction.h.
 *
 * READ COMMITTED whatever the role's default: the ledger is read under a lock that another transaction
 * has just let go of.  The server's own keepalives find a client whose host is gone, for no timeout of
 * PostgreSQL ends a session that waits for its client inside COPY.  Pure.
 */
#include "common/pg/transaction.h"

#include <stdio.h>

void pg_begin_text(char sql[PG_BEGIN_BYTES], const struct pg_limits *limits)
{
    snprintf(sql, PG_BEGIN_BYTES,
             "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = %lld; "
             "SET LOCAL lock_timeout = %lld; SET LOCAL idle_in_transaction_session_timeout = %lld; "
             "SET LOCAL tcp_keepalives_idle = 15; SET LOCAL tcp_keepalives_interval = 5; "
             "SET LOCAL tcp_keepalives_count = 3; SET LOCAL tcp_user_timeout = %lld; ",
             (long long)limits->statement_ms, (long long)limits->lock_ms,
             (long long)limits->idle_ms, (long long)limits->idle_ms);
}
