/*
 * value_text.h - one JSON value as people read it; the unit stands in its name.
 */
#ifndef SPENDD_ADMIN_VALUE_TEXT_H
#define SPENDD_ADMIN_VALUE_TEXT_H

#include "common/json/json_tree.h"

#include <stddef.h>
#include <stdint.h>

#define VALUE_TEXT_MAX 640

/* "spool_bytes": 5242880 -> "5.0 MiB"; "started_ms": 1732165200000 -> "2024-11-21 05:00:00 UTC";
 * "ttl_ms": 14200 -> "14.2 s"; true -> "yes"; null -> "-"; an object of scalars -> "a 1, b 2".
 * Text is cut at `size`; never empty.  Not yet escaped. */
void value_text(const struct json_tree *value, char *text, size_t size);

/* "999 ms", "14.2 s", "2 min 3 s", "1 h 2 min"; negative: "-". */
void duration_text(int64_t ms, char *text, size_t size);

/* The name without its unit. */
void label_text(const char *key, char *text, size_t size);

#endif
