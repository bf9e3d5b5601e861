/*
 * bury.c - what came unacked and is wrong, as a dead letter without secrets.  See ingest_parts.h.
 * Pure but for the group that it adds to.
 */
#include "workers/aggregator/ingest_parts.h"

#include "common/batch/batch.h"

#include <stdio.h>
#include <string.h>

#define DEAD_BYTES 4096
#define REASON_MOST 200

/* Keys must not reach the disk as they are: "sk-..." is blotted out, and bytes that spell letters as
 * escapes, where a key could hide, are withheld. */
static size_t blot(const char *bytes, size_t length, char *to)
{
    length = length > DEAD_BYTES ? DEAD_BYTES : length;
    if (memmem(bytes, length, "\\u00", 4) != NULL)
        return (size_t)snprintf(to, DEAD_BYTES, "(withheld: escaped letters)");
    for (size_t i = 0; i < length; i++) {
        bool in_key = false;

        for (size_t back = i; back > 0 && !in_key; back--) {
            char c = bytes[back - 1];

            if (!((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
                  c == '_'))
                break;
            in_key = back >= 3 && memcmp(bytes + back - 3, "sk-", 3) == 0;
        }
        to[i] = in_key && bytes[i] != '"' && bytes[i] != ' ' && bytes[i] != ',' ? '*' : bytes[i];
    }
    return length;
}

/* Unacked and wrong: nobody can be told, so it travels as a dead letter, in the same custody. */
void bury(struct ingest *ingest, const char *reason, const char *bytes, size_t length)
{
    struct group *group = ingest_collecting(ingest);
    size_t reason_bytes = strnlen(reason, REASON_MOST), payload;
    unsigned char *to = bytes_room(&group->records, RECORD_HEADER_BYTES + 3 + REASON_MOST + DEAD_BYTES);
    char kept[DEAD_BYTES];

    length = blot(bytes, length, kept);
    to[RECORD_HEADER_BYTES] = RECORD_DEAD;
    payload = 1 + record_dead_write(to + RECORD_HEADER_BYTES + 1, reason, reason_bytes, kept, length);
    record_frame(to, payload);
    group->records.used += RECORD_HEADER_BYTES + payload;
    ingest->waits = true;
}
