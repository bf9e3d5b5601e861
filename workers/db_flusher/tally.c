/*
 * tally.c - sums by key.  See tally.h.
 *
 * Open addressing over an array of sums; the keys lie one behind the other in an arena.  The hash is
 * seeded per process: what producers send cannot be chosen to collide.  Memory is kept from flush to
 * flush.  Pure: dying here loses nothing, the sums are made again from the batches.
 */
#include "workers/db_flusher/tally.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_FIRST 1024
#define KEEP_MOST 65536

void tally_init(struct tally *tally, uint64_t seed)
{
    *tally = (struct tally){.seed = seed};
}

void tally_clear(struct tally *tally)
{
    if (tally->room > KEEP_MOST)
        tally_free(tally); /* an unusually wide flush: its memory goes back */
    tally->used = tally->keys_used = tally->extra_used = 0;
    if (tally->slot)
        memset(tally->slot, 0, tally->slots * sizeof *tally->slot);
}

void tally_free(struct tally *tally)
{
    free(tally->sum);
    free(tally->slot);
    free(tally->keys);
    free(tally->extra);
    *tally = (struct tally){.seed = tally->seed};
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15u) * (b ^ 0xe7037ed1a0b428dbu);

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t hash_key(uint64_t seed, const unsigned char *key, size_t length)
{
    uint64_t hash = mix(seed, length), word;

    for (; length >= 8; key += 8, length -= 8) {
        memcpy(&word, key, 8);
        hash = mix(hash ^ word, seed);
    }
    word = 0;
    memcpy(&word, key, length);
    return (uint32_t)mix(hash ^ word, seed + 1);
}

static void place(struct tally *tally, size_t index)
{
    size_t at = tally->sum[index].hash & (tally->slots - 1);

    while (tally->slot[at])
        at = (at + 1) & (tally->slots - 1);
    tally->slot[at] = (uint32_t)index + 1;
}

static int grow_slots(struct tally *tally)
{
    size_t slots = tally->slots ? 2 * tally->slots : SLOTS_FIRST;
    uint32_t *slot = calloc(slots, sizeof *slot);

    if (!slot)
        return -1;
    free(tally->slot);
    tally->slot = slot;
    tally->slots = slots;
    for (size_t i = 0; i < tally->used; i++)
        place(tally, i);
    return 0;
}

static int grow(void **data, size_t *room, size_t need, size_t unit)
{
    size_t more = *room ? *room : SLOTS_FIRST;
    void *grown;

    if (need <= *room)
        return 0;
    while (more < need)
        more *= 2;
    grown = realloc(*data, more * unit);
    if (!grown)
        return -1;
    *data = grown;
    *room = more;
    return 0;
}

static struct sum *new_sum(struct tally *tally, const unsigned char *key, size_t length,
                           uint32_t hash, const struct tally_more *more)
{
    struct sum *sum;

    if (2 * (tally->used + 1) > tally->slots && grow_slots(tally))
        return NULL;
    if (grow((void **)&tally->sum, &tally->room, tally->used + 1, sizeof *tally->sum) ||
        grow((void **)&tally->keys, &tally->keys_room, tally->keys_used + length + more->tail_bytes, 1))
        return NULL;
    sum = &tally->sum[tally->used];
    *sum = (struct sum){.hash = hash, .key = tally->keys_used, .length = (uint32_t)length,
                        .tail = (uint32_t)more->tail_bytes};
    memcpy(tally->keys + tally->keys_used, key, length);
    if (more->tail_bytes)
        memcpy(tally->keys + tally->keys_used + length, more->tail, more->tail_bytes);
    tally->keys_used += length + more->tail_bytes;
    place(tally, tally->used++);
    return sum;
}

static int add_extra(struct tally *tally, struct sum *sum, const amount_t *extra)
{
    amount_t *to;

    if (sum->extra == 0) {
        if (grow((void **)&tally->extra, &tally->extra_room, tally->extra_used + TALLY_EXTRAS,
                 sizeof *extra))
            return -1;
        memset(tally->extra + tally->extra_used, 0, TALLY_EXTRAS * sizeof *extra);
        sum->extra = (uint32_t)(tally->extra_used / TALLY_EXTRAS) + 1;
        tally->extra_used += TALLY_EXTRAS;
    }
    to = tally->extra + (size_t)(sum->extra - 1) * TALLY_EXTRAS;
    for (int i = 0; i < TALLY_EXTRAS; i++)
        to[i] += extra[i];
    return 0;
}

static struct sum *find(struct tally *tally, const unsigned char *key, size_t length, uint32_t hash)
{
    if (!tally->slots)
        return NULL;
    for (size_t at = hash & (tally->slots - 1); tally->slot[at]; at = (at + 1) & (tally->slots - 1)) {
        struct sum *sum = &tally->sum[tally->slot[at] - 1];

        if (sum->hash == hash && sum->length == length &&
            memcmp(tally->keys + sum->key, key, length) == 0)
            return sum;
    }
    return NULL;
}

int tally_add_more(struct tally *tally, const unsigned char *key, size_t length,
                   const struct sum *worth, const struct tally_more *more)
{
    uint32_t hash = hash_key(tally->seed, key, length);
    struct sum *sum = find(tally, key, length, hash);

    if (!sum && !(sum = new_sum(tally, key, length, hash, more)))
        return -1;
    sum->spend += worth->spend;
    for (int i = 0; i < TALLY_COUNTS; i++)
        sum->count[i] += worth->count[i];
    return more->extra ? add_extra(tally, sum, more->extra) : 0;
}

int tally_add(struct tally *tally, const unsigned char *key, size_t length, const struct sum *worth)
{
    const struct tally_more none = {NULL, 0, NULL};

    return tally_add_more(tally, key, length, worth, &none);
}

const amount_t *tally_extra(const struct tally *tally, const struct sum *sum)
{
    return sum->extra ? tally->extra + (size_t)(sum->extra - 1) * TALLY_EXTRAS : NULL;
}

const unsigned char *tally_key(const struct tally *tally, const struct sum *sum)
{
    return tally->keys + sum->key;
}

static int by_key(const void *a, const void *b, void *arg)
{
    const struct sum *one = a, *two = b;
    const unsigned char *keys = arg;
    size_t least = one->length < two->length ? one->length : two->length;
    int order = memcmp(keys + one->key, keys + two->key, least);

    return order ? order : (one->length > two->length) - (one->length < two->length);
}

void tally_sort(struct tally *tally)
{
    if (tally->used > 1)
        qsort_r(tally->sum, tally->used, sizeof *tally->sum, by_key, tally->keys);
}
