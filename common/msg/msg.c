/*
 * msg.c - one interpreter for every small message: walks a table of fields made from messages.def.
 *
 * Owns nothing, allocates nothing, decides by table only: adding a row to messages.def is all that a
 * new message needs.  Invariant: what decodes encodes to the same bytes again, so there is exactly one
 * way to write a message; a flag is 0 or 1, a string has no NUL, nothing is left over.
 * If we die on any line, nothing outside our own memory has changed.
 */
#include "common/msg/msg.h"

#include <string.h>

enum field_kind { FIELD_U32, FIELD_U64, FIELD_I64, FIELD_FLAG, FIELD_STR };

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset; /* in its own struct msg_NAME, all of which begin where the union begins */
    size_t size;   /* of the member: for a string the bound with its NUL */
};

/* One function per message, only because a table inside it can say `this_message` in offsetof. */
#define U32(f) {#f, FIELD_U32, offsetof(this_message, f), sizeof(uint32_t)},
#define U64(f) {#f, FIELD_U64, offsetof(this_message, f), sizeof(uint64_t)},
#define I64(f) {#f, FIELD_I64, offsetof(this_message, f), sizeof(int64_t)},
#define FLAG(f) {#f, FIELD_FLAG, offsetof(this_message, f), sizeof(bool)},
#define STR(f, size) {#f, FIELD_STR, offsetof(this_message, f), size},
#define MESSAGE(name, fields)                                                                      \
    static const struct field *fields_of_##name(size_t *count)                                     \
    {                                                                                              \
        typedef struct msg_##name this_message;                                                    \
        static const struct field table[] = {fields};                                              \
        *count = COUNT_OF(table);                                                                  \
        return table;                                                                              \
    }
#include "common/msg/messages.def"
#undef MESSAGE
#undef U32
#undef U64
#undef I64
#undef FLAG
#undef STR

static const struct {
    const char *name;
    const struct field *(*fields)(size_t *count);
} kinds[MSG_KINDS] = {
#define MESSAGE(name, fields) [MSG_##name] = {#name, fields_of_##name},
#include "common/msg/messages.def"
#undef MESSAGE
};

/* A string costs two bytes of length for the NUL it loses; nothing else grows.  64 is slack for that. */
_Static_assert(sizeof(struct msg) + 64 <= MSG_BYTES_MAX, "a message may outgrow MSG_BYTES_MAX");
_Static_assert(MSG_KINDS <= 256, "the kind is one byte");

const char *msg_name(enum msg_kind kind)
{
    return kind > MSG_NONE && kind < MSG_KINDS ? kinds[kind].name : "none";
}

/* --- encoding ------------------------------------------------------------------------------------ */

static unsigned char *put(unsigned char *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *to++ = (unsigned char)(value >> (8 * i));
    return to;
}

static unsigned char *put_field(unsigned char *to, const struct field *field, const char *from)
{
    uint32_t u32;
    uint64_t u64;
    size_t length;

    switch (field->kind) {
    case FIELD_U32:
        memcpy(&u32, from, sizeof u32);
        return put(to, u32, 4);
    case FIELD_U64:
    case FIELD_I64:
        memcpy(&u64, from, sizeof u64);
        return put(to, u64, 8);
    case FIELD_FLAG:
        return put(to, *(const bool *)from ? 1 : 0, 1);
    case FIELD_STR:
        /* A string that lost its NUL is ours to cut, not to run past. */
        length = strnlen(from, field->size - 1);
        to = put(to, length, 2);
        memcpy(to, from, length);
        return to + length;
    }
    bug("field kind %d", (int)field->kind);
}

size_t msg_encode(const struct msg *msg, unsigned char to[MSG_BYTES_MAX])
{
    unsigned char *end = to;
    const struct field *fields;
    size_t count;

    if (msg->kind <= MSG_NONE || msg->kind >= MSG_KINDS)
        bug("message of kind %d", (int)msg->kind);
    *end++ = (unsigned char)msg->kind;
    fields = kinds[msg->kind].fields(&count);
    for (size_t i = 0; i < count; i++)
        end = put_field(end, &fields[i], (const char *)&msg->hello + fields[i].offset);
    return (size_t)(end - to);
}

/* --- decoding ------------------------------------------------------------------------------------ */

struct reader {
    const unsigned char *at;
    size_t left;
};

static bool take(struct reader *reader, unsigned bytes, uint64_t *value)
{
    if (reader->left < bytes)
        return false;
    *value = 0;
    for (unsigned i = 0; i < bytes; i++)
        *value |= (uint64_t)reader->at[i] << (8 * i);
    reader->at += bytes;
    reader->left -= bytes;
    return true;
}

static const char *take_string(struct reader *reader, char *to, size_t size)
{
    uint64_t length;

    if (!take(reader, 2, &length) || reader->left < length)
        return "cut short";
    if (length >= size)
        return "too long";
    if (memchr(reader->at, '\0', length) != NULL)
        return "NUL in a string";
    memcpy(to, reader->at, length);
    to[length] = '\0';
    reader->at += length;
    reader->left -= length;
    return NULL;
}

/* NULL, or what is wrong. */
static const char *take_field(struct reader *reader, const struct field *field, char *to)
{
    uint64_t value;
    uint32_t u32;

    switch (field->kind) {
    case FIELD_U32:
        if (!take(reader, 4, &value))
            return "cut short";
        u32 = (uint32_t)value;
        memcpy(to, &u32, sizeof u32);
        return NULL;
    case FIELD_U64:
    case FIELD_I64:
        if (!take(reader, 8, &value))
            return "cut short";
        memcpy(to, &value, sizeof value);
        return NULL;
    case FIELD_FLAG:
        if (!take(reader, 1, &value))
            return "cut short";
        if (value > 1)
            return "flag is neither 0 nor 1";
        *(bool *)to = value == 1;
        return NULL;
    case FIELD_STR:
        return take_string(reader, to, field->size);
    }
    bug("field kind %d", (int)field->kind);
}

int msg_decode(struct msg *msg, const void *from, size_t bytes, struct err *err)
{
    struct reader reader = {from, bytes};
    const struct field *fields;
    uint64_t kind;
    size_t count;

    memset(msg, 0, sizeof *msg);
    if (!take(&reader, 1, &kind))
        return err_set(err, "empty message");
    if (kind == MSG_NONE || kind >= MSG_KINDS)
        return err_set(err, "unknown message %u", (unsigned)kind);
    msg->kind = (enum msg_kind)kind;
    fields = kinds[kind].fields(&count);
    for (size_t i = 0; i < count; i++) {
        const char *wrong = take_field(&reader, &fields[i], (char *)&msg->hello + fields[i].offset);

        if (wrong != NULL)
            return err_set(err, "message %s, field %s: %s", kinds[kind].name, fields[i].name, wrong);
    }
    if (reader.left > 0)
        return err_set(err, "message %s: %zu bytes left over", kinds[kind].name, reader.left);
    return 0;
}
