/*
 * sums.c - the sums of a flush, made from its events and copied up.
 *
 * Mostly few: hot keys fold together, one pass makes both tables.  Where nothing folds (each event its
 * own user, key, ...) there are many more sums than events: then they are made piece by piece, one table
 * and one type of entities at a time, while they go up.  That reads each event several times, and holds
 * about as many sums as there are events instead of sixteen times as many.
 * Pure but for the COPY's buffer; dying here loses nothing.
 */
#include "workers/db_flusher/flush_parts.h"

#define SUMS_AT_ONCE 32768

/* -1: no memory; 1: more than `most` sums. */
static int add_events(struct flush *flush, struct tally *const table[LAYOUT_TABLES], unsigned pieces,
                      size_t most)
{
    struct event event;

    for (size_t i = 0; i < flush->ordered; i++) {
        size_t sums = 0;

        rows_decode(&flush->ask.load->event[flush->order[i]], &event);
        if (flush->layout->add(table, &event, pieces))
            return -1;
        for (int t = 0; t < LAYOUT_TABLES; t++)
            sums += table[t] ? table[t]->used : 0;
        if (sums > most)
            return 1;
    }
    return 0;
}

int sums_make(struct flush *flush)
{
    struct tally *const both[] = {&flush->tally[0], &flush->tally[1]};
    int rc;

    for (int t = 0; t < LAYOUT_TABLES; t++)
        tally_clear(both[t]);
    rc = add_events(flush, both, ~0u, SUMS_AT_ONCE);
    flush->piecewise = rc > 0;
    for (int t = 0; t < LAYOUT_TABLES; t++) {
        if (flush->piecewise)
            tally_free(both[t]);
        else
            tally_sort(both[t]);
        flush->report.sums += (int64_t)both[t]->used;
    }
    return rc < 0 ? -1 : 0;
}

/* Makes the next piece that has sums.  False: there is none, or no memory. */
static bool next_piece(struct flush *flush, int table)
{
    struct tally *one[LAYOUT_TABLES] = {NULL};

    one[table] = &flush->tally[table];
    while (flush->piece < flush->layout->pieces) {
        tally_clear(one[table]);
        flush->at = 0;
        if (add_events(flush, one, 1u << flush->piece++, SIZE_MAX)) {
            flush->rows.failed = true;
            return false;
        }
        tally_sort(one[table]);
        flush->report.sums += (int64_t)one[table]->used;
        if (one[table]->used > 0)
            return true;
    }
    tally_free(one[table]);
    flush->at = 0;
    return false;
}

static bool row(struct flush *flush, int table)
{
    const struct tally *tally = &flush->tally[table];

    if (flush->at == tally->used && !(flush->piecewise && next_piece(flush, table)))
        return false;
    flush->layout->table[table].row(&flush->rows, tally, &tally->sum[flush->at++]);
    flush->sent_rows++;
    return true;
}

bool sums_row0(struct flush *flush)
{
    return row(flush, 0);
}

bool sums_row1(struct flush *flush)
{
    return row(flush, 1);
}
