/*
 * fuzz_event.c - ingest payloads.  What the reader accepts, the codec must write and read back to
 * the same bytes: else an acknowledged event would be poison in the flusher.
 * libs: yajl libsodium
 */
#include "common/event/read.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/samples.h"

#include <stdlib.h>
#include <string.h>

struct seen {
    uint32_t next;
    int took; /* the last one was accepted: a line that breaks behind it takes it back */
};

static void accepted(void *arg, uint32_t index, const struct event *event)
{
    struct seen *seen = arg;
    fuzz_claim(index == seen->next);
    seen->next++;
    seen->took = 1;
    size_t bytes = event_encoded_bytes(event);
    unsigned char *first = malloc(bytes), *second = malloc(bytes);
    fuzz_claim(first && second && event_encode(event, first) == bytes);
    struct event back;
    struct err err;
    fuzz_claim(event_decode(&back, first, bytes, &err) == 0);
    fuzz_claim(event_encoded_bytes(&back) == bytes && event_encode(&back, second) == bytes);
    fuzz_claim(memcmp(first, second, bytes) == 0);
    struct slice key = event_key(event), key_back = event_key(&back);
    fuzz_claim(key.length > 0 && key.length == key_back.length);
    fuzz_claim(memcmp(key.data, key_back.data, key.length) == 0);
    free(first);
    free(second);
}

static void refused(void *arg, uint32_t index, const char *reason, const char *bytes, size_t length)
{
    struct seen *seen = arg;
    fuzz_claim(index == seen->next || (seen->took && index + 1 == seen->next));
    fuzz_claim(reason[0] != '\0' && (bytes || !length));
    volatile unsigned char touched = 0;
    for (size_t i = 0; i < length; i++) touched = (unsigned char)(touched ^ bytes[i]);
    seen->next = index + 1;
    seen->took = 0;
}

static void start_over(void *arg) { *(struct seen *)arg = (struct seen){0}; }

static void run(const unsigned char *input, size_t bytes)
{
    static struct event_reader *reader; /* reused, as the aggregator does: nothing may leak over */
    struct event_rules rules = {.max_event_bytes = 4096, .max_age_days = 3650};
    if (!reader) reader = event_reader_new(&rules);
    fuzz_claim(reader);
    struct seen seen = {0};
    struct event_sink sink = {&seen, accepted, refused, start_over};
    struct err err = {{0}};
    wall_t now = {1795305600000000};
    if (event_read(reader, (const char *)input, bytes, now, &sink, &err) < 0)
        fuzz_claim(err.text[0] != '\0');
}

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    if (index >= SAMPLES) return 0;
    size_t bytes = strlen(sample_json(index));
    fuzz_claim(bytes <= room);
    memcpy(to, sample_json(index), bytes);
    return bytes;
}

static const char *const words[] = {"{",       "}",     "[",    "]",    ",",        ":",      "\"",
                                    "null",    "true",  "1e",   "1E-7", "-0",       "NaN",    "\\u0000",
                                    "\\ud800", "\xff",  "\n",   "\\",   "1e400",    "\"spend\"",
                                    "\"tags\":[", "\"metadata\":{", "\"request_id\"", "999999999999999999999",
                                    "{\"request_id\":\"x\",\"spend\":1}", NULL};

const struct fuzz_target fuzz_target = {"event", seed, run, words};
