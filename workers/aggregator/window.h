/*
 * window.h - the dedupe window: which events were seen lately, and is their first copy durable?
 *
 * Ids are 128-bit keyed hashes of the event id and, unless `contents` is off, of what a conflict is
 * judged by: the same id with another spend, key or model is not known here, so that it reaches the
 * arbiter in PostgreSQL, which finds the conflict.  Without that arbiter the id alone decides.
 * An entry is made with the ticket of the group commit that will make its event durable; until
 * window_durable has passed that ticket it is pending.  Bounded by a count (memory is taken once) and
 * by age.  Pure: the file of its image is the caller's.
 */
#ifndef SPENDD_AGGREGATOR_WINDOW_H
#define SPENDD_AGGREGATOR_WINDOW_H

#include "common/base/attr.h"
#include "common/event/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WINDOW_IDS_MAX 100000000 /* dedupe.ids */
#define WINDOW_KEY_BYTES 16
#define WINDOW_HEADER_BYTES 64
#define WINDOW_ENTRY_BYTES 24

struct id_hash {
    uint64_t a, b; /* both 0: no id */
};

enum window_seen { WINDOW_NEW, WINDOW_PENDING, WINDOW_KNOWN };

struct window;
struct window *window_new(size_t ids, int64_t seconds, const unsigned char key[WINDOW_KEY_BYTES]);
void window_free(struct window **window);

void window_contents(struct window *window, bool contents); /* on at first */

struct id_hash window_hash(const struct window *window, const void *id, size_t bytes);
struct id_hash window_event(const struct window *window, const struct event *event);

/* The next id that is taken will be this one: its memory is fetched in the meantime. */
void window_expect(const struct window *window, struct id_hash id);
/* Looks an id up; one that is new is remembered under `ticket`. */
enum window_seen window_take(struct window *window, struct id_hash id, uint32_t second,
                             uint32_t ticket);
void window_remove(struct window *window, struct id_hash id); /* refused: it may come again */
void window_durable(struct window *window, uint32_t ticket);  /* and all before it */
void window_expire(struct window *window, uint32_t second);
size_t window_count(const struct window *window);

/* The image: header, then one entry for each place, at a fixed offset.  A file has
 * window_image_bytes.  window_image_next gives the next run of entries that are durable and not yet
 * in the image (false: none): `to` has room for `most` entries. */
size_t window_image_bytes(const struct window *window);
void window_image_header(const struct window *window, unsigned char to[WINDOW_HEADER_BYTES]);
bool window_image_next(struct window *window, unsigned char *to, size_t most, size_t *offset,
                       size_t *bytes);
/* A header's key and number of places; -1: not a header. */
int window_image_key(const unsigned char *image, size_t bytes, unsigned char key[WINDOW_KEY_BYTES],
                     size_t *places) MUST_CHECK;
/* Takes one entry over from an old image; what is torn or too old is left out. */
void window_image_load(struct window *window, const unsigned char entry[WINDOW_ENTRY_BYTES],
                       uint32_t now_second);

#endif
