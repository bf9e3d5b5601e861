/*
 * test_msg.c - the codec: what goes in comes out, and nothing else is let in.
 *
 * links: common/msg/msg.c common/base/err.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/msg/msg.h"

#include <string.h>

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Every field of every message filled: numbers by a generator, strings of every length in turn. */
static void fill(struct msg *msg, enum msg_kind kind, uint64_t *state)
{
    memset(msg, 0, sizeof *msg);
    msg->kind = kind;
    switch (kind) {
#define U32(f) m->f = (uint32_t)next(state);
#define U64(f) m->f = next(state);
#define I64(f) m->f = (int64_t)next(state);
#define FLAG(f) m->f = next(state) & 1;
#define STR(f, size) memset(m->f, 'a' + (int)(next(state) % 26), next(state) % size);
#define MESSAGE(name, fields)                                                                      \
    case MSG_##name: {                                                                             \
        struct msg_##name *m = &msg->name;                                                         \
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
    case MSG_KINDS:
        break;
    }
}

static void round_trip(void **unused)
{
    unsigned char bytes[MSG_BYTES_MAX], again[MSG_BYTES_MAX];
    uint64_t state = 42;
    struct msg in, out;
    struct err err;

    (void)unused;
    for (int round = 0; round < 200; round++)
        for (unsigned kind = MSG_NONE + 1; kind < MSG_KINDS; kind++) {
            size_t size;

            fill(&in, (enum msg_kind)kind, &state);
            size = msg_encode(&in, bytes);
            assert_int_equal(msg_decode(&out, bytes, size, &err), 0);
            assert_int_equal(msg_encode(&out, again), size);
            assert_memory_equal(bytes, again, size);
        }
}

static void refuses_truncated_and_trailing(void **unused)
{
    unsigned char bytes[MSG_BYTES_MAX + 1];
    uint64_t state = 7;
    struct msg in, out;
    struct err err;

    (void)unused;
    for (unsigned kind = MSG_NONE + 1; kind < MSG_KINDS; kind++) {
        size_t size;

        fill(&in, (enum msg_kind)kind, &state);
        size = msg_encode(&in, bytes);
        for (size_t cut = 0; cut < size; cut++)
            assert_int_equal(msg_decode(&out, bytes, cut, &err), -1);
        bytes[size] = 0;
        assert_int_equal(msg_decode(&out, bytes, size + 1, &err), -1);
    }
}

static void refuses_bad_fields(void **unused)
{
    static const unsigned char flag[] = {MSG_ready, 2}, kind[] = {MSG_KINDS}, none[] = {0};
    static const unsigned char nul[] = {MSG_status, 2, 0, 'a', 0};
    unsigned char longer[3 + 160] = {MSG_status, 160, 0};
    struct msg out;
    struct err err;

    (void)unused;
    memset(longer + 3, 'x', 160);
    assert_int_equal(msg_decode(&out, flag, sizeof flag, &err), -1);
    assert_int_equal(msg_decode(&out, kind, sizeof kind, &err), -1);
    assert_int_equal(msg_decode(&out, none, sizeof none, &err), -1);
    assert_int_equal(msg_decode(&out, nul, sizeof nul, &err), -1);
    assert_string_equal(err.text, "message status, field text: NUL in a string");
    assert_int_equal(msg_decode(&out, longer, sizeof longer, &err), -1);
    assert_string_equal(err.text, "message status, field text: too long");
}

/* A million inputs, half of them noise behind a true kind, half a true message with a byte changed. */
static void what_decodes_encodes_the_same(void **unused)
{
    unsigned char bytes[MSG_BYTES_MAX], again[MSG_BYTES_MAX];
    uint64_t state = 99;
    unsigned decoded = 0;
    struct msg in, out;
    struct err err;

    (void)unused;
    for (unsigned round = 0; round < 1000000; round++) {
        size_t size = next(&state) % 48 + 1;

        for (size_t i = 0; i < size; i++)
            bytes[i] = (unsigned char)(next(&state) >> (round & 2 ? 24 : 60));
        bytes[0] = (unsigned char)(next(&state) % (MSG_KINDS + 1));
        if ((round & 63) == 0) {
            fill(&in, (enum msg_kind)(1 + next(&state) % (MSG_KINDS - 1)), &state);
            size = msg_encode(&in, bytes);
            bytes[next(&state) % size] ^= (unsigned char)(1 << (next(&state) & 7));
        }
        if (msg_decode(&out, bytes, size, &err) < 0)
            continue;
        decoded++;
        assert_int_equal(msg_encode(&out, again), size);
        assert_memory_equal(bytes, again, size);
    }
    assert_true(decoded > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(refuses_truncated_and_trailing),
        cmocka_unit_test(refuses_bad_fields),
        cmocka_unit_test(what_decodes_encodes_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
