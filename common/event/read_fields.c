/*
 * read_fields.c - the values of an event's fields: each by its kind, kept where it may stay.
 *
 * Texts are borrowed from the message where they stand there as they are, and copied to `scratch`
 * where an escape, a hash or a cut made new bytes.  The first thing wrong with an event is its reason.
 * Pure.
 */
#include "common/event/reader.h"

#include "common/money/money.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DAY_MICROS (86400LL * 1000000)

static size_t name_slot(const char *name, size_t length)
{
    unsigned first = (unsigned char)name[0], last = (unsigned char)name[length - 1];
    unsigned middle = (unsigned char)name[length / 2];

    return (length * 37 + first * 5 + last * 11 + middle * 3) % NAME_SLOTS;
}

void reader_learn_names(struct event_reader *reader)
{
    for (unsigned i = 0; i < EVENT_FIELDS; i++) {
        size_t slot = name_slot(event_fields[i].name, event_fields[i].name_length);

        if (event_fields[i].flags & FIELD_INNER)
            continue;
        while (reader->names[slot] != 0)
            slot = (slot + 1) % NAME_SLOTS;
        reader->names[slot] = (uint8_t)(i + 1);
    }
}

int reader_find_name(const struct event_reader *reader, const char *name, size_t length)
{
    size_t slot;

    if (length == 0)
        return -1;
    for (slot = name_slot(name, length); reader->names[slot] != 0; slot = (slot + 1) % NAME_SLOTS) {
        const struct field *field = &event_fields[reader->names[slot] - 1];

        if (field->name_length == length && memcmp(field->name, name, length) == 0)
            return reader->names[slot] - 1;
    }
    return -1;
}

void reader_refuse(struct event_reader *reader, const char *format, ...)
{
    va_list ap;

    if (reader->wrong)
        return;
    reader->wrong = true;
    va_start(ap, format);
    vsnprintf(reader->reason, sizeof reader->reason, format, ap);
    va_end(ap);
}

void reader_refuse_field(struct event_reader *reader, const char *why)
{
    reader_refuse(reader, "%s: %s", event_fields[reader->field].name, why);
}

/* Bytes of our own for this event; NULL (and refused) when an event needs more than any may. */
static char *scratch(struct event_reader *reader, size_t bytes)
{
    char *at = reader->scratch + reader->scratch_used;

    if (bytes > reader->scratch_size - reader->scratch_used) {
        reader_refuse(reader, "larger than %lld bytes", (long long)reader->rules.max_event_bytes);
        return NULL;
    }
    reader->scratch_used += bytes;
    return at;
}

/* The text where it may stay: in the message, or copied. */
static struct slice keep(struct event_reader *reader, const char *text, size_t length)
{
    char *copy;

    if (text >= reader->text && text < reader->text + reader->length)
        return (struct slice){text, (uint32_t)length};
    copy = scratch(reader, length);
    if (copy == NULL)
        return (struct slice){NULL, 0};
    memcpy(copy, text, length);
    return (struct slice){copy, (uint32_t)length};
}

static struct slice keep_label(struct event_reader *reader, const char *text, size_t length)
{
    char *copy;

    if (length <= EVENT_LABEL_MAX)
        return keep(reader, text, length);
    copy = scratch(reader, LABEL_SHORT_MAX);
    if (copy == NULL)
        return (struct slice){NULL, 0};
    reader->notes.shortened_labels++;
    return (struct slice){copy, (uint32_t)value_short_label(text, length, copy)};
}

static void *field_value(struct event_reader *reader)
{
    return (char *)&reader->event + event_fields[reader->field].offset;
}

static void mark_present(struct event_reader *reader)
{
    reader->event.present |= UINT64_C(1) << reader->field;
}

static void take_text(struct event_reader *reader, const char *text, size_t length)
{
    struct slice *value = field_value(reader);

    if (memchr(text, 0, length) != NULL) {
        reader_refuse_field(reader, "holds NUL");
        return;
    }
    if (reader->field == EVENT_status) {
        if (length == 7 && memcmp(text, "success", 7) == 0)
            return;
        if (length != 7 || memcmp(text, "failure", 7) != 0)
            reader_refuse_field(reader, "neither \"success\" nor \"failure\"");
    }
    if ((event_fields[reader->field].flags & FIELD_ID) && length > EVENT_LABEL_MAX) {
        reader_refuse_field(reader, "longer than 256 bytes");
        return;
    }
    if (reader->field == EVENT_api_key && length >= 3 && memcmp(text, "sk-", 3) == 0) {
        char *hash = scratch(reader, KEY_HASH_BYTES);

        if (hash == NULL)
            return;
        value_hash_key(text, length, hash);
        *value = (struct slice){hash, KEY_HASH_BYTES};
    } else {
        *value = keep_label(reader, text, length);
    }
    mark_present(reader);
}

static void take_money(struct event_reader *reader, const char *text, size_t length)
{
    struct err err;

    if (money_parse(text, length, field_value(reader), &err) != 0)
        reader_refuse_field(reader, err.text);
    else
        mark_present(reader);
}

static void take_time(struct event_reader *reader, bool readable)
{
    int64_t micros = *(const int64_t *)field_value(reader);

    if (!readable)
        reader_refuse_field(reader, "neither RFC 3339 nor epoch seconds");
    else if (reader->field == EVENT_start_time && micros > reader->now.micros + EVENT_AHEAD_MICROS)
        reader_refuse_field(reader, "more than 48 hours ahead");
    else if (reader->field == EVENT_start_time &&
             micros < reader->now.micros - reader->rules.max_age_days * DAY_MICROS)
        reader_refuse(reader, "start_time: more than %lld days ago", (long long)reader->rules.max_age_days);
    else
        mark_present(reader);
}

void reader_take_tag(struct event_reader *reader, const char *text, size_t length)
{
    struct slice tag;

    if (length == 0)
        return;
    if (memchr(text, 0, length) != NULL) {
        reader_refuse(reader, "tags: holds NUL");
        return;
    }
    tag = keep_label(reader, text, length);
    if (reader->wrong)
        return;
    if (!value_add_tag(&reader->event.tags, tag))
        reader_refuse(reader, "tags: more than 64");
    else
        reader->event.present |= EVENT_BIT(tags);
}

void reader_take_boolean(struct event_reader *reader, bool value)
{
    if (event_fields[reader->field].flags & FIELD_TRUTHY) {
        *(struct slice *)field_value(reader) =
            value ? (struct slice){"true", 4} : (struct slice){"false", 5};
        mark_present(reader);
    } else {
        reader_refuse_field(reader, "must not be a boolean");
    }
}

/* A value of a kind that its field does not take. */
static void refuse_kind(struct event_reader *reader)
{
    static const char *const wanted[] = {
        [FIELD_TEXT] = "not a string",
        [FIELD_COUNT] = "not an integer from 0 to 1000000000000",
        [FIELD_MONEY] = "not a decimal number",
        [FIELD_TIME] = "neither RFC 3339 nor epoch seconds",
        [FIELD_TAGS] = "not an array",
        [FIELD_JSON] = "not an object",
    };

    reader_refuse_field(reader, wanted[event_fields[reader->field].kind]);
}

void reader_take_number(struct event_reader *reader, const char *text, size_t length)
{
    switch (event_fields[reader->field].kind) {
    case FIELD_MONEY:
        take_money(reader, text, length);
        return;
    case FIELD_TIME:
        take_time(reader, value_time_number(text, length, field_value(reader)));
        return;
    case FIELD_COUNT:
        if (!value_count(text, length, field_value(reader)))
            break;
        mark_present(reader);
        return;
    case FIELD_TEXT:
    case FIELD_TAGS:
    case FIELD_JSON:
        break;
    }
    refuse_kind(reader);
}

void reader_take_string(struct event_reader *reader, const char *text, size_t length)
{
    switch (event_fields[reader->field].kind) {
    case FIELD_TEXT:
        take_text(reader, text, length);
        return;
    case FIELD_MONEY:
        take_money(reader, text, length);
        return;
    case FIELD_TIME:
        take_time(reader, value_time_text(text, length, field_value(reader)));
        return;
    case FIELD_COUNT:
    case FIELD_TAGS:
    case FIELD_JSON:
        break;
    }
    refuse_kind(reader);
}
