/*
 * record.c - the frame of a record and the head of a segment file.  See batch.h.
 *
 * A length or a checksum that does not fit makes a record torn, never a crash: what is read comes
 * from a disk that may have lost power in the middle of a write.
 * Pure; borrows what it is given.
 */
#include "common/batch/batch.h"

#include <string.h>

static const char magic[8] = "spendseg";

enum { SEGMENT_FORMAT = 1 };

static void put32(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

static uint32_t get32(const unsigned char *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

void record_frame(unsigned char *to, size_t payload_bytes)
{
    put32(to, (uint32_t)payload_bytes);
    put32(to + 4, crc32c(0, to + RECORD_HEADER_BYTES, payload_bytes));
}

enum record_next record_next(const unsigned char *data, size_t bytes, size_t *offset,
                             const unsigned char **payload, size_t *payload_bytes)
{
    const unsigned char *at = data + *offset;
    size_t left = bytes - *offset, length;

    if (left == 0)
        return RECORD_END;
    if (left <= RECORD_HEADER_BYTES)
        return RECORD_TORN;
    length = get32(at);
    if (length == 0 || length > RECORD_PAYLOAD_MAX || length > left - RECORD_HEADER_BYTES)
        return RECORD_TORN;
    if (crc32c(0, at + RECORD_HEADER_BYTES, length) != get32(at + 4))
        return RECORD_TORN;
    *payload = at + RECORD_HEADER_BYTES;
    *payload_bytes = length;
    *offset += RECORD_HEADER_BYTES + length;
    return RECORD_OK;
}

size_t record_dead_write(unsigned char *to, const char *reason, size_t reason_bytes,
                         const void *refused, size_t refused_bytes)
{
    to[0] = (unsigned char)reason_bytes;
    to[1] = (unsigned char)(reason_bytes >> 8);
    memcpy(to + 2, reason, reason_bytes);
    memcpy(to + 2 + reason_bytes, refused, refused_bytes);
    return 2 + reason_bytes + refused_bytes;
}

int record_dead(const unsigned char *body, size_t bytes, const char **reason, size_t *reason_bytes,
                const unsigned char **refused, size_t *refused_bytes)
{
    size_t length;

    if (bytes < 2)
        return -1;
    length = (size_t)body[0] | (size_t)body[1] << 8;
    if (length > bytes - 2)
        return -1;
    *reason = (const char *)body + 2;
    *reason_bytes = length;
    *refused = body + 2 + length;
    *refused_bytes = bytes - 2 - length;
    return 0;
}

void segment_header(unsigned char to[SEGMENT_HEADER_BYTES], uint32_t shards)
{
    memcpy(to, magic, sizeof magic);
    put32(to + 8, SEGMENT_FORMAT);
    put32(to + 12, shards);
    put32(to + 16, crc32c(0, to, 16));
    put32(to + 20, 0);
}

int segment_header_check(const unsigned char *data, size_t bytes, uint32_t *shards, struct err *err)
{
    if (bytes < SEGMENT_HEADER_BYTES)
        return err_set(err, "shorter than a segment's header");
    if (memcmp(data, magic, sizeof magic) != 0 || crc32c(0, data, 16) != get32(data + 16))
        return err_set(err, "no segment header");
    if (get32(data + 8) != SEGMENT_FORMAT || get32(data + 20) != 0)
        return err_set(err, "segment format %u is not known to this build", get32(data + 8));
    *shards = get32(data + 12);
    return 0;
}
