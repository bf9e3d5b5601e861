/*
 * fuzz_decode.c - the body of a record, as it comes from disk or Redis.  What decodes is written
 * again, and that decodes to the same bytes: two flushers must see the same event.
 * libs: yajl libsodium
 */
#include "common/batch/batch.h"
#include "common/event/event.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/samples.h"

#include <stdlib.h>
#include <string.h>

static void run(const unsigned char *input, size_t bytes)
{
    struct event event;
    struct err err = {{0}};
    const char *reason;
    const unsigned char *body;
    size_t reason_bytes, body_bytes;
    if (record_dead(input, bytes, &reason, &reason_bytes, &body, &body_bytes) == 0)
        fuzz_claim(reason_bytes + body_bytes + 2 == bytes);
    if (event_decode(&event, input, bytes, &err) < 0) {
        fuzz_claim(err.text[0] != '\0');
        return;
    }
    size_t again_bytes = event_encoded_bytes(&event);
    unsigned char *again = malloc(again_bytes);
    fuzz_claim(again && event_encode(&event, again) == again_bytes);
    fuzz_claim(again_bytes == bytes && memcmp(again, input, bytes) == 0);
    fuzz_claim(event_key(&event).length > 0);
    (void)event_day(&event);
    free(again);
}

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    unsigned char payload[4096];
    for (unsigned n = 0, i = 0; i < SAMPLES; i++) {
        size_t bytes = sample_record(i, payload, sizeof payload);
        if (!bytes || n++ < index) continue;
        fuzz_claim(bytes - 1 <= room);
        memcpy(to, payload + 1, bytes - 1);
        return bytes - 1;
    }
    return 0;
}

const struct fuzz_target fuzz_target = {"decode", seed, run, NULL};
