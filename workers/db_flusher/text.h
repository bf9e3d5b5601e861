/*
 * text.h - a growing text: SQL with the schema's name filled in, COPY rows, array literals.
 * Pure.  Out of memory makes the text `failed`; it is looked at once, where the text is used.
 */
#ifndef SPENDD_DB_FLUSHER_TEXT_H
#define SPENDD_DB_FLUSHER_TEXT_H

#include "common/base/attr.h"
#include "common/event/event.h"
#include "common/money/money.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *data; /* NUL-terminated when not NULL */
    size_t used, room;
    bool failed;
};

void text_clear(struct text *text); /* keeps the memory */
void text_free(struct text *text);
void text_add(struct text *text, const void *data, size_t length);
void text_put(struct text *text, const char *string);
void text_format(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);

/* Adds `sql` with every '@' replaced by the schema (already quoted). */
void text_sql(struct text *text, const char *sql, const char *schema);

/* One field of COPY's text format, without its separator. */
void copy_bytes(struct text *text, const char *data, size_t length); /* escapes; no NUL in it */
void copy_slice(struct text *text, struct slice slice);              /* absent (empty): \N */
void copy_key(struct text *text, struct slice slice);                /* absent: '' */
void copy_int(struct text *text, int64_t number);
void copy_money(struct text *text, money_sum_t pico);
void copy_time(struct text *text, int64_t micros);
void copy_day(struct text *text, day_t day);
void copy_hex(struct text *text, const void *data, size_t length); /* bytea */
void copy_uuid(struct text *text, const unsigned char id[16]);
void copy_tags(struct text *text, const struct tag_set *tags); /* text[] */
void copy_null(struct text *text);
void copy_tab(struct text *text);
void copy_end(struct text *text); /* of the row */

#endif
