/*
 * fuzz_msg.c - the small messages that cross process boundaries: what decodes encodes to itself.
 * libs:
 */
#include "common/msg/msg.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void run(const unsigned char *input, size_t bytes)
{
    struct msg msg;
    struct err err = {{0}};
    unsigned char again[MSG_BYTES_MAX];
    if (msg_decode(&msg, input, bytes, &err) < 0) {
        fuzz_claim(err.text[0] != '\0');
        return;
    }
    fuzz_claim(msg.kind > MSG_NONE && msg.kind < MSG_KINDS && msg_name(msg.kind));
    fuzz_claim(msg_encode(&msg, again) == bytes && memcmp(again, input, bytes) == 0);
}

/* Every kind, all its bytes 'a': strings are full, numbers large; flags and ends are put right. */
static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    if (index + 1 >= MSG_KINDS || room < MSG_BYTES_MAX) return 0;
    struct msg msg;
    memset(&msg, 0, sizeof msg);
    msg.kind = (enum msg_kind)(index + 1);
    switch (msg.kind) {
#define U32(f) m->f = 0x61616161;
#define U64(f) m->f = 0x6161616161616161;
#define I64(f) m->f = -2;
#define FLAG(f) m->f = true;
#define STR(f, size) memset(m->f, 'a', (size) < 40 ? (size)-1 : 39);
#define MESSAGE(name, fields)                                                                      \
    case MSG_##name: {                                                                             \
        struct msg_##name *m = &msg.name;                                                          \
        fields break;                                                                              \
    }
#include "common/msg/messages.def"
#undef MESSAGE
#undef U32
#undef U64
#undef I64
#undef FLAG
#undef STR
    case MSG_NONE:
    case MSG_KINDS: return 0;
    }
    return msg_encode(&msg, to);
}

const struct fuzz_target fuzz_target = {"msg", seed, run, NULL};
