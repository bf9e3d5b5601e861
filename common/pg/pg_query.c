/*
 * pg_query.c - one question over an open connection, and its answer.
 *
 * If we die on any line: what was asked may or may not happen; a transaction that is open is rolled
 * back by the server.
 */
#include "common/pg/pg_inside.h"

#include "common/harness/harness.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- asking ----------------------------------------------------------------------------------- */

int pg_flush_out(struct pg *pg)
{
    int rc = PQflush(pg->conn);

    if (rc < 0) {
        pg_lost(pg, PQerrorMessage(pg->conn));
        return -1;
    }
    watch_events(pg->watch, (short)(rc > 0 || pg->state == COPYING ? POLLIN | POLLOUT : POLLIN));
    return rc;
}

void pg_start_asking(struct pg *pg, int64_t timeout_ms, pg_answer_fn *answer, void *arg)
{
    if (pg->answer)
        bug("two questions at a time on one connection");
    pg->answer = answer;
    pg->arg = arg;
    pg->more = NULL;
    pg->copy_ended = false;
    pg->asked = mono_now();
    pg->reason[0] = pg->sqlstate[0] = '\0';
    timer_in_ms(pg->deadline, timeout_ms);
}

void pg_sent(struct pg *pg, int ok)
{
    pg->state = ASKED;
    if (!ok || PQflush(pg->conn) < 0)
        pg_lost_soon(pg, PQerrorMessage(pg->conn));
    else
        watch_events(pg->watch, POLLIN | POLLOUT); /* the next turn flushes the rest */
}

void pg_query(struct pg *pg, const char *sql, int count, const char *const *values,
              int64_t timeout_ms, pg_answer_fn *answer, void *arg)
{
    pg_start_asking(pg, timeout_ms, answer, arg);
    if (pg->state != IDLE) {
        pg_lost_soon(pg, "not connected");
        return;
    }
    if (count == 0)
        pg_sent(pg, PQsendQuery(pg->conn, sql));
    else
        pg_sent(pg, PQsendQueryParams(pg->conn, sql, count, NULL, values, NULL, NULL, 0));
}

/* --- the answer ------------------------------------------------------------------------------- */

static void take_refusal(struct pg_answer *answer, const PGresult *result, char *text, size_t size)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    answer->outcome = PG_REFUSED;
    snprintf(answer->sqlstate, sizeof answer->sqlstate, "%s", sqlstate ? sqlstate : "");
    pg_one_line(text, size, primary ? primary : PQresultErrorMessage(result));
    answer->text = text;
    answer->refusal = pg_refusal_find(answer->sqlstate, text);
}

static int64_t affected(const char *tuples)
{
    return tuples && *tuples ? strtoll(tuples, NULL, 10) : -1;
}

static void finished(struct pg *pg)
{
    struct pg_answer answer = {
        .outcome = PG_OK, .refusal = PG_REFUSED_NOT, .affected = -1, .tag = "", .text = ""};
    ExecStatusType status = PQresultStatus(pg->result);
    char text[300];

    pg->state = IDLE;
    watch_events(pg->watch, POLLIN);
    answer.result = pg->result;
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY) {
        answer.tag = PQcmdStatus(pg->result);
        answer.affected = affected(PQcmdTuples(pg->result));
        answer.rows = PQntuples(pg->result);
        answer.columns = PQnfields(pg->result);
    } else {
        take_refusal(&answer, pg->result, text, sizeof text);
        if (pg_refusal_row(answer.refusal)->connection == LEAVE)
            pg->known.count = 0; /* not this server: its name is asked for again */
    }
    pg_give(pg, &answer);
}

/* The server's last word, where it said one, is a better reason than the end of the connection. */
static void ended(struct pg *pg)
{
    const char *severity = pg->result ? PQresultErrorField(pg->result, PG_DIAG_SEVERITY_NONLOCALIZED)
                                      : NULL;
    struct pg_answer last = {.text = NULL};
    char text[REASON_BYTES];

    if (severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0))
        take_refusal(&last, pg->result, text, sizeof text);
    memcpy(pg->sqlstate, last.sqlstate, sizeof pg->sqlstate);
    pg_lost(pg, last.text && last.text[0] ? last.text : PQerrorMessage(pg->conn));
}

/* The first error is kept, else the last result. */
static void keep(struct pg *pg, PGresult *result)
{
    if (pg->result && PQresultStatus(pg->result) == PGRES_FATAL_ERROR) {
        PQclear(result);
        return;
    }
    PQclear(pg->result);
    pg->result = result;
}

static void collect(struct pg *pg)
{
    while (!PQisBusy(pg->conn)) {
        PGresult *result = PQgetResult(pg->conn);
        ExecStatusType status;

        if (!result) {
            if (PQstatus(pg->conn) != CONNECTION_OK || !pg->result)
                ended(pg);
            else
                finished(pg);
            return;
        }
        status = PQresultStatus(result);
        if (status != PGRES_COPY_IN) {
            keep(pg, result);
            continue;
        }
        PQclear(result);
        if (!pg->more || pg->copy_ended) {
            pg_lost(pg, "COPY where none was asked for");
            return;
        }
        pg->state = COPYING;
        pg_feed(pg);
        return;
    }
}

/* The socket is at its end: what the server said before is heard first. */
static void cut(struct pg *pg)
{
    PGresult *result;

    while (!PQisBusy(pg->conn) && (result = PQgetResult(pg->conn))) {
        bool copying = PQresultStatus(result) == PGRES_COPY_IN; /* it would say so for ever */

        keep(pg, result);
        if (copying)
            break;
    }
    ended(pg);
}

static void idle_input(struct pg *pg)
{
    if (PQconsumeInput(pg->conn) && PQstatus(pg->conn) == CONNECTION_OK && !PQisBusy(pg->conn)) {
        PGnotify *notify = PQnotifies(pg->conn);
        PQfreemem(notify);
        return;
    }
    pg_drop(pg); /* closed while idle: normal, the next question connects */
}

void pg_on_socket(void *arg, short revents)
{
    struct pg *pg = arg;

    if (pg->state == IDLE) {
        idle_input(pg);
        return;
    }
    if ((revents & ~POLLOUT) && !PQconsumeInput(pg->conn)) {
        cut(pg);
        return;
    }
    if (pg->state == COPYING) {
        pg_feed(pg);
        return;
    }
    if (pg_flush_out(pg) >= 0)
        collect(pg);
}

const char *pg_value(const struct pg_answer *answer, int row, int column)
{
    return PQgetisnull(answer->result, row, column) ? NULL
                                                    : PQgetvalue(answer->result, row, column);
}

size_t pg_length(const struct pg_answer *answer, int row, int column)
{
    return (size_t)PQgetlength(answer->result, row, column);
}
