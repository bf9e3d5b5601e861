/*
 * text.h - a growing text: SQL with the schema's name filled in, array literals, rows of COPY (copy.h).
 * Pure.  Out of memory makes the text `failed`; it is looked at once, where the text is used.
 */
#ifndef SPENDD_DB_FLUSHER_TEXT_H
#define SPENDD_DB_FLUSHER_TEXT_H

#include "common/base/attr.h"

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
/* Room for `length` more bytes, which are taken for written; NULL: no memory. */
void *text_room(struct text *text, size_t length);
void text_put(struct text *text, const char *string);
void text_format(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);

/* Adds `sql` with every '@' replaced by the schema (already quoted). */
void text_sql(struct text *text, const char *sql, const char *schema);

#endif
