/*
 * tally.h - sums by key: a hash table whose keys are byte strings made of columns, in an order that is
 * the order of the index.  Exact: money as __int128, counts as int64.  Pure.
 *
 * A sum may have a tail: bytes that are no part of the key, kept as they were when the key was first met.
 * And it may have more amounts than the one (`extra`, TALLY_EXTRAS of them), which cost nothing where
 * nobody adds any.
 */
#ifndef SPENDD_DB_FLUSHER_TALLY_H
#define SPENDD_DB_FLUSHER_TALLY_H

#include "common/base/attr.h"
#include "common/event/event.h"
#include "common/money/money.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TALLY_KEY_MAX 4608 /* eight labels of 513 bytes at the most, day, separators */

enum tally_count {
    TALLY_PROMPT,
    TALLY_COMPLETION,
    TALLY_CACHE_READ,
    TALLY_CACHE_CREATION,
    TALLY_REQUESTS,
    TALLY_SUCCESSFUL,
    TALLY_FAILED,
    TALLY_COUNTS
};

#define TALLY_EXTRAS 7

struct sum {
    uint32_t hash, length, tail; /* of the key; bytes of the key, of the tail behind it */
    uint32_t extra;              /* index + 1 of its further amounts; 0: none */
    size_t key; /* offset of its key among the keys */
    int64_t count[TALLY_COUNTS];
    __int128 spend; /* the unit is its layout's */
};

/* Added beside a sum: `tail` and `extra` may be NULL. */
struct tally_more {
    const unsigned char *tail;
    size_t tail_bytes;
    const amount_t *extra; /* TALLY_EXTRAS */
};

struct tally {
    struct sum *sum; /* `used` of them */
    size_t used, room;
    uint32_t *slot; /* 0: free, else index + 1 */
    size_t slots;   /* a power of two */
    unsigned char *keys;
    size_t keys_used, keys_room;
    amount_t *extra; /* TALLY_EXTRAS for each sum that has them */
    size_t extra_used, extra_room;
    uint64_t seed;
};

void tally_init(struct tally *tally, uint64_t seed);
void tally_clear(struct tally *tally); /* keeps the memory, unless it is much */
void tally_free(struct tally *tally);

/* Adds what one event is worth to a key.  -1: out of memory. */
int tally_add(struct tally *tally, const unsigned char *key, size_t length,
              const struct sum *worth) MUST_CHECK;
int tally_add_more(struct tally *tally, const unsigned char *key, size_t length, const struct sum *worth,
                   const struct tally_more *more) MUST_CHECK;

/* Sorts by key, bytewise; nothing may be added afterwards until tally_clear. */
void tally_sort(struct tally *tally);

const unsigned char *tally_key(const struct tally *tally, const struct sum *sum); /* its tail behind it */
const amount_t *tally_extra(const struct tally *tally, const struct sum *sum);    /* NULL: none */

#endif
