/*
 * output_table.h - a list of objects as a table, for people (output_text.c).
 */
#ifndef SPENDD_ADMIN_OUTPUT_TABLE_H
#define SPENDD_ADMIN_OUTPUT_TABLE_H

#include "common/json/json_tree.h"

#include <stddef.h>
#include <stdio.h>

#define OUTPUT_COLUMNS 80 /* what is printed keeps within, where it can */

/* `list` has at least one object. */
void output_table(FILE *to, const struct json_tree *list);

/* Escaped, and filled with blanks up to `width`. */
void output_padded(FILE *to, const char *text, size_t width);

#endif
