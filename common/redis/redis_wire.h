/*
 * redis_wire.h - the protocol: commands to bytes, bytes to replies.  The door to hiredis.
 */
#ifndef SPENDD_REDIS_WIRE_H
#define SPENDD_REDIS_WIRE_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/redis/redis.h"

#include <stddef.h>

/* Bytes in the protocol, on the heap; NULL: no memory. */
struct wire_text {
    char *bytes;
    size_t length;
};

/* A number of bulk strings; `announce` puts in front of them how many follow in all (0:
 * nothing). */
int wire_encode(struct wire_text *text, int announce, int argc, const char *const *argv,
                const size_t *lengths) MUST_CHECK;
void wire_free(struct wire_text *text);

struct wire_reader;

/* `bytes_max`: a reply, or bytes that are not a whole one yet, may not be larger. */
struct wire_reader *wire_reader_new(size_t bytes_max);
void wire_reader_free(struct wire_reader **reader);

int wire_feed(struct wire_reader *reader, const void *bytes, size_t count,
              struct err *err) MUST_CHECK;

/* 1 and a reply (wire_reply_free), 0: not whole yet, -1: this is not the protocol. */
int wire_reply(struct wire_reader *reader, struct redis_reply **reply, struct err *err) MUST_CHECK;
void wire_reply_free(struct redis_reply **reply);

#endif
