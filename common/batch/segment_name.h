/*
 * segment_name.h - the names of files in a lane: <epoch>.<shard>.<seq>.seg is sealed, with ".done" behind it
 * PostgreSQL has it, open-<n>.seg has no identity yet.  Pure.
 */
#ifndef SPENDD_BATCH_SEGMENT_NAME_H
#define SPENDD_BATCH_SEGMENT_NAME_H

#include "common/batch/batch.h"

#include <stdbool.h>
#include <stdint.h>

#define SEGMENT_NAME 96

void segment_name(const struct identity *identity, bool applied, char name[SEGMENT_NAME]);
/* Reads a sealed file's name; false: not one. */
bool segment_name_read(const char *name, struct identity *identity, bool *applied);
bool segment_name_open(const char *name, uint64_t *number);

#endif
