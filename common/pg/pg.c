/*
 * pg.c - the door to PostgreSQL.  See pg.h.
 *
 * One libpq connection in non-blocking mode, moved on by a watched descriptor and one timer:
 *
 *   CLOSED -> RESOLVING -> CONNECTING -> IDLE <-> ASKED (-> COPYING -> ASKED)
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
#include "common/pg/pg.h"

#include "common/base/clock.h"
#include "common/config/secret.h"
#include "common/harness/harness.h"
#include "common/pg/resolve.h"
#include "common/pg/url.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY_PIECE_BYTES 65536
#define COPY_PIECES_PER_TURN 16
#define URL_BYTES 4096

enum pg_state { CLOSED, RESOLVING, CONNECTING, IDLE, ASKED, COPYING };

struct pg {
    struct harness *harness;
    char *url, *application;
    int64_t connect_ms, socket_timeout_ms;

    enum pg_state state;
    PGconn *conn;
    struct watch *watch;
    struct timer *deadline;
    struct resolve *resolve;
    struct pg_parameters parameters; /* of the connect under way */

    pg_answer_fn *answer; /* of the question under way; NULL: none */
    void *arg;
    PGresult *result; /* the last one, or the first that is an error */
    pg_copy_fn *more;
    bool copy_ended;      /* our side of the COPY is complete */
    char reason[256];     /* set: to be answered LOST when the timer comes */
    char *piece;
};

static void on_socket(void *arg, short revents);

/* --- answers ---------------------------------------------------------------------------------- */

static void one_line(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
    for (char *c = to; *c; c++)
        if ((unsigned char)*c < 0x20)
            *c = ' ';
    for (size_t length = strlen(to); length > 0 && to[length - 1] == ' '; length--)
        to[length - 1] = '\0';
}

static void drop(struct pg *pg)
{
    harness_unwatch(&pg->watch);
    if (pg->conn)
        PQfinish(pg->conn); /* non-blocking mode: says goodbye if the socket takes it */
    pg->conn = NULL;
    pg_parameters_clear(&pg->parameters);
    pg->state = CLOSED;
}

static void give(struct pg *pg, const struct pg_answer *answer)
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

static void lost(struct pg *pg, const char *reason)
{
    struct pg_answer answer = {.outcome = PG_LOST, .affected = -1, .tag = ""};
    char text[256];

    one_line(text, sizeof text, reason);
    answer.text = text;
    drop(pg);
    PQclear(pg->result);
    pg->result = NULL;
    give(pg, &answer);
}

static void lost_soon(struct pg *pg, const char *reason)
{
    one_line(pg->reason, sizeof pg->reason, reason && *reason ? reason : "connection lost");
    drop(pg);
    timer_in_ms(pg->deadline, 0);
}

static int64_t affected(const char *tuples)
{
    return tuples && *tuples ? strtoll(tuples, NULL, 10) : -1;
}

static void finished(struct pg *pg)
{
    struct pg_answer answer = {.outcome = PG_OK, .affected = -1, .tag = "", .text = ""};
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
        const char *sqlstate = PQresultErrorField(pg->result, PG_DIAG_SQLSTATE);
        const char *primary = PQresultErrorField(pg->result, PG_DIAG_MESSAGE_PRIMARY);

        answer.outcome = PG_REFUSED;
        snprintf(answer.sqlstate, sizeof answer.sqlstate, "%s", sqlstate ? sqlstate : "XX000");
        one_line(text, sizeof text, primary ? primary : PQresultErrorMessage(pg->result));
        answer.text = text;
    }
    give(pg, &answer);
}

/* --- connecting ------------------------------------------------------------------------------- */

static void connect_step(struct pg *pg, PostgresPollingStatusType status);

static int own_parameters(struct pg *pg)
{
    struct pg_parameters *p = &pg->parameters;
    char user_timeout[24];

    snprintf(user_timeout, sizeof user_timeout, "%lld", (long long)pg->socket_timeout_ms);
    return pg_parameters_set(p, "keepalives", "1", 1) ||
           pg_parameters_set(p, "keepalives_idle", "15", 1) ||
           pg_parameters_set(p, "keepalives_interval", "5", 1) ||
           pg_parameters_set(p, "keepalives_count", "3", 1) ||
           pg_parameters_set(p, "tcp_user_timeout", user_timeout, 1) ||
           pg_parameters_set(p, "gssencmode", "disable", 1) || /* asking a KDC would block */
           pg_parameters_set(p, "client_encoding", "UTF8", 0) ||
           pg_parameters_set(p, "application_name", pg->application, 0);
}

static int load_parameters(struct pg *pg, struct err *err)
{
    char text[URL_BYTES];
    int rc;

    if (secret_read(pg->url, text, sizeof text, err))
        return -1;
    rc = pg_parameters_parse(&pg->parameters, text, NULL, 0, err);
    explicit_bzero(text, sizeof text);
    if (rc)
        return -1;
    return own_parameters(pg) ? err_set(err, "out of memory") : 0;
}

static void watch_conn(struct pg *pg, short events)
{
    harness_unwatch(&pg->watch); /* libpq changes sockets while it tries addresses */
    if (PQsocket(pg->conn) >= 0)
        pg->watch = harness_watch(pg->harness, PQsocket(pg->conn), events, on_socket, pg);
}

static void start_connect(struct pg *pg)
{
    pg->conn = PQconnectStartParams((const char *const *)pg->parameters.keyword,
                                    (const char *const *)pg->parameters.value, 0);
    pg_parameters_clear(&pg->parameters);
    if (!pg->conn || PQstatus(pg->conn) == CONNECTION_BAD) {
        lost_soon(pg, pg->conn ? PQerrorMessage(pg->conn) : "out of memory");
        return;
    }
    pg->state = CONNECTING;
    connect_step(pg, PGRES_POLLING_WRITING);
}

static void on_resolved(void *arg, short revents)
{
    struct pg *pg = arg;
    struct resolve_answer answer;
    struct err err = {{0}};
    int rc;

    (void)revents;
    rc = resolve_result(pg->resolve, &answer, &err);
    harness_unwatch(&pg->watch);
    resolve_drop(&pg->resolve);
    if (rc == 0 && (pg_parameters_set(&pg->parameters, "host", answer.host, 0) ||
                    pg_parameters_set(&pg->parameters, "hostaddr", answer.hostaddr, 0) ||
                    pg_parameters_set(&pg->parameters, "port", answer.port, 0)))
        rc = err_set(&err, "out of memory");
    if (rc)
        lost(pg, err.text);
    else
        start_connect(pg);
}

static bool needs_resolving(const char *hosts)
{
    if (!hosts || !*hosts)
        return false;
    for (const char *at = hosts; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (*at && *at != '/' && *at != '@' && *at != ',')
            return true;
    return false;
}

static void start_resolve(struct pg *pg, const char *hosts, struct err *err)
{
    const char *ports = pg_parameters_get(&pg->parameters, "port");

    ports = ports && *ports ? ports : "5432";
    /* One that still hangs over these names is waited for again; one over other names is let go. */
    if (pg->resolve && !resolve_of(pg->resolve, hosts, ports))
        resolve_drop(&pg->resolve);
    if (!pg->resolve && !(pg->resolve = resolve_start(hosts, ports, err))) {
        lost_soon(pg, err->text);
        return;
    }
    pg->state = RESOLVING;
    pg->watch = harness_watch(pg->harness, resolve_fd(pg->resolve), POLLIN, on_resolved, pg);
}

void pg_connect(struct pg *pg, pg_answer_fn *answer, void *arg)
{
    struct err err = {{0}};
    const char *hosts;

    if (pg->answer)
        bug("pg_connect while a question is open");
    drop(pg);
    pg->answer = answer;
    pg->arg = arg;
    pg->reason[0] = '\0';
    timer_in_ms(pg->deadline, pg->connect_ms);
    if (load_parameters(pg, &err)) {
        lost_soon(pg, err.text);
        return;
    }
    hosts = pg_parameters_get(&pg->parameters, "host");
    if (pg_parameters_get(&pg->parameters, "hostaddr") || !needs_resolving(hosts))
        start_connect(pg);
    else
        start_resolve(pg, hosts, &err);
}

static void connected(struct pg *pg)
{
    struct pg_answer answer = {.outcome = PG_OK, .affected = -1, .tag = "", .text = ""};

    if (PQsetnonblocking(pg->conn, 1) != 0) {
        lost(pg, PQerrorMessage(pg->conn));
        return;
    }
    pg->state = IDLE;
    watch_conn(pg, POLLIN);
    give(pg, &answer);
}

static void connect_step(struct pg *pg, PostgresPollingStatusType status)
{
    switch (status) {
    case PGRES_POLLING_READING:
        watch_conn(pg, POLLIN);
        break;
    case PGRES_POLLING_WRITING:
        watch_conn(pg, POLLOUT);
        break;
    case PGRES_POLLING_OK:
        connected(pg);
        break;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE:
    default:
        lost(pg, PQerrorMessage(pg->conn));
        break;
    }
}

/* --- asking ----------------------------------------------------------------------------------- */

/* -1: the connection is lost (and answered). */
static int flush_out(struct pg *pg)
{
    int rc = PQflush(pg->conn);

    if (rc < 0) {
        lost(pg, PQerrorMessage(pg->conn));
        return -1;
    }
    watch_events(pg->watch, (short)(rc > 0 || pg->state == COPYING ? POLLIN | POLLOUT : POLLIN));
    return rc;
}

static void start_asking(struct pg *pg, int64_t timeout_ms, pg_answer_fn *answer, void *arg)
{
    if (pg->answer)
        bug("two questions at a time on one connection");
    pg->answer = answer;
    pg->arg = arg;
    pg->more = NULL;
    pg->copy_ended = false;
    pg->reason[0] = '\0';
    timer_in_ms(pg->deadline, timeout_ms);
}

static void sent(struct pg *pg, int ok)
{
    pg->state = ASKED;
    if (!ok || PQflush(pg->conn) < 0)
        lost_soon(pg, PQerrorMessage(pg->conn));
    else
        watch_events(pg->watch, POLLIN | POLLOUT); /* the next turn flushes the rest */
}

void pg_query(struct pg *pg, const char *sql, int count, const char *const *values,
              int64_t timeout_ms, pg_answer_fn *answer, void *arg)
{
    start_asking(pg, timeout_ms, answer, arg);
    if (pg->state != IDLE) {
        lost_soon(pg, "not connected");
        return;
    }
    if (count == 0)
        sent(pg, PQsendQuery(pg->conn, sql));
    else
        sent(pg, PQsendQueryParams(pg->conn, sql, count, NULL, values, NULL, NULL, 0));
}

void pg_copy(struct pg *pg, const char *sql, int64_t timeout_ms, pg_copy_fn *more,
             pg_answer_fn *answer, void *arg)
{
    start_asking(pg, timeout_ms, answer, arg);
    pg->more = more;
    if (pg->state != IDLE)
        lost_soon(pg, "not connected");
    else
        sent(pg, PQsendQuery(pg->conn, sql));
}

/* Feeds the COPY as long as the socket takes it; libpq's buffer holds one piece at the most. */
static void feed(struct pg *pg)
{
    for (int i = 0; i < COPY_PIECES_PER_TURN; i++) {
        size_t length;
        int rc = flush_out(pg);

        if (rc != 0)
            return;
        length = pg->more(pg->arg, pg->piece, COPY_PIECE_BYTES);
        rc = length > 0 ? PQputCopyData(pg->conn, pg->piece, (int)length)
                        : PQputCopyEnd(pg->conn, NULL);
        if (rc <= 0) {
            lost(pg, PQerrorMessage(pg->conn));
            return;
        }
        if (length == 0) {
            pg->copy_ended = true;
            pg->state = ASKED;
            (void)flush_out(pg);
            return;
        }
    }
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
                lost(pg, PQerrorMessage(pg->conn));
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
            lost(pg, "COPY where none was asked for");
            return;
        }
        pg->state = COPYING;
        feed(pg);
        return;
    }
}

static void idle_input(struct pg *pg)
{
    if (PQconsumeInput(pg->conn) && PQstatus(pg->conn) == CONNECTION_OK && !PQisBusy(pg->conn)) {
        PGnotify *notify = PQnotifies(pg->conn);
        PQfreemem(notify);
        return;
    }
    drop(pg); /* closed while idle: normal, the next question connects */
}

static void on_socket(void *arg, short revents)
{
    struct pg *pg = arg;

    if (pg->state == CONNECTING) {
        connect_step(pg, PQconnectPoll(pg->conn));
        return;
    }
    if (pg->state == IDLE) {
        idle_input(pg);
        return;
    }
    if ((revents & ~POLLOUT) && !PQconsumeInput(pg->conn)) {
        lost(pg, PQerrorMessage(pg->conn));
        return;
    }
    if (pg->state == COPYING) {
        feed(pg);
        return;
    }
    if (flush_out(pg) >= 0)
        collect(pg);
}

/* --- deadline, opening, closing ----------------------------------------------------------------- */

static void on_deadline(void *arg)
{
    static const char *const missed[] = {
        [RESOLVING] = "deadline passed while resolving the name",
        [CONNECTING] = "deadline passed while connecting",
        [ASKED] = "deadline passed while waiting for the answer",
        [COPYING] = "deadline passed while copying",
    };
    struct pg *pg = arg;
    char reason[256];

    if (!pg->answer)
        return;
    snprintf(reason, sizeof reason, "%s",
             pg->reason[0] ? pg->reason : missed[pg->state] ? missed[pg->state] : "deadline passed");
    lost(pg, reason);
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
    if (pg->answer)
        lost(pg, "connection closed by us");
    else
        drop(pg);
}

bool pg_connected(const struct pg *pg)
{
    return pg->state >= IDLE;
}

bool pg_busy(const struct pg *pg)
{
    return pg->answer != NULL;
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
