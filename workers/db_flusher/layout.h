/*
 * layout.h - which tables the sums go to.  One row of this interface per database.layout.
 * SQL has '@' where the schema's quoted name belongs.  Everything else of a flush (ledger, log,
 * arbiter, dead letters) is the same for all layouts and lies in spendd's own schema.
 */
#ifndef SPENDD_DB_FLUSHER_LAYOUT_H
#define SPENDD_DB_FLUSHER_LAYOUT_H

#include "workers/db_flusher/tally.h"
#include "workers/db_flusher/text.h"

#define LAYOUT_TABLES 2

/* One table of sums: a temporary one is filled by COPY before anything is locked, and merged by one
 * sorted statement under the locks. */
struct layout_table {
    const char *create; /* CREATE TEMP TABLE ... ON COMMIT DROP */
    const char *copy;   /* COPY pg_temp.... FROM STDIN (FORMAT binary) */
    const char *merge;  /* INSERT ... SELECT ... ON CONFLICT DO UPDATE; the rows lie there sorted */
    void (*row)(struct text *text, const struct tally *tally, const struct sum *sum);
};

struct layout {
    const char *name;
    const char *tables_sql; /* makes them, where they are not */
    const char *lock_tables; /* keeps other writers of these tables out for this transaction */
    struct layout_table table[LAYOUT_TABLES];
    unsigned pieces; /* disjoint parts of the sums that can be made one after the other */
    /* Adds an event to the sums of the pieces in the mask; a table that is NULL is left out.
     * -1: no memory. */
    int (*add)(struct tally *const table[LAYOUT_TABLES], const struct event *event, unsigned pieces);
};

extern const struct layout layout_spendd;

#endif
