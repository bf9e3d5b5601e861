/*
 * flush.h - one attempt to bring a load into PostgreSQL: one transaction, a table of steps.
 * The attempt proves the load's hypothesis (which batches are applied, which events are known) under
 * its locks; FLUSH_AGAIN means that it was wrong and has been corrected in the load: run it again.
 */
#ifndef SPENDD_DB_FLUSHER_FLUSH_H
#define SPENDD_DB_FLUSHER_FLUSH_H

#include "common/base/err.h"
#include "common/config/settings.h"
#include "common/pg/pg.h"
#include "workers/db_flusher/layout.h"
#include "workers/db_flusher/load.h"
#include "workers/db_flusher/poison.h"
#include "workers/db_flusher/schema.h"
#include "workers/db_flusher/sums.h"

#include <stdbool.h>

enum flush_result {
    FLUSH_COMMITTED,
    FLUSH_TRIED,     /* a trial went in and was rolled back */
    FLUSH_AGAIN,     /* the hypothesis was wrong; corrected */
    FLUSH_DATA,      /* refused for its data: bisect */
    FLUSH_REFUSED,   /* nothing happened; `refusal` says what follows (common/pg/refusals.def) */
    FLUSH_TIMEOUT,   /* the hypothesis was wrong too often: again later */
    FLUSH_TOO_LONG,  /* no memory here: again, with less */
    FLUSH_LOST,      /* no memory here, at a small thing: again later */
    FLUSH_AMBIGUOUS, /* connection gone during COMMIT: run it again under the lock */
    FLUSH_STAND_DOWN /* not about data: a human must act */
};

struct flush_report {
    enum flush_result result;
    enum pg_refusal refusal; /* of REFUSED, AMBIGUOUS, DATA and STAND_DOWN by the server's word */
    char text[256];
    const char *step;    /* where it ended */
    bool went_back;      /* a ledger row is older than what was published of it */
    int64_t sums; /* rows of sums made: what bounds our memory */
    int64_t applied, skipped, counted, known, conflicts, poison, dead, rows;
    int64_t missed[LAYOUT_TABLES]; /* rows that met none (layout_table.missed) */
    int64_t kept; /* rows for a table that is missing */
    bool moved;   /* rows that were kept for a missing table went into it */
};

struct flush_ask {
    struct load *load;
    struct sums *sums;           /* NULL, or sums that somebody else made: of the load's events none are made */
    const struct poison *poison; /* NULL: everything; else what it includes */
    bool trial;                  /* roll back at the end */
    bool nowait;                 /* no lock in Redis was to be had: do not wait for the shard */
    bool lock_tables;            /* too many deadlocks: queue for the tables before touching rows */
    bool look_early;             /* repeats are likely: look before the locks */
    int64_t statement_ms;
    void (*meanwhile)(void *arg); /* NULL, or called when PostgreSQL has all rows and is busy with them */
    void *meanwhile_arg;
};

struct flush;
typedef void flush_fn(void *arg, const struct flush_report *report);

struct flush *flush_open(struct pg *pg, const struct settings *settings, const struct layout *layout,
                         const struct schema *schema, struct err *err);
void flush_close(struct flush **flush);

/* Answers once, from the loop.  `ask` is copied; its load is used until the answer. */
void flush_run(struct flush *flush, const struct flush_ask *ask, flush_fn *done, void *arg);

#endif
