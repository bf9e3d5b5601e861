/*
 * fuzz_segment.c - a spool file as a crash may leave it: header, records, a torn tail.  Reading ends,
 * stays inside, and the place to cut is one at which everything in front is whole.
 * libs: yajl libsodium
 */
#include "common/batch/batch.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/samples.h"

#include <string.h>

static size_t scan(const unsigned char *data, size_t bytes, enum record_next *end)
{
    size_t offset = 0, before, payload_bytes;
    const unsigned char *payload;
    do {
        before = offset;
        *end = record_next(data, bytes, &offset, &payload, &payload_bytes);
        fuzz_claim(offset <= bytes);
        if (*end != RECORD_OK) break;
        fuzz_claim(offset == before + RECORD_HEADER_BYTES + payload_bytes);
        fuzz_claim(payload == data + before + RECORD_HEADER_BYTES);
        fuzz_claim(payload_bytes <= RECORD_PAYLOAD_MAX);
    } while (1);
    fuzz_claim(offset == before);
    return offset;
}

static void run(const unsigned char *input, size_t bytes)
{
    uint32_t shards;
    struct err err = {{0}};
    if (segment_header_check(input, bytes, &shards, &err) < 0) {
        fuzz_claim(err.text[0] != '\0');
    } else {
        fuzz_claim(bytes >= SEGMENT_HEADER_BYTES);
    }
    size_t skip = bytes < SEGMENT_HEADER_BYTES ? bytes : SEGMENT_HEADER_BYTES;
    enum record_next end, after_cut;
    size_t kept = scan(input + skip, bytes - skip, &end);
    fuzz_claim(scan(input + skip, kept, &after_cut) == kept && after_cut == RECORD_END);
}

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    if (index >= 3 || room < 32768) return 0;
    segment_header(to, 1);
    size_t used = SEGMENT_HEADER_BYTES;
    for (unsigned i = 0; i < SAMPLES * index; i++) {
        size_t bytes = sample_record(i % SAMPLES, to + used + RECORD_HEADER_BYTES,
                                     room - used - RECORD_HEADER_BYTES);
        if (!bytes) continue;
        record_frame(to + used, bytes);
        used += RECORD_HEADER_BYTES + bytes;
    }
    return used;
}

const struct fuzz_target fuzz_target = {"segment", seed, run, NULL};
