/*
 * copy.h - the rows of a COPY in PostgreSQL's binary format, added to a text: what is sent is what lies in
 * the table, so that neither side prints and parses numbers, dates and arrays.  Pure.
 */
#ifndef SPENDD_DB_FLUSHER_COPY_H
#define SPENDD_DB_FLUSHER_COPY_H

#include "common/event/event.h"
#include "common/money/money.h"
#include "workers/db_flusher/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void copy_begin(struct text *text);             /* once, before the first row */
void copy_row(struct text *text, int fields);   /* then that many of the following */
void copy_end(struct text *text);               /* once, behind the last row */

void copy_null(struct text *text);
void copy_bytes(struct text *text, const void *data, size_t length); /* text, json, bytea */
void copy_string(struct text *text, const char *string);
void copy_slice(struct text *text, struct slice slice); /* absent (empty): null */
void copy_key(struct text *text, struct slice slice);   /* absent: '' */
void copy_bool(struct text *text, bool value);
void copy_int(struct text *text, int32_t number);
void copy_bigint(struct text *text, int64_t number);
void copy_double(struct text *text, double number);     /* float8 */
void copy_money(struct text *text, money_sum_t pico); /* numeric */
void copy_time(struct text *text, int64_t micros);    /* timestamptz */
void copy_day(struct text *text, day_t day);          /* date */
void copy_no_day(struct text *text);                  /* -infinity */
void copy_uuid(struct text *text, const unsigned char id[16]);
void copy_epoch(struct text *text, const char *epoch); /* uuid as text, 36 characters */
void copy_tags(struct text *text, const struct tag_set *tags); /* text[] */

#endif
