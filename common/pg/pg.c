/*
 * pg.c - the door to PostgreSQL: its life, and how a question is answered.  See pg.h.
 *
 * One libpq connection in non-blocking mode, moved on by a watched descriptor and one timer:
 *
 *   CLOSED -> RESOLVING -> CONNECTING (-> next address) -> IDLE <-> ASKED (-> COPYING -> ASKED)
 *
 * Each question has one answer function, called exactly once, from the loop and never from inside the
 * call that asked (what fails at once is answered by the timer).  Nothing of `pg` is touched after an
 * answer function was called: it may ask the next question or close the door.
 *
 * A missed deadline drops the connection at once.  What the server was doing may still happen: the
 * answer says LOST, and the caller's protocol must live with both.  No cancel is sent: the server's
 * own statement_timeout, which is shorter than the client's deadline, ends what it was doing.
 *
 * If we die on any line: the server rolls back what was not committed; nothing else is held here.
 */
#include "common/pg/pg_inside.h"

#include "common/harness/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs of blanks and line ends become one blank, none at the end. */
void pg_one_line(char *to, size_t size, const char *from)
{
    size_t used = 0;

    for (const char *c = from ? from : ""; *c && used + 1 < size; c++) {
        bool blank = (unsigned char)*c <= 0x20;

        if (!blank)
            to[used++] = *c;
        else if (used > 0 && to[used - 1] != ' ')
            to[used++] = ' ';
    }
    if (used > 0 && to[used - 1] == ' ')
        used--;
    to[used] = '\0';
}

/* --- answers ---------------------------------------------------------------------------------- */

void pg_watch(struct pg *pg, short events, void (*ready)(void *arg, short revents))
{
    harness_unwatch(&pg->watch); /* libpq changes sockets while it connects */
    if (PQsocket(pg->conn) >= 0)
        pg->watch = harness_watch(pg->harness, PQsocket(pg->conn), events, ready, pg);
}

void pg_drop(struct pg *pg)
{
    harness_unwatch(&pg->watch);
    pg_tls_let_go(pg);
    if (pg->conn)
        PQfinish(pg->conn); /* non-blocking mode: says goodbye if the socket takes it */
    pg->conn = NULL;
    pg_parameters_clear(&pg->parameters);
    pg->state = CLOSED;
}

void pg_give(struct pg *pg, const struct pg_answer *answer)
{
    pg_answer_fn *function = pg->answer;
    void *arg = pg->arg;
    PGresult *result = pg->result;

    pg->answer = NULL;
    pg->result = NULL;
    timer_stop(pg->deadline);
    if (function)
        function(arg, answer); /* `pg` may be gone from here on */
    PQclear(result);
}

void pg_lost(struct pg *pg, const char *reason)
{
    struct pg_answer answer = {.outcome = PG_LOST, .affected = -1, .tag = ""};
    char text[REASON_BYTES];

    pg_one_line(text, sizeof text, reason);
    memcpy(answer.sqlstate, pg->sqlstate, sizeof answer.sqlstate);
    answer.text = text[0] ? text : "connection lost";
    answer.refusal = pg_refusal_find(answer.sqlstate, answer.text);
    pg->known.count = 0; /* the name may lead elsewhere now */
    pg_drop(pg);
    PQclear(pg->result);
    pg->result = NULL;
    pg_give(pg, &answer);
}

void pg_lost_soon(struct pg *pg, const char *reason)
{
    pg_one_line(pg->reason, sizeof pg->reason, reason && *reason ? reason : "connection lost");
    pg_drop(pg);
    timer_in_ms(pg->deadline, 0);
}

/* --- deadline, opening, closing ----------------------------------------------------------------- */

const char *pg_doing(const struct pg *pg)
{
    static const char *const words[] = {
        [CLOSED] = "closing",        [RESOLVING] = "resolving its name", [CONNECTING] = "connecting",
        [IDLE] = "waiting",          [ASKED] = "waiting for the answer", [COPYING] = "copying",
    };

    return pg->answer ? words[pg->state] : "";
}

static void on_deadline(void *arg)
{
    struct pg *pg = arg;
    char reason[REASON_BYTES];

    if (!pg->answer)
        return;
    if (pg->state == RESOLVING || pg->state == CONNECTING) {
        pg_connect_late(pg);
        return;
    }
    if (pg->state != CLOSED) {
        snprintf(reason, sizeof reason, "deadline passed while %s", pg_doing(pg));
        pg->sqlstate[0] = '\0';
    } else {
        snprintf(reason, sizeof reason, "%s", pg->reason);
    }
    pg_lost(pg, reason);
}

struct pg *pg_open(struct harness *harness, const struct pg_options *options, struct err *err)
{
    struct pg *pg;

    if (pg_url_check(options->url, NULL, 0, err))
        return NULL;
    pg = calloc(1, sizeof *pg);
    if (!pg) {
        err_set(err, "out of memory");
        return NULL;
    }
    pg->harness = harness;
    pg->connect_ms = options->connect_ms;
    pg->socket_timeout_ms = options->socket_timeout_ms;
    pg->url = strdup(options->url);
    pg->application = strdup(options->application);
    pg->piece = malloc(COPY_PIECE_BYTES);
    pg->deadline = harness_timer(harness, on_deadline, pg);
    if (pg->url && pg->application && pg->piece && pg->deadline)
        return pg;
    pg_close(&pg);
    err_set(err, "out of memory");
    return NULL;
}

void pg_close(struct pg **pg)
{
    struct pg *it = *pg;

    if (!it)
        return;
    pg_disconnect(it); /* its answers may still look at us through the owner's pointer */
    resolve_drop(&it->resolve);
    harness_untimer(&it->deadline);
    if (it->url)
        explicit_bzero(it->url, strlen(it->url));
    free(it->url);
    free(it->application);
    free(it->piece);
    free(it);
    *pg = NULL;
}

void pg_disconnect(struct pg *pg)
{
    pg->sqlstate[0] = '\0';
    if (pg->answer)
        pg_lost(pg, "connection closed by us");
    else
        pg_drop(pg);
}

bool pg_connected(const struct pg *pg)
{
    return pg->state >= IDLE;
}

bool pg_busy(const struct pg *pg)
{
    return pg->answer != NULL;
}

int64_t pg_asked_ms(const struct pg *pg)
{
    return pg->answer ? mono_ms_between(pg->asked, mono_now()) : 0;
}

const char *pg_ignored(const struct pg *pg)
{
    return pg->ignored;
}

const char *pg_schema(const struct pg *pg)
{
    return pg->schema;
}
