/*
 * sums.c - the sums of a flush, made from its events and copied up.
 *
 * Mostly few: hot keys fold together, one pass makes all tables.  Where nothing folds (each event its
 * own user, key, ...) there are many more sums than events: then they are made piece by piece, one table
 * and one of its pieces at a time, while they go up.  That reads each event several times, and holds
 * about as many sums as there are events instead of sixteen times as many.
 * Sums that somebody else made go up as they are.
 * Pure but for the COPY's buffer; dying here loses nothing.
 */
#include "workers/db_flusher/flush_parts.h"

#include <sodium.h>

#define SUMS_AT_ONCE 32768

void sums_init(struct sums *sums, const struct layout *layout)
{
    *sums = (struct sums){.layout = layout};
    for (int i = 0; i < LAYOUT_TABLES; i++) {
        uint64_t seed;

        randombytes_buf(&seed, sizeof seed);
        tally_init(&sums->tally[i], seed);
    }
}

void sums_clear(struct sums *sums)
{
    for (int i = 0; i < LAYOUT_TABLES; i++)
        tally_clear(&sums->tally[i]);
}

void sums_free(struct sums *sums)
{
    for (int i = 0; i < LAYOUT_TABLES; i++)
        tally_free(&sums->tally[i]);
}

static size_t count_rows(const struct sums *sums)
{
    size_t rows = 0;

    for (int i = 0; i < LAYOUT_TABLES; i++)
        rows += sums->tally[i].used;
    return rows;
}

/* -1: no memory; 1: more than `most` sums. */
static int add_events(struct flush *flush, struct tally *const table[LAYOUT_TABLES], unsigned pieces,
                      size_t most)
{
    const struct layout *layout = flush->layout;
    struct event event;

    for (size_t i = 0; i < flush->ordered; i++) {
        rows_decode(&flush->ask.load->event[flush->order[i]], &event);
        if (layout->kind->add(layout, table, &event, pieces))
            return -1;
        if (most < SIZE_MAX && count_rows(&flush->own) > most)
            return 1;
    }
    return 0;
}

int sums_make(struct flush *flush)
{
    struct tally *all[LAYOUT_TABLES];
    int rc = 0;

    flush->piecewise = false;
    flush->sums = flush->ask.sums ? flush->ask.sums : &flush->own;
    for (int t = 0; t < LAYOUT_TABLES; t++)
        all[t] = &flush->sums->tally[t];
    if (!flush->ask.sums) {
        sums_clear(&flush->own);
        rc = add_events(flush, all, ~0u, SUMS_AT_ONCE);
        flush->piecewise = rc > 0;
    }
    if (flush->piecewise)
        sums_free(&flush->own);
    for (int t = 0; t < LAYOUT_TABLES; t++)
        tally_sort(all[t]);
    flush->report.sums += (int64_t)count_rows(flush->sums);
    return rc < 0 ? -1 : 0;
}

/* Makes the next piece that has sums.  False: there is none, or no memory. */
static bool next_piece(struct flush *flush)
{
    struct tally *one[LAYOUT_TABLES] = {NULL}, *tally = &flush->own.tally[flush->table];

    one[flush->table] = tally;
    while (flush->piece < flush->layout->kind->pieces) {
        tally_clear(tally);
        flush->at = 0;
        if (add_events(flush, one, 1u << flush->piece++, SIZE_MAX)) {
            flush->rows.failed = true;
            return false;
        }
        tally_sort(tally);
        flush->report.sums += (int64_t)tally->used;
        if (tally->used > 0)
            return true;
    }
    tally_free(tally);
    flush->at = 0;
    return false;
}

bool sums_row(struct flush *flush)
{
    const struct layout *layout = flush->layout;
    const struct tally *tally = &flush->sums->tally[flush->table];

    if (flush->at == tally->used && !(flush->piecewise && next_piece(flush)))
        return false;
    layout->table[flush->table].row(layout, flush->table, &flush->rows, &tally->sum[flush->at++], tally);
    flush->sent_rows++;
    return true;
}
