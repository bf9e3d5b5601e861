/*
 * disk.h - bytes onto the disk, all of them.
 */
#ifndef SPENDD_AGGREGATOR_DISK_H
#define SPENDD_AGGREGATOR_DISK_H

#include "common/base/attr.h"

#include <stddef.h>
#include <stdint.h>

/* Blocks.  0, or the errno of what stopped it: some of the bytes may be written then. */
int disk_write(int fd, const void *data, size_t bytes, int64_t offset) MUST_CHECK;

#endif
