/*
 * batch.h - records, segments and envelopes: the one format that lies in the spool, travels through
 * Redis and is read by the flusher.
 *
 * A record:    u32 length of payload | u32 crc32c of payload | payload        (little-endian)
 *   payload:   u8 kind | body
 *     RECORD_EVENT  body = event_encode (u64 presence bits, then fields in the order of fields.def)
 *     RECORD_DEAD   body = u16 length, reason | the bytes that were refused     (unacked ingest)
 * A segment file: SEGMENT_HEADER_BYTES of header, then records.
 *   header:    "spendseg" | u32 format 1 | u32 shards | u32 crc32c of the 16 bytes before | u32 0
 * An envelope: "spendd1 <epoch> <shard> <seq> <records> <crc32c>\n", then the segment's records.
 *   epoch: uuid, 36 characters, lower case; shard, seq, records: decimal; crc32c: 8 hex digits, of
 *   all bytes behind the newline.
 *
 * Pure: no I/O, no clock.
 */
#ifndef SPENDD_BATCH_BATCH_H
#define SPENDD_BATCH_BATCH_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EPOCH_TEXT 37 /* with NUL */
#define RECORD_HEADER_BYTES 8
#define RECORD_PAYLOAD_MAX (2 * 1024 * 1024)
#define SEGMENT_HEADER_BYTES 24
#define ENVELOPE_LINE_MAX 128

enum record_kind { RECORD_EVENT = 1, RECORD_DEAD = 2 };

struct identity {
    char epoch[EPOCH_TEXT];
    uint32_t shard;
    uint64_t seq;
};

bool identity_equal(const struct identity *a, const struct identity *b);
/* A uuid of 36 characters, lower case? */
bool epoch_valid(const char *text, size_t length);

/* CRC-32C (Castagnoli), as in RFC 3720; `crc` is 0 to begin, or a former result to go on. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);
uint32_t crc32c_software(uint32_t crc, const void *data, size_t bytes); /* the same, for the tests */

/* Puts the header in front of a payload that already lies at to + RECORD_HEADER_BYTES. */
void record_frame(unsigned char *to, size_t payload_bytes);

enum record_next { RECORD_OK, RECORD_END, RECORD_TORN };

/* The record at *offset, which is moved behind it.  RECORD_TORN: what stands there is no whole,
 * intact record, and *offset stays: the place to cut. */
enum record_next record_next(const unsigned char *data, size_t bytes, size_t *offset,
                             const unsigned char **payload, size_t *payload_bytes);

/* Writes and reads a RECORD_DEAD body (2 bytes more than its two parts; reason at most 65,535). */
size_t record_dead_write(unsigned char *to, const char *reason, size_t reason_bytes,
                         const void *refused, size_t refused_bytes);
int record_dead(const unsigned char *body, size_t bytes, const char **reason, size_t *reason_bytes,
                const unsigned char **refused, size_t *refused_bytes) MUST_CHECK;

void segment_header(unsigned char to[SEGMENT_HEADER_BYTES], uint32_t shards);
int segment_header_check(const unsigned char *data, size_t bytes, uint32_t *shards,
                         struct err *err) MUST_CHECK;

struct envelope {
    struct identity identity;
    uint32_t records;
    uint32_t crc;
    const unsigned char *body; /* borrowed */
    size_t body_bytes;
};

/* Writes the first line, NUL-terminated.  Returns its length. */
size_t envelope_line(const struct envelope *envelope, char line[ENVELOPE_LINE_MAX]);

enum envelope_read {
    ENVELOPE_OK,
    ENVELOPE_NEWER,  /* "spendd" and another version: set aside, never dropped */
    ENVELOPE_CORRUPT /* anything else: kept by its SHA-1 and moved out; moves no ledger */
};

/* Checks the line, the CRC, that `records` whole records stand there and nothing else. */
enum envelope_read envelope_read(const unsigned char *data, size_t bytes, struct envelope *envelope,
                                 struct err *err) MUST_CHECK;

#endif
