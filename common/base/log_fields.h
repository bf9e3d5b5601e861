/*
 * log_fields.h - from "key=%d key=\"%s\"" and its arguments to key and value, one pair at a time.  Pure.
 * Only log.c uses it.
 */
#ifndef SPENDD_BASE_LOG_FIELDS_H
#define SPENDD_BASE_LOG_FIELDS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum { LOG_KEY_BYTES = 48, LOG_VALUE_BYTES = 1024 };

struct log_walk {
    const char *at; /* in the format */
    va_list arguments;
};

struct log_field {
    char key[LOG_KEY_BYTES];
    char value[LOG_VALUE_BYTES]; /* raw: what a peer sent may be in it; passwords are masked */
    bool quoted;                 /* in the format */
    bool number;                 /* one whole number and nothing else */
};

/* The next pair; false: there is none.  A value too long for its place is cut. */
bool log_field_next(struct log_walk *walk, struct log_field *field);

/* Writes `text` without its quotes, escaped so that neither it nor a terminal can take it for anything
 * but text: valid JSON inside quotes, one line always.  Returns bytes written, at most `size`; what does
 * not fit is left out, a character at a time, and *text stands there. */
size_t log_escape(char *to, size_t size, const char **text);

/* May stand without quotes in key=value. */
bool log_plain(const char *text);

#endif
