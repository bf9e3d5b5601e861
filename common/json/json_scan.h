/*
 * json_scan.h - a reader of JSON as Python's json.dumps writes it: the tokens NaN, Infinity and -Infinity
 * stand for numbers, and an escape may be half of a surrogate pair.  What is read is a span of the text,
 * so that whatever cannot be used can be kept to the byte.  Pure; allocates nothing.
 *
 * First json_scan_whole over all of it; then its objects and arrays may be walked.  A walk over text that
 * was not checked ends early, and never leaves it.
 */
#ifndef SPENDD_JSON_JSON_SCAN_H
#define SPENDD_JSON_JSON_SCAN_H

#include "common/base/attr.h"

#include <stdbool.h>
#include <stddef.h>

#define JSON_SCAN_DEPTH 64

enum json_scan_kind {
    JSON_SCAN_NONE,
    JSON_SCAN_OBJECT,
    JSON_SCAN_ARRAY,
    JSON_SCAN_STRING,
    JSON_SCAN_NUMBER,
    JSON_SCAN_NOT_FINITE, /* NaN, Infinity, -Infinity */
    JSON_SCAN_BOOL,
    JSON_SCAN_NULL
};

/* One value as it stands there, quotes and brackets included. */
struct json_span {
    const char *at;
    size_t length;
    enum json_scan_kind kind;
};

/* All of the text is one value.  -1: `offset` says where it ceases to be one. */
int json_scan_whole(const char *text, size_t length, struct json_span *value, size_t *offset) MUST_CHECK;

/* Where a walk over the members of an object, or the items of an array, stands. */
struct json_walk {
    const char *at, *end;
};

void json_walk_begin(struct json_walk *walk, const struct json_span *value);
bool json_walk_member(struct json_walk *walk, struct json_span *key, struct json_span *value);
bool json_walk_item(struct json_walk *walk, struct json_span *value);

/* Is the string this word?  Only for words without anything to escape. */
bool json_span_is(const struct json_span *string, const char *word);

/* What a string says, as UTF-8; `to` has room for string->length bytes.  -1: it cannot be stored as text,
 * for it holds NUL, half of a surrogate pair, or bytes that are not UTF-8. */
int json_span_text(const struct json_span *string, char *to, size_t *length) MUST_CHECK;

#endif
