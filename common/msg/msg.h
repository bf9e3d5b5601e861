/*
 * msg.h - the small messages of messages.def: plain values, bounded strings, no heap.
 * Pure: encodes and decodes; sending is the caller's.
 */
#ifndef SPENDD_MSG_MSG_H
#define SPENDD_MSG_MSG_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MSG_BYTES_MAX 6144 /* no encoded message is longer; checked at compile time */

#define U32(f) uint32_t f;
#define U64(f) uint64_t f;
#define I64(f) int64_t f;
#define FLAG(f) bool f;
#define STR(f, size) char f[size];
#define MESSAGE(name, fields)                                                                      \
    struct msg_##name {                                                                            \
        fields                                                                                     \
    };
#include "common/msg/messages.def"
#undef MESSAGE
#undef U32
#undef U64
#undef I64
#undef FLAG
#undef STR

enum msg_kind {
    MSG_NONE,
#define MESSAGE(name, fields) MSG_##name,
#include "common/msg/messages.def"
#undef MESSAGE
    MSG_KINDS
};

struct msg {
    enum msg_kind kind;
    union {
#define MESSAGE(name, fields) struct msg_##name name;
#include "common/msg/messages.def"
#undef MESSAGE
    };
};

const char *msg_name(enum msg_kind kind);

/* Returns the length, at most MSG_BYTES_MAX. */
size_t msg_encode(const struct msg *msg, unsigned char to[MSG_BYTES_MAX]);

/* Every byte or -1: unknown kind, truncation, left-over bytes, NUL in a string, string too long. */
int msg_decode(struct msg *msg, const void *from, size_t bytes, struct err *err) MUST_CHECK;

#endif
