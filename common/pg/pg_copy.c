/*
 * pg_copy.c - COPY ... FROM STDIN: rows go up as the socket takes them.
 *
 * Bounded: libpq's buffer holds one piece at the most, and a turn of the loop sends some pieces and no
 * more, so that a fast server does not keep the loop.  If we die on any line: the server ends the COPY
 * with the connection, and its transaction.
 */
#include "common/pg/pg_inside.h"

#define PIECES_PER_TURN 16

void pg_copy(struct pg *pg, const char *sql, int64_t timeout_ms, pg_copy_fn *more,
             pg_answer_fn *answer, void *arg)
{
    pg_start_asking(pg, timeout_ms, answer, arg);
    pg->more = more;
    if (pg->state != IDLE)
        pg_lost_soon(pg, "not connected");
    else
        pg_sent(pg, PQsendQuery(pg->conn, sql));
}

void pg_feed(struct pg *pg)
{
    for (int i = 0; i < PIECES_PER_TURN; i++) {
        size_t length;
        int rc = pg_flush_out(pg);

        if (rc != 0)
            return;
        length = pg->more(pg->arg, pg->piece, COPY_PIECE_BYTES);
        rc = length > 0 ? PQputCopyData(pg->conn, pg->piece, (int)length)
                        : PQputCopyEnd(pg->conn, NULL);
        if (rc <= 0) {
            pg_lost(pg, PQerrorMessage(pg->conn));
            return;
        }
        if (length == 0) {
            pg->copy_ended = true;
            pg->state = ASKED;
            (void)pg_flush_out(pg);
            return;
        }
    }
}
