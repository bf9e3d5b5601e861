/*
 * asked.h - errands of the operator (common/errand) that need this flusher's connection: dead letters, the
 * audit; and step-down, which needs its lock.  Done between flushes, a part at a time.
 */
#ifndef SPENDD_DB_FLUSHER_ASKED_H
#define SPENDD_DB_FLUSHER_ASKED_H

#include "common/errand/errand.h"
#include "common/json/json.h"
#include "workers/db_flusher/flusher.h"
#include "workers/db_flusher/text.h"

#define ASKED_MAX 8
#define ASKED_IDS_BYTES 4096
#define ASKED_PAGE_ROWS 100
#define ASKED_PAGE_BYTES (4 * 1024 * 1024)

typedef void asked_fn(struct flusher *f);
typedef void asked_take_fn(struct flusher *f, const struct pg_answer *answer);

/* What an errand about dead letters is about. */
struct dead_ask {
    char ids[ASKED_IDS_BYTES]; /* "{1,2}"; "": whichever */
    char class[24], since[32];
    int64_t limit, done;    /* letters: at most; looked at so far */
    int64_t last, from;     /* highest id looked at; before this page */
    int64_t page;           /* letters of this page */
    int64_t counted, known, kept, left; /* left: kept of this page */
    int again;              /* times that this page failed for now */
    bool newest;            /* first */
};

struct audit_ask {
    int64_t statement_ms, days, day, differences, compared;
    int64_t last; /* day at which it ends */
    size_t skipped;
};

struct asked {
    struct errands *errands; /* NULL: could not listen */
    struct errand *waiting[ASKED_MAX];
    size_t count;
    struct errand *errand; /* being done; NULL: none */
    asked_fn *part;        /* does its next part, in a turn of its own */
    bool yielded;          /* a part was done: a flush comes first */
    mono_t stepped_down;   /* the lock is left to others until then */
    /* of the errand being done */
    struct text sql;
    struct json_out *out;
    asked_take_fn *take;
    asked_fn *after;
    char failed[256];
    struct dead_ask dead;
    struct audit_ask audit;
    struct load load; /* dead letters that are counted again */
};

struct asked *asked_open(struct flusher *f);
void asked_close(struct asked **asked);
bool asked_any(const struct flusher *f); /* is an errand under way, or waiting? */
bool asked_due(struct flusher *f);  /* is there something to be done in this turn? */
void asked_turn(struct flusher *f);       /* does it; the turn ends behind it */
bool asked_to_stand_back(const struct flusher *f); /* stepped down, and it is not over yet */

/* --- for the files that do errands: asked_dead.c, asked_requeue.c, asked_audit.c --- */

/* One statement (asked->sql) in a transaction of its own: `take` sees the answer, `after` comes when it is
 * committed.  A refusal ends the errand.  `write`: under the shard's row. */
void asked_query(struct flusher *f, bool write, int64_t statement_ms, int count,
                 const char *const *values);
void asked_item(struct flusher *f);              /* what stands in asked->out, as an item */
void asked_part_done(struct flusher *f);         /* the turn ends; `part` goes on when there is room */
void asked_over(struct flusher *f, int status);  /* the errand ends with what stands in asked->out */
void asked_refuse(struct flusher *f, int status, const char *format, ...) PRINTF_LIKE(3, 4);

void asked_dead(struct flusher *f);    /* dead ls, show, export, drop, requeue */
void asked_requeue(struct flusher *f); /* part */
void asked_audit(struct flusher *f);

/* Statement for a page of dead letters, and its parameters. */
void asked_dead_select(struct flusher *f, bool records);
void asked_dead_values(const struct flusher *f, const char *values[6], char number[2][24]);

#endif
