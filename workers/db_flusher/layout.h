/*
 * layout.h - which tables the sums go to.  One kind per database.layout; everything else of a flush
 * (ledger, arbiter, dead letters) is the same for all of them and lies in spendd's own schema.
 *
 * A layout is a number of tables of sums, and says of each how a temporary one is filled by COPY before
 * anything is locked, and merged under the locks.  Who fills the sums is not its business: a load's events
 * (layout_kind.add), or somebody else (litellm.h).  SQL has '@' where spendd's own schema belongs.
 */
#ifndef SPENDD_DB_FLUSHER_LAYOUT_H
#define SPENDD_DB_FLUSHER_LAYOUT_H

#include "common/base/err.h"
#include "common/config/settings.h"
#include "common/pg/pg.h"
#include "common/stats/stats.h"
#include "workers/db_flusher/tally.h"
#include "workers/db_flusher/text.h"

#define LAYOUT_TABLES 20 /* the most that a kind has */

struct layout;

struct layout_table {
    const char *name;
    const char *target; /* where its rows go, quoted */
    const char *create; /* CREATE TEMP TABLE ... ON COMMIT DROP */
    const char *copy;   /* COPY pg_temp.... FROM STDIN (FORMAT binary) */
    const char *move;   /* NULL, or brings rows in that were kept while the table was missing */
    const char *lock;   /* NULL, or a SELECT that locks the rows which are there, in order */
    const char *merge;  /* adds; the rows lie in the temporary table sorted */
    bool kept;          /* the table is missing: what is merged lies in our own schema until it is there */
    enum metric missed; /* counts rows that came up and met none; METRICS: there are none of that kind */
    void (*row)(const struct layout *layout, unsigned table, struct text *text, const struct sum *sum,
                const struct tally *tally);
};

/* A log of events that is not ours, and not an arbiter; all NULL: there is none. */
struct layout_log {
    const char *create, *copy;
    const char *insert; /* rows whose id is free */
    const char *others; /* then those whose id another event's row has, under another id */
    /* `id`: the event's own 16 bytes.  Returns true if a value was clamped. */
    bool (*row)(struct text *text, const struct event *event, const unsigned char id[16]);
};

struct layout_kind {
    const char *name;
    const char *tables_sql; /* makes those of spendd's schema that belong to it, where they are not */
    const char *marker;     /* one of them: where it is, the others are */
    bool keeps_log;         /* spend_log is written, and is the arbiter of events that have a day */
    unsigned pieces; /* disjoint parts of a table's sums that can be made one after the other */
    int (*open)(struct layout *layout, struct err *err); /* NULL: nothing to be opened */
    void (*close)(struct layout *layout);
    /* Adds an event to the sums of the pieces in the mask; a table that is NULL is left out.
     * -1: no memory. */
    int (*add)(const struct layout *layout, struct tally *const table[LAYOUT_TABLES],
               const struct event *event, unsigned pieces);
    /* NULL: the tables are our own, and known.  Else asks for the catalog, and what follows from the answer
     * (also of what was read from the URL: its schema).  -1: a human must act. */
    void (*look)(struct layout *layout, const char *schema, struct text *sql);
    int (*learn)(struct layout *layout, const struct pg_answer *answer, struct err *err);
};

struct layout {
    const struct layout_kind *kind;
    const struct settings *settings;
    unsigned tables;
    struct layout_table table[LAYOUT_TABLES];
    struct layout_log log;
    bool takes_events; /* else they become dead letters */
    bool known;      /* the catalog was read over this connection */
    struct litellm *litellm; /* of that kind */
};

/* By its name in database.layout. */
struct layout *layout_open(const struct settings *settings, struct err *err);
void layout_close(struct layout **layout);

/* Is the log of events written to, and what of it decides whether an event was counted? */
bool layout_logs(const struct layout *layout);

extern const struct layout_kind layout_spendd, layout_litellm;

#endif
