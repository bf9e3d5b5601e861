/*
 * fuzz_envelope.c - what lies in the Redis list.  An envelope that is accepted holds exactly its
 * records, and its line says who it is.  Half of the mutants get a line with a correct CRC, so that
 * they reach what is behind the check.
 * libs: yajl libsodium
 */
#include "common/batch/batch.h"
#include "common/event/event.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/samples.h"

#include <stdlib.h>
#include <string.h>

static void read_body(const struct envelope *envelope)
{
    size_t offset = 0, bytes;
    uint32_t records = 0;
    const unsigned char *payload;
    enum record_next next;
    while ((next = record_next(envelope->body, envelope->body_bytes, &offset, &payload, &bytes)) ==
           RECORD_OK) {
        struct event event;
        struct err err;
        records++;
        if (bytes > 0 && payload[0] == RECORD_EVENT)
            (void)!event_decode(&event, payload + 1, bytes - 1, &err);
    }
    fuzz_claim(next == RECORD_END && records == envelope->records);
    fuzz_claim(offset == envelope->body_bytes);
}

static void try_read(const unsigned char *input, size_t bytes)
{
    struct envelope envelope;
    struct err err = {{0}};
    enum envelope_read read = envelope_read(input, bytes, &envelope, &err);
    if (read != ENVELOPE_OK) {
        fuzz_claim(err.text[0] != '\0' || read == ENVELOPE_NEWER);
        return;
    }
    char line[ENVELOPE_LINE_MAX];
    size_t length = envelope_line(&envelope, line);
    fuzz_claim(length + envelope.body_bytes == bytes);
    fuzz_claim(memcmp(line, input, length) == 0);
    read_body(&envelope);
}

static uint32_t count_records(const unsigned char *body, size_t bytes)
{
    size_t offset = 0, payload_bytes;
    uint32_t records = 0;
    const unsigned char *payload;
    while (record_next(body, bytes, &offset, &payload, &payload_bytes) == RECORD_OK) records++;
    return records;
}

static size_t with_line(const unsigned char *body, size_t bytes, unsigned char *to)
{
    struct envelope envelope = {.identity = {"018f4e2a-7c1b-7def-8123-456789abcdef", 0, 7},
                                .records = count_records(body, bytes),
                                .crc = crc32c(0, body, bytes)};
    char line[ENVELOPE_LINE_MAX];
    size_t length = envelope_line(&envelope, line);
    memcpy(to, line, length);
    memcpy(to + length, body, bytes);
    return length + bytes;
}

static void run(const unsigned char *input, size_t bytes)
{
    try_read(input, bytes);
    const unsigned char *newline = bytes ? memchr(input, '\n', bytes) : NULL;
    if (!newline) return;
    size_t body_bytes = bytes - (size_t)(newline + 1 - input);
    unsigned char *whole = malloc(ENVELOPE_LINE_MAX + body_bytes);
    fuzz_claim(whole);
    size_t length = with_line(newline + 1, body_bytes, whole);
    try_read(whole, length);
    free(whole);
}

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    static unsigned char body[16384];
    size_t used = 0;
    if (index >= 3 || room < sizeof body + ENVELOPE_LINE_MAX) return 0;
    for (unsigned i = 0; i < SAMPLES * index; i++) {
        size_t bytes = sample_record(i % SAMPLES, body + used + RECORD_HEADER_BYTES,
                                     sizeof body - used - RECORD_HEADER_BYTES);
        if (!bytes) continue;
        record_frame(body + used, bytes);
        used += RECORD_HEADER_BYTES + bytes;
    }
    return with_line(body, used, to);
}

static const char *const words[] = {"spendd1 ", "spendd2 ", "spendd", " 0 ", " 18446744073709551616 ",
                                    " 4294967295 ", "\n", " ", "00000000", NULL};

const struct fuzz_target fuzz_target = {"envelope", seed, run, words};
