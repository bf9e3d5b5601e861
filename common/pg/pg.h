/*
 * pg.h - the door to PostgreSQL: one connection, driven by the worker's loop through libpq's
 * non-blocking interface.  Every step has a deadline; nothing here blocks; nothing is session-scoped
 * (PgBouncer in transaction mode must work): no prepared statements, no SET without LOCAL.
 *
 * One thing is asked at a time: pg_query or pg_copy, then its answer, exactly once: PG_OK with the
 * result, or the reason and what it means (refusals.def).  A lost connection closes the door;
 * pg_connect opens it again.  Names are resolved in a helper thread; every address of every host is
 * tried in turn, each with its share of the deadline.
 */
#ifndef SPENDD_PG_PG_H
#define SPENDD_PG_PG_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/pg/pg_refusal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct harness;
struct pg;

enum pg_outcome {
    PG_OK,
    PG_REFUSED, /* the server said no: sqlstate and text tell why; the connection lives */
    PG_LOST     /* connection gone or deadline passed; what was asked may or may not have happened */
};

/* Borrowed for the call. */
struct pg_answer {
    enum pg_outcome outcome;
    enum pg_refusal refusal; /* of REFUSED and LOST */
    char sqlstate[6];
    const char *text; /* message of the server, or the reason; one line */
    const char *tag;  /* command tag, "INSERT 0 12" */
    int64_t affected; /* rows, from the tag; -1 if it has none */
    int rows, columns;
    const void *result; /* for pg_value */
};

typedef void pg_answer_fn(void *arg, const struct pg_answer *answer);

/* Next piece of COPY data into `to` (at most `room` bytes); 0 ends it. */
typedef size_t pg_copy_fn(void *arg, char *to, size_t room);

struct pg_options {
    const char *url;
    const char *application; /* application_name */
    int64_t connect_ms, socket_timeout_ms;
};

/* Checks a libpq URI or keywords; `ignored` (may be NULL) gets the names of another engine's parameters
 * that have no meaning here.  What stands in a file is checked at each connect. */
int pg_url_check(const char *url, char *ignored, size_t size, struct err *err) MUST_CHECK;

struct pg *pg_open(struct harness *harness, const struct pg_options *options, struct err *err);
void pg_close(struct pg **pg);

void pg_connect(struct pg *pg, pg_answer_fn *answer, void *arg);
void pg_disconnect(struct pg *pg); /* what is outstanding is answered PG_LOST first */
bool pg_connected(const struct pg *pg);
bool pg_busy(const struct pg *pg);
int64_t pg_asked_ms(const struct pg *pg);    /* how long the question under way is open; 0: none is */
const char *pg_doing(const struct pg *pg);   /* that question in words, for a status; "": none */
const char *pg_ignored(const struct pg *pg); /* of the URL last connected with; see pg_url_check */
const char *pg_schema(const struct pg *pg);  /* schema= of that URL; "": not given */

/* One statement (or several without parameters); `timeout_ms` is the client's deadline for it. */
void pg_query(struct pg *pg, const char *sql, int count, const char *const *values,
              int64_t timeout_ms, pg_answer_fn *answer, void *arg);

/* COPY ... FROM STDIN (text format); `more` is called as the socket takes data. */
void pg_copy(struct pg *pg, const char *sql, int64_t timeout_ms, pg_copy_fn *more,
             pg_answer_fn *answer, void *arg);

/* Text of a field, NULL if null. */
const char *pg_value(const struct pg_answer *answer, int row, int column);
size_t pg_length(const struct pg_answer *answer, int row, int column);

/* `name` quoted as an identifier; -1 if it does not fit. */
int pg_identifier(const char *name, char *quoted, size_t size) MUST_CHECK;

#endif
