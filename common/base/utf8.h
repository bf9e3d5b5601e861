/*
 * utf8.h - is this text?  Valid UTF-8 as PostgreSQL understands it: no overlong forms, no surrogates,
 * nothing above U+10FFFF.  Pure.
 */
#ifndef SPENDD_BASE_UTF8_H
#define SPENDD_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of `text` that are valid from its beginning on: `length` if all are. */
size_t utf8_valid_bytes(const char *text, size_t length);

/* Valid throughout, and no NUL in it: what a text column takes. */
bool utf8_clean(const char *text, size_t length);

/* Largest cut of valid `text` that is at most `most` bytes and does not split a character. */
size_t utf8_cut(const char *text, size_t length, size_t most);

#endif
