/*
 * fuzz_body.c - bodies of HTTP, gzip above all: whatever comes, in whatever pieces, taken or refused
 * it is the same, and so is the text; no bound is passed, and what was charged is given back.
 * The input's first byte says how it is sent: bit 0 gzip; the rest, how long the pieces are.
 * links: workers/gateway/body.c
 * libs: zlib
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/samples.h"
#include "workers/gateway/body.h"

#include <string.h>
#include <zlib.h>

#define PURSE_BYTES (64 * 1024 * 1024)

static const struct body_limits limits = {FUZZ_INPUT_MAX / 2, 100000};

static enum body_outcome feed(struct body *body, struct body_purse *purse, bool gzip, const char *bytes, size_t size,
                              size_t step)
{
    enum body_outcome outcome = body_begin(body, purse, gzip);

    for (size_t at = 0; outcome == BODY_OK && at < size; at += step) {
        outcome = body_add(body, purse, &limits, bytes + at, size - at < step ? size - at : step);
        fuzz_claim(purse->held <= purse->most && purse->held >= (int64_t)body->size);
    }
    return outcome == BODY_OK ? body_finish(body, purse) : outcome;
}

static void same_in_pieces(bool gzip, const char *bytes, size_t size, size_t step)
{
    struct body_purse purse = {0, PURSE_BYTES};
    struct body whole, pieces;
    enum body_outcome outcome = feed(&whole, &purse, gzip, bytes, size, size > 0 ? size : 1);

    /* One that is too large and broken behind that may be told either. */
    fuzz_claim((outcome == BODY_OK) == (feed(&pieces, &purse, gzip, bytes, size, step) == BODY_OK));
    fuzz_claim(outcome != BODY_NO_ROOM);
    if (outcome == BODY_OK) {
        fuzz_claim(whole.used == pieces.used && memcmp(whole.data, pieces.data, whole.used + 1) == 0);
        fuzz_claim((int64_t)whole.used <= (gzip ? limits.inflated : limits.sent) && whole.data[whole.used] == '\0');
    }
    body_free(&whole, &purse);
    body_free(&pieces, &purse);
    fuzz_claim(purse.held == 0);
}

/* With next to no room it is refused, and nothing stays. */
static void in_a_small_purse(bool gzip, const char *bytes, size_t size)
{
    struct body_purse purse = {0, 60000};
    struct body body;
    enum body_outcome outcome = feed(&body, &purse, gzip, bytes, size, 1000);

    fuzz_claim(outcome != BODY_OK || body.used < 60000);
    body_free(&body, &purse);
    fuzz_claim(purse.held == 0);
}

static void run(const unsigned char *input, size_t bytes)
{
    if (bytes == 0)
        return;
    same_in_pieces(input[0] & 1, (const char *)input + 1, bytes - 1, 1 + (input[0] >> 1) * 3u);
    in_a_small_purse(input[0] & 1, (const char *)input + 1, bytes - 1);
}

static size_t pack(const char *text, size_t length, unsigned char *to, size_t room)
{
    z_stream stream = {0};
    size_t packed;

    fuzz_claim(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)text;
    stream.avail_in = (uInt)length;
    stream.next_out = to;
    stream.avail_out = (uInt)room;
    fuzz_claim(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    packed = room - stream.avail_out;
    deflateEnd(&stream);
    return packed;
}

/* Sizes at which the room for what is unpacked is used to its last byte are among them. */
static const size_t sizes[] = {0, 1, 4094, 4095, 4096, 8191, 16383, 99999, 100000, 100001};

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    static char text[100001];
    size_t used = 1, bytes;

    to[0] = (unsigned char)(index * 2 + 1);
    if (index < COUNT_OF(sizes)) {
        for (size_t i = 0; i < sizes[index]; i++)
            text[i] = (char)("{\"request_id\":"[i % 14]);
        return 1 + pack(text, sizes[index], to + 1, room - 1);
    }
    index -= (unsigned)COUNT_OF(sizes);
    if (index >= SAMPLES)
        return 0;
    bytes = strlen(sample_json(index));
    used += pack(sample_json(index), bytes, to + used, room - used);
    if (index % 2 == 0) /* another member */
        used += pack(sample_json(index), bytes, to + used, room - used);
    return used;
}

static const char *const words[] = {"\x1f\x8b\x08", "\x1f\x8b\x08\x04\x02", "\x03\x01", "\xff\xff", NULL};

const struct fuzz_target fuzz_target = {"body", seed, run, words};
