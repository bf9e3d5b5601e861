/*
 * codec.c - an event as bytes: what stands in a record, in the spool and in Redis.
 *
 * Presence bits, then the fields that are present in the order of fields.def, all integers
 * little-endian.  The decoder trusts nothing: every length is checked against what is left, every
 * text is valid UTF-8 without NUL, every figure within its range, and no byte may be left over.
 * What it accepts, PostgreSQL can store; what it borrows lies in `from`.
 * Pure; allocates nothing.
 */
#include "common/event/event.h"

#include "common/base/utf8.h"
#include "common/event/fields.h"
#include "common/money/money.h"

#include <stdbool.h>
#include <string.h>

#define REQUIRED (EVENT_BIT(request_id) | EVENT_BIT(spend) | EVENT_BIT(received))
#define ALL_FIELDS ((UINT64_C(1) << EVENT_FIELDS) - 1)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "integers are copied as they lie");

/* What is left to read. */
struct input {
    const unsigned char *at;
    size_t left;
};

static size_t tags_bytes(const struct tag_set *tags)
{
    size_t bytes = 1;

    for (uint32_t i = 0; i < tags->count; i++)
        bytes += 2 + tags->tag[i].length;
    return bytes;
}

size_t event_encoded_bytes(const struct event *event)
{
    size_t bytes = 8;

    for (uint64_t left = event->present; left != 0; left &= left - 1) {
        const struct field *field = &event_fields[__builtin_ctzll(left)];
        const void *value = (const char *)event + field->offset;

        switch (field->kind) {
        case FIELD_TEXT:
            bytes += 2 + ((const struct slice *)value)->length;
            break;
        case FIELD_JSON:
            bytes += 4 + ((const struct slice *)value)->length;
            break;
        case FIELD_TAGS:
            bytes += tags_bytes(value);
            break;
        case FIELD_COUNT:
        case FIELD_MONEY:
        case FIELD_TIME:
            bytes += 8;
            break;
        }
    }
    return bytes;
}

static unsigned char *put(unsigned char *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
    return to + bytes;
}

static unsigned char *put_text(unsigned char *to, const struct slice *text)
{
    uint16_t length = (uint16_t)text->length;

    to = put(to, &length, sizeof length);
    return text->length > 0 ? put(to, text->data, text->length) : to;
}

static unsigned char *put_tags(unsigned char *to, const struct tag_set *tags)
{
    *to++ = (unsigned char)tags->count;
    for (uint32_t i = 0; i < tags->count; i++)
        to = put_text(to, &tags->tag[i]);
    return to;
}

static unsigned char *put_field(unsigned char *to, enum field_kind kind, const void *value)
{
    const struct slice *text = value;

    switch (kind) {
    case FIELD_TEXT:
        return put_text(to, text);
    case FIELD_JSON:
        to = put(to, &text->length, 4);
        return put(to, text->data, text->length);
    case FIELD_TAGS:
        return put_tags(to, value);
    case FIELD_COUNT:
    case FIELD_MONEY:
    case FIELD_TIME:
        break;
    }
    return put(to, value, 8);
}

size_t event_encode(const struct event *event, unsigned char *to)
{
    unsigned char *end = put(to, &event->present, 8);

    for (uint64_t left = event->present; left != 0; left &= left - 1) {
        const struct field *field = &event_fields[__builtin_ctzll(left)];

        end = put_field(end, field->kind, (const char *)event + field->offset);
    }
    return (size_t)(end - to);
}

static bool take(struct input *in, void *to, size_t bytes)
{
    if (in->left < bytes)
        return false;
    memcpy(to, in->at, bytes);
    in->at += bytes;
    in->left -= bytes;
    return true;
}

static bool take_slice(struct input *in, size_t length, struct slice *slice)
{
    if (in->left < length || !utf8_clean((const char *)in->at, length))
        return false;
    *slice = (struct slice){(const char *)in->at, (uint32_t)length};
    in->at += length;
    in->left -= length;
    return true;
}

static bool take_text(struct input *in, struct slice *text)
{
    uint16_t length;

    return take(in, &length, sizeof length) && length > 0 && length <= EVENT_LABEL_MAX &&
           take_slice(in, length, text);
}

static bool take_json(struct input *in, struct slice *text)
{
    uint32_t length;

    return take(in, &length, sizeof length) && length >= 2 && take_slice(in, length, text) &&
           text->data[0] == '{' && text->data[length - 1] == '}';
}

/* Strictly rising, so sorted and no two equal. */
static bool tag_follows(const struct slice *before, const struct slice *tag)
{
    size_t common = before->length < tag->length ? before->length : tag->length;
    int order = memcmp(before->data, tag->data, common);

    return order < 0 || (order == 0 && before->length < tag->length);
}

static bool take_tags(struct input *in, struct tag_set *tags)
{
    uint8_t count;

    if (!take(in, &count, 1) || count == 0 || count > EVENT_TAGS_MAX)
        return false;
    tags->count = count;
    for (uint32_t i = 0; i < count; i++)
        if (!take_text(in, &tags->tag[i]) ||
            (i > 0 && !tag_follows(&tags->tag[i - 1], &tags->tag[i])))
            return false;
    return true;
}

static bool take_number(struct input *in, int64_t least, int64_t most, int64_t *value)
{
    return take(in, value, 8) && *value >= least && *value <= most;
}

static bool take_field(struct input *in, enum field_kind kind, void *value)
{
    switch (kind) {
    case FIELD_TEXT:
        return take_text(in, value);
    case FIELD_JSON:
        return take_json(in, value);
    case FIELD_TAGS:
        return take_tags(in, value);
    case FIELD_COUNT:
        return take_number(in, 0, EVENT_COUNT_MAX, value);
    case FIELD_MONEY:
        return take_number(in, 1 - MONEY_MAX, MONEY_MAX - 1, value);
    case FIELD_TIME:
        return take_number(in, EVENT_TIME_LEAST, EVENT_TIME_MOST, value);
    }
    return false;
}

int event_decode(struct event *event, const unsigned char *from, size_t bytes, struct err *err)
{
    struct input in = {from, bytes};

    /* The tags themselves are not wiped: `count` says how many of them are real. */
    memset(event, 0, offsetof(struct event, tags));
    event->tags.count = 0;
    memset(&event->model, 0, sizeof *event - offsetof(struct event, model));
    if (!take(&in, &event->present, 8) || (event->present & REQUIRED) != REQUIRED ||
        (event->present & ~ALL_FIELDS) != 0)
        return err_set(err, "event: presence bits");
    for (uint64_t left = event->present; left != 0; left &= left - 1) {
        const struct field *field = &event_fields[__builtin_ctzll(left)];

        if (!take_field(&in, field->kind, (char *)event + field->offset))
            return err_set(err, "event: %s", field->name);
    }
    if (in.left != 0)
        return err_set(err, "event: %zu bytes left over", in.left);
    if (event->status.length > 0 &&
        (event->status.length != 7 || memcmp(event->status.data, "failure", 7) != 0))
        return err_set(err, "event: status");
    return 0;
}
