/*
 * litellm_payload.h - what LiteLLM's `generic_api` callback posts -> our events.  Pure.
 */
#ifndef SPENDD_GATEWAY_LITELLM_PAYLOAD_H
#define SPENDD_GATEWAY_LITELLM_PAYLOAD_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

/* A message for an aggregator: a JSON array of events. */
struct litellm_part {
    char *text; /* from malloc */
    size_t bytes;
    uint32_t first; /* index, in what was posted, of its first event */
};

struct litellm_parts {
    struct litellm_part *part;
    size_t count;
};

/* Reads one StandardLoggingPayload, an array of them, or one a line; an element that is none becomes an event
 * that will be refused, so that indexes stay.  Each part has at most `most` bytes, but for one event alone.
 * `text` ends with a NUL and is changed.  -1: it is no JSON. */
int litellm_payload_read(char *text, size_t length, size_t most, struct litellm_parts *parts,
                         struct err *err) MUST_CHECK;
void litellm_parts_free(struct litellm_parts *parts);

/* What Python writes and JSON does not know is replaced in place: NaN and Infinity by 0 or null, an escape
 * that is half of a surrogate pair by U+FFFD.  A user's prompt may hold one, and must not cost the batch. */
void litellm_mend(char *text, size_t length);

#endif
