/*
 * pg_inside.h - what the files of the door share: pg.c (life, answers), pg_connect.c, pg_tls.c,
 * pg_query.c, pg_copy.c.  Inside common/pg only.
 */
#ifndef SPENDD_PG_PG_INSIDE_H
#define SPENDD_PG_PG_INSIDE_H

#include "common/base/clock.h"
#include "common/pg/pg.h"
#include "common/pg/resolve.h"
#include "common/pg/targets.h"
#include "common/pg/url.h"

#include <libpq-fe.h>

#define COPY_PIECE_BYTES 65536
#define REASON_BYTES 256

enum pg_state { CLOSED, RESOLVING, CONNECTING, IDLE, ASKED, COPYING };

struct pg {
    struct harness *harness;
    char *url, *application;
    int64_t connect_ms, socket_timeout_ms;

    enum pg_state state;
    PGconn *conn;
    struct watch *watch;
    struct timer *deadline;

    /* of the connect under way */
    struct pg_parameters parameters;
    struct pg_targets targets;
    size_t target;
    mono_t connect_by;
    void *tls; /* its TLS session, one reference */
    char ignored[256], schema[64];

    struct resolve *resolve;
    struct pg_targets sought, known; /* the last look-up that led to a connection, and its answer */
    mono_t known_until;

    pg_answer_fn *answer; /* of the question under way; NULL: none */
    void *arg;
    mono_t asked;
    PGresult *result; /* the last one, or the first that is an error */
    pg_copy_fn *more;
    bool copy_ended; /* our side of the COPY is complete */
    char reason[REASON_BYTES]; /* set: to be answered LOST when the timer comes, or if no target serves */
    char sqlstate[6];          /* of it; "": the server was not asked */
    char *piece;
};

/* pg.c */
void pg_drop(struct pg *pg); /* the connection, not the question */
void pg_give(struct pg *pg, const struct pg_answer *answer); /* nothing of `pg` is touched afterwards */
void pg_lost(struct pg *pg, const char *reason);             /* likewise */
void pg_lost_soon(struct pg *pg, const char *reason); /* from inside a call that asks */
void pg_one_line(char *to, size_t size, const char *from);
void pg_watch(struct pg *pg, short events, void (*ready)(void *arg, short revents));

/* pg_connect.c */
void pg_connect_late(struct pg *pg); /* a deadline passed while resolving or connecting */

/* pg_tls.c: only while it connects */
void pg_tls_keep(struct pg *pg);
const char *pg_tls_why(const struct pg *pg, const char *message); /* "": libpq's message says it all */
void pg_tls_let_go(struct pg *pg);

/* pg_query.c */
void pg_on_socket(void *pg, short revents); /* connected */
void pg_start_asking(struct pg *pg, int64_t timeout_ms, pg_answer_fn *answer, void *arg);
void pg_sent(struct pg *pg, int ok);
int pg_flush_out(struct pg *pg); /* as PQflush; -1: lost, and answered */

/* pg_copy.c */
void pg_feed(struct pg *pg);

#endif
