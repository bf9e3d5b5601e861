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
    int64_t clamped, collided, there; /* rows of a log that is not ours: cut to fit; id taken; not ours but same */
    bool moved;   /* rows that were kept for a missing table went into it */
};

/* A claim of somebody else's elements (claim.h): its id is put down by the transaction that counts them. */
#define CLAIM_ID 65
#define FLUSH_CLAIMS 16

enum flush_claim_known { CLAIM_NEW, CLAIM_APPLIED, CLAIM_RETURNED };

struct flush_claim {
    char id[CLAIM_ID];
    enum flush_claim_known known; /* what PostgreSQL says of it: a hypothesis, as the fate of an event is */
};

enum flush_claim_known flush_claim_known(const char *state);

/* Increments of LiteLLM's budget windows, as JSON objects: they are no sums of a table of the layout. */
struct flush_windows {
    struct text json; /* without its brackets */
    size_t count;
    bool missing;     /* LiteLLM's table is not there: found by the flush, which then runs again */
};

/* Who brings sums and dead letters of his own makes them for each attempt anew. */
struct flush_source {
    int (*make)(void *arg, const struct poison *poison); /* NULL: nobody does.  -1: no memory */
    size_t (*items)(void *arg);                 /* of which some may be refused, when last made */
    int (*refuse)(void *arg, size_t item);      /* leave it out: PostgreSQL refuses it */
    void *arg;
};

struct flush_ask {
    struct load *load;
    struct sums *sums;           /* NULL, or sums that somebody else made: of the load's events none are made */
    const struct poison *poison; /* NULL: everything; else what it includes */
    bool trial;                  /* roll back at the end */
    bool nowait;                 /* no lock in Redis was to be had: do not wait for the shard */
    bool lock_tables;            /* too many deadlocks: queue for the tables before touching rows */
    bool look_early;             /* repeats are likely: look before the locks */
    struct flush_claim *claim[FLUSH_CLAIMS];
    size_t claims;
    struct flush_windows *windows; /* NULL: none */
    bool purge_claims;           /* rows of claims that are long over */
    struct flush_source source;
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
