/*
 * nearest.h - which setting did they mean?  Pure.
 */
#ifndef SPENDD_CONFIG_NEAREST_H
#define SPENDD_CONFIG_NEAREST_H

#include <stddef.h>

/* Insertions, deletions and replacements that make one of the other; texts are cut at 63 bytes. */
unsigned edit_distance(const char *a, const char *b);

/* The path of the row with the smallest distance to `path`; the first of equals. */
const char *nearest_setting(const char *path);

#endif
