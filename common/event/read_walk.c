/*
 * read_walk.c - the structure of a message: the JSON reader's callbacks fill one struct event.
 *
 * Nothing is allocated per event.  Of an event that is wrong the rest is skipped, so that its
 * neighbours count.  An event is handed on only when its object has closed, and void if the message
 * turns out to be broken behind it: the sink collects, the caller commits.  Pure.
 */
#include "common/event/reader.h"

#include <string.h>

/* A value where no field takes one: an element of the array around the events, or the message. */
static bool outside(struct event_reader *reader)
{
    if (!reader->in_array)
        return false; /* neither an object nor an array: the message is refused */
    reader->sink->refused(reader->sink->arg, reader->notes.events++, "not an object", "", 0);
    return true;
}

static bool at_field(const struct event_reader *reader)
{
    return reader->depth == 1 && !reader->wrong && reader->field >= 0;
}

static bool on_null(void *arg)
{
    struct event_reader *reader = arg;

    return reader->depth > 0 || outside(reader);
}

/* A boolean or a number within an event: is it the value of a field? */
static bool bare_value(struct event_reader *reader)
{
    if (reader->in_tags)
        reader_refuse(reader, "tags: not a string");
    return at_field(reader);
}

static bool on_boolean(void *arg, bool value)
{
    struct event_reader *reader = arg;

    if (reader->depth == 0)
        return outside(reader);
    if (bare_value(reader))
        reader_take_boolean(reader, value);
    return true;
}

static bool on_number(void *arg, const char *text, size_t length)
{
    struct event_reader *reader = arg;

    if (reader->depth == 0)
        return outside(reader);
    if (bare_value(reader))
        reader_take_number(reader, text, length);
    return true;
}

static bool on_string(void *arg, const char *text, size_t length)
{
    struct event_reader *reader = arg;

    if (reader->depth == 0)
        return outside(reader);
    if (reader->wrong)
        return true;
    if (reader->in_tags)
        reader_take_tag(reader, text, length);
    else if (reader->keeping && memchr(text, 0, length) != NULL)
        reader_refuse(reader, "metadata: holds NUL");
    if (!at_field(reader) || length == 0)
        return true;
    reader_take_string(reader, text, length);
    return true;
}

static void begin_event(struct event_reader *reader)
{
    reader->start = json_position(reader->json) - 1;
    reader->event.present = 0;
    reader->event.tags.count = 0;
    reader->event.event_id.length = 0;
    reader->event.status.length = 0;
    reader->wrong = false;
    reader->scratch_used = 0;
    reader->object = reader->objects = 0;
    reader->named = 0;
    json_keys_begin(reader->keys);
}

/* One level deeper.  What is deeper than any event may be is only counted. */
static void descend(struct event_reader *reader, bool object)
{
    if (++reader->depth > EVENT_NESTING_MAX) {
        reader_refuse(reader, "nested deeper than 16");
        return;
    }
    reader->parents[reader->depth] = reader->object;
    if (object)
        reader->object = reader->objects++;
}

static void ascend(struct event_reader *reader)
{
    if (reader->depth <= EVENT_NESTING_MAX)
        reader->object = reader->parents[reader->depth];
    reader->depth--;
}

static bool on_start_object(void *arg)
{
    struct event_reader *reader = arg;

    if (reader->depth == 0)
        begin_event(reader);
    else if (reader->in_tags)
        reader_refuse(reader, "tags: not a string");
    else if (at_field(reader) && event_fields[reader->field].kind == FIELD_JSON) {
        reader->keeping = true;
        reader->value_start = json_position(reader->json) - 1;
    } else if (at_field(reader))
        reader_refuse_field(reader, "must not be an object");
    reader->in_tags = false;
    descend(reader, true);
    return true;
}

static bool on_start_array(void *arg)
{
    struct event_reader *reader = arg;

    if (reader->depth == 0 && !reader->in_array) {
        reader->in_array = true;
        return true;
    }
    if (reader->depth == 0) {
        /* An array among the events: skipped as one that is wrong. */
        begin_event(reader);
        reader_refuse(reader, "not an object");
    } else if (reader->in_tags) {
        reader_refuse(reader, "tags: not a string");
        reader->in_tags = false;
    } else if (at_field(reader) && event_fields[reader->field].kind == FIELD_TAGS) {
        reader->in_tags = true;
    } else if (at_field(reader)) {
        reader_refuse_field(reader, "must not be an array");
    }
    descend(reader, false);
    return true;
}

/* Is a key repeated within its object?  The fields of an event are bits; the rest is a set. */
static enum json_key note_key(struct event_reader *reader, const char *text, size_t length)
{
    uint64_t bit = UINT64_C(1) << (reader->field & 63);

    if (reader->depth > 1 || reader->field < 0)
        return json_keys_add(reader->keys, reader->object, text, length);
    if (reader->named & bit)
        return JSON_KEY_REPEATED;
    reader->named |= bit;
    return JSON_KEY_NEW;
}

static bool on_key(void *arg, const char *text, size_t length)
{
    struct event_reader *reader = arg;
    enum json_key seen;

    if (reader->wrong)
        return true;
    if (reader->keeping && memchr(text, 0, length) != NULL)
        reader_refuse(reader, "metadata: holds NUL");
    if (reader->depth == 1)
        reader->field = reader_find_name(reader, text, length);
    seen = note_key(reader, text, length);
    if (seen == JSON_KEY_TOO_MANY)
        reader_refuse(reader, "more than 4096 keys");
    if (reader->depth > 1) {
        if (seen == JSON_KEY_REPEATED)
            reader_refuse(reader, "a key is repeated");
        return true;
    }
    if (seen == JSON_KEY_REPEATED)
        reader_refuse(reader, "%s is repeated", reader->field < 0 ? "a key" : event_fields[reader->field].name);
    reader->notes.unknown_fields += reader->field < 0;
    return true;
}

static void check_event(struct event_reader *reader, size_t bytes)
{
    struct event *event = &reader->event;

    if (bytes > (size_t)reader->rules.max_event_bytes) {
        /* Said first, whatever else is wrong: it is what the producer must mend. */
        reader->wrong = false;
        reader_refuse(reader, "larger than %lld bytes", (long long)reader->rules.max_event_bytes);
    }
    if (!(event->present & EVENT_BIT(request_id)))
        reader_refuse(reader, "request_id: required");
    if (!(event->present & EVENT_BIT(spend)))
        reader_refuse(reader, "spend: required");
}

static void finish_event(struct event_reader *reader)
{
    struct event *event = &reader->event;
    const struct event_sink *sink = reader->sink;
    size_t bytes = json_position(reader->json) - reader->start;
    uint32_t index = reader->notes.events++;

    check_event(reader, bytes);
    if (reader->wrong) {
        sink->refused(sink->arg, index, reader->reason, reader->text + reader->start, bytes);
        return;
    }
    if ((event->present & EVENT_BIT(event_id)) &&
        event->event_id.length == event->request_id.length &&
        memcmp(event->event_id.data, event->request_id.data, event->event_id.length) == 0)
        event->present &= ~EVENT_BIT(event_id);
    event->received = reader->now.micros;
    event->present |= EVENT_BIT(received);
    reader->notes.defaulted_days += (event->present & EVENT_BIT(start_time)) == 0;
    sink->event(sink->arg, index, event);
}

static bool on_end_object(void *arg)
{
    struct event_reader *reader = arg;
    size_t end;

    ascend(reader);
    if (reader->depth == 1 && reader->keeping) {
        reader->keeping = false;
        end = json_position(reader->json);
        reader->event.metadata = (struct slice){reader->text + reader->value_start,
                                                (uint32_t)(end - reader->value_start)};
        reader->event.present |= EVENT_BIT(metadata);
    }
    if (reader->depth == 0)
        finish_event(reader);
    return true;
}

static bool on_end_array(void *arg)
{
    struct event_reader *reader = arg;

    reader->in_tags = false;
    if (reader->depth == 0) {
        reader->in_array = false;
        return true;
    }
    ascend(reader);
    if (reader->depth == 0)
        finish_event(reader);
    return true;
}

const struct json_handler reader_handler = {
    on_null, on_boolean,    on_number,     on_string,      on_start_object,
    on_key,  on_end_object, on_start_array, on_end_array,
};
