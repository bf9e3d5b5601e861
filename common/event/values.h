/*
 * values.h - the values of fields: from JSON's texts to what an event holds.  For this room.  Pure.
 */
#ifndef SPENDD_EVENT_VALUES_H
#define SPENDD_EVENT_VALUES_H

#include "common/event/event.h"

#include <stdbool.h>

#define LABEL_KEPT 200
#define LABEL_SHORT_MAX (LABEL_KEPT + 1 + 16) /* a shortened label is no longer */
#define KEY_HASH_BYTES 64

/* "2026-11-21T04:15:00.123456+01:00" -> microseconds UTC; false: not RFC 3339. */
bool value_time_text(const char *text, size_t length, int64_t *micros);
/* Epoch seconds as a JSON number -> microseconds. */
bool value_time_number(const char *text, size_t length, int64_t *micros);
/* 0..EVENT_COUNT_MAX, digits only. */
bool value_count(const char *text, size_t length, int64_t *count);
/* The label shortened, with the hash of all of it; the same on every instance.  Returns its length. */
size_t value_short_label(const char *text, size_t length, char to[LABEL_SHORT_MAX]);
/* SHA-256 in hex. */
void value_hash_key(const char *text, size_t length, char to[KEY_HASH_BYTES]);
/* Puts a tag into its place in the set; one that is there already changes nothing.  false: full. */
bool value_add_tag(struct tag_set *tags, struct slice tag);

#endif
