/*
 * window.c - the dedupe window.  See window.h.
 *
 * A ring of entries in order of arrival, and an open-addressing table of places in it: both are
 * allocated once, the oldest entry gives way.  Both are larger than a cache: a place in the table holds
 * some bits of the id's hash beside the number of its entry, so that another id's entry is hardly ever
 * looked at, and who knows an id early says so (window_expect).  Removal closes the gap in the table (no
 * tombstones to pile up) and leaves an empty place in the ring.  In the image each place of the ring has its own
 * offset and its own checksum, so a torn write costs the entries it touched and nothing else.
 */
#include "workers/aggregator/window.h"

#include "common/base/err.h"
#include "common/batch/batch.h"
#include "common/event/fields.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct id_hash id;
    uint32_t second; /* wall clock: ages must survive a restart */
    uint32_t ticket;
};

struct window {
    unsigned char key[WINDOW_KEY_BYTES];
    bool contents;
    uint32_t seconds;
    uint32_t durable; /* last ticket that is */
    size_t places;
    uint64_t tail, head; /* entries ever dropped, ever made */
    uint64_t imaged;     /* entries before this one need no writing */
    size_t mask;
    uint32_t place_mask; /* these bits of a table's word are place + 1, the others are the id's */
    struct entry *ring;
    uint32_t *table; /* 0: empty */
};

static const char magic[8] = "spndwin1";

struct window *window_new(size_t ids, int64_t seconds, const unsigned char key[WINDOW_KEY_BYTES])
{
    struct window *window = calloc(1, sizeof *window);
    size_t slots = 16;

    if (ids > WINDOW_IDS_MAX)
        bug("a dedupe window of %zu ids", ids);
    while (slots < 2 * ids)
        slots *= 2;
    if (window == NULL)
        bug("out of memory for the dedupe window");
    memcpy(window->key, key, WINDOW_KEY_BYTES);
    window->contents = true;
    window->seconds = (uint32_t)seconds;
    window->places = ids;
    window->mask = slots - 1;
    window->place_mask = (uint32_t)(slots - 1); /* slots >= 2 * ids: ids fit, and one more */
    window->ring = calloc(ids, sizeof *window->ring);
    window->table = calloc(slots, sizeof *window->table);
    if (window->ring == NULL || window->table == NULL)
        bug("out of memory for %zu ids", ids);
    return window;
}

void window_free(struct window **window)
{
    if (*window == NULL)
        return;
    free((*window)->ring);
    free((*window)->table);
    free(*window);
    *window = NULL;
}

void window_contents(struct window *window, bool contents)
{
    window->contents = contents;
}

struct id_hash window_hash(const struct window *window, const void *id, size_t bytes)
{
    struct id_hash hash;

    _Static_assert(sizeof hash == crypto_shorthash_siphashx24_BYTES, "128 bits");
    crypto_shorthash_siphashx24((unsigned char *)&hash, id, bytes, window->key);
    hash.a |= hash.a == 0 && hash.b == 0;
    return hash;
}

/* "length bytes" for each part: no two events give the same text. */
static size_t put_part(unsigned char *to, const void *part, uint32_t length)
{
    memcpy(to, &length, sizeof length);
    if (length > 0)
        memcpy(to + sizeof length, part, length);
    return sizeof length + length;
}

struct id_hash window_event(const struct window *window, const struct event *event)
{
    unsigned char text[3 * (EVENT_LABEL_MAX + sizeof(uint32_t)) + sizeof event->spend];
    struct slice id = event_key(event), none = {NULL, 0};
    struct slice key = event->present & EVENT_BIT(api_key) ? event->api_key : none;
    struct slice model = event->present & EVENT_BIT(model) ? event->model : none;
    size_t used;

    if (!window->contents)
        return window_hash(window, id.data, id.length);
    used = put_part(text, id.data, id.length);
    used += put_part(text + used, key.data, key.length);
    used += put_part(text + used, model.data, model.length);
    memcpy(text + used, &event->spend, sizeof event->spend);
    return window_hash(window, text, used + sizeof event->spend);
}

static struct entry *entry_at(const struct window *window, uint64_t number)
{
    return &window->ring[number % window->places];
}

/* The entry that an occupied slot leads to. */
static struct entry *entry_of(const struct window *window, size_t slot)
{
    return &window->ring[(window->table[slot] & window->place_mask) - 1];
}

/* What an id's word in the table has beside the place. */
static uint32_t tag(const struct window *window, struct id_hash id)
{
    return (uint32_t)id.b & ~window->place_mask;
}

/* The slot that holds the id, or the empty one where it would go. */
static size_t find_slot(const struct window *window, struct id_hash id)
{
    uint32_t wanted = tag(window, id);
    size_t slot = id.a & window->mask;

    for (; window->table[slot] != 0; slot = (slot + 1) & window->mask) {
        const struct entry *entry;

        if ((window->table[slot] & ~window->place_mask) != wanted)
            continue;
        entry = entry_of(window, slot);
        if (entry->id.a == id.a && entry->id.b == id.b)
            break;
    }
    return slot;
}

void window_expect(const struct window *window, struct id_hash id)
{
    struct id_hash oldest = entry_at(window, window->tail)->id;

    __builtin_prefetch(&window->table[id.a & window->mask], 1);
    __builtin_prefetch(&window->table[oldest.a & window->mask], 1);
}

/* Empties a slot and moves up what would no longer be found behind it. */
static void close_gap(struct window *window, size_t gap)
{
    size_t slot = gap;

    window->table[gap] = 0;
    while (window->table[slot = (slot + 1) & window->mask] != 0) {
        size_t home = entry_of(window, slot)->id.a & window->mask;

        if (((slot - home) & window->mask) < ((slot - gap) & window->mask))
            continue;
        window->table[gap] = window->table[slot];
        window->table[slot] = 0;
        gap = slot;
    }
}

static void drop_oldest(struct window *window)
{
    struct entry *entry = entry_at(window, window->tail);
    size_t slot;

    if (entry->id.a != 0 || entry->id.b != 0) {
        slot = find_slot(window, entry->id);
        if (window->table[slot] != 0)
            close_gap(window, slot);
    }
    memset(entry, 0, sizeof *entry);
    window->tail++;
    if (window->imaged < window->tail)
        window->imaged = window->tail;
}

static bool expired(const struct window *window, const struct entry *entry, uint32_t second)
{
    return (int64_t)second - entry->second >= (int64_t)window->seconds;
}

void window_expire(struct window *window, uint32_t second)
{
    while (window->tail < window->head && expired(window, entry_at(window, window->tail), second))
        drop_oldest(window);
}

static bool pending(const struct window *window, const struct entry *entry)
{
    return (int32_t)(entry->ticket - window->durable) > 0;
}

enum window_seen window_take(struct window *window, struct id_hash id, uint32_t second,
                             uint32_t ticket)
{
    struct entry *entry;
    size_t slot = find_slot(window, id);

    if (window->seconds == 0)
        return WINDOW_NEW;
    if (window->table[slot] != 0) {
        entry = entry_of(window, slot);
        if (pending(window, entry))
            return WINDOW_PENDING;
        if (!expired(window, entry, second))
            return WINDOW_KNOWN;
        window_remove(window, id);
    }
    if (window->head - window->tail == window->places)
        drop_oldest(window);
    slot = find_slot(window, id);
    entry = entry_at(window, window->head);
    *entry = (struct entry){id, second, ticket};
    window->table[slot] = ((uint32_t)(window->head % window->places) + 1) | tag(window, id);
    window->head++;
    return WINDOW_NEW;
}

void window_remove(struct window *window, struct id_hash id)
{
    size_t slot = find_slot(window, id);
    struct entry *entry;

    if (window->table[slot] == 0)
        return;
    entry = entry_of(window, slot);
    close_gap(window, slot);
    entry->id = (struct id_hash){0, 0};
}

void window_durable(struct window *window, uint32_t ticket)
{
    window->durable = ticket;
}

size_t window_count(const struct window *window)
{
    return (size_t)(window->head - window->tail);
}

size_t window_image_bytes(const struct window *window)
{
    return WINDOW_HEADER_BYTES + window->places * WINDOW_ENTRY_BYTES;
}

void window_image_header(const struct window *window, unsigned char to[WINDOW_HEADER_BYTES])
{
    uint64_t places = window->places;
    uint32_t crc;

    memset(to, 0, WINDOW_HEADER_BYTES);
    memcpy(to, magic, sizeof magic);
    memcpy(to + 8, &places, 8);
    memcpy(to + 16, window->key, WINDOW_KEY_BYTES);
    crc = crc32c(0, to, 32);
    memcpy(to + 32, &crc, 4);
}

int window_image_key(const unsigned char *image, size_t bytes, unsigned char key[WINDOW_KEY_BYTES],
                     size_t *places)
{
    uint64_t count;
    uint32_t crc;

    if (bytes < WINDOW_HEADER_BYTES || memcmp(image, magic, sizeof magic) != 0)
        return -1;
    memcpy(&crc, image + 32, 4);
    if (crc32c(0, image, 32) != crc)
        return -1;
    memcpy(&count, image + 8, 8);
    memcpy(key, image + 16, WINDOW_KEY_BYTES);
    *places = (size_t)count;
    return 0;
}

static void put_entry(const struct entry *entry, unsigned char to[WINDOW_ENTRY_BYTES])
{
    uint32_t crc;

    memcpy(to, &entry->id, 16);
    memcpy(to + 16, &entry->second, 4);
    crc = crc32c(1, to, 20);
    memcpy(to + 20, &crc, 4);
}

bool window_image_next(struct window *window, unsigned char *to, size_t most, size_t *offset,
                       size_t *bytes)
{
    size_t place = (size_t)(window->imaged % window->places), count = 0;

    while (window->imaged < window->head && count < most && place + count < window->places) {
        const struct entry *entry = entry_at(window, window->imaged);

        if (pending(window, entry))
            break;
        put_entry(entry, to + count++ * WINDOW_ENTRY_BYTES);
        window->imaged++;
    }
    *offset = WINDOW_HEADER_BYTES + place * WINDOW_ENTRY_BYTES;
    *bytes = count * WINDOW_ENTRY_BYTES;
    return count > 0;
}

void window_image_load(struct window *window, const unsigned char from[WINDOW_ENTRY_BYTES],
                       uint32_t now_second)
{
    struct entry entry = {.ticket = window->durable};
    uint32_t crc;

    memcpy(&entry.id, from, 16);
    memcpy(&entry.second, from + 16, 4);
    memcpy(&crc, from + 20, 4);
    if (crc32c(1, from, 20) != crc || (entry.id.a == 0 && entry.id.b == 0) ||
        expired(window, &entry, now_second))
        return;
    (void)window_take(window, entry.id, entry.second, entry.ticket);
}
