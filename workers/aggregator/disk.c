/*
 * disk.c - bytes onto the disk, all of them.  See disk.h.
 *
 * The one loop around pwrite: a short write goes on behind what is written, and what stops it then has an errno.
 * Owns nothing.  If we die on any line, a part is written: nothing is acknowledged before a sync.
 */
#include "workers/aggregator/disk.h"

#include <errno.h>
#include <unistd.h>

int disk_write(int fd, const void *data, size_t bytes, int64_t offset)
{
    const unsigned char *at = data;

    while (bytes > 0) {
        ssize_t wrote = pwrite(fd, at, bytes, offset);

        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return wrote < 0 ? errno : EIO;
        at += wrote;
        bytes -= (size_t)wrote;
        offset += wrote;
    }
    return 0;
}
