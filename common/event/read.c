/*
 * read.c - JSON messages -> events: the hot path of ingest.  See read.h for what a message may be.
 *
 * The JSON reader's callbacks fill one struct event; texts are borrowed from the message where they
 * stand there as they are, and copied to `scratch` where an escape, a hash or a cut made new bytes.
 * Nothing is allocated per event.  The first thing wrong with an event is its reason; the rest of it
 * is skipped, so that its neighbours count.  An event is handed on only when its object has closed,
 * and void if the message turns out to be broken behind it: the sink collects, the caller commits.
 */
#include "common/event/read.h"

#include "common/event/fields.h"
#include "common/event/values.h"
#include "common/json/json.h"
#include "common/money/money.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SLOTS 128
#define REASON_BYTES 128
#define DAY_MICROS (86400LL * 1000000)
/* Room for every text that is not borrowed: the escaped ones are no longer than the event, and each
 * label or tag may be cut or hashed once. */
#define SCRATCH_EXTRA ((EVENT_FIELDS + 4 * EVENT_TAGS_MAX) * (size_t)LABEL_SHORT_MAX)

struct event_reader {
    struct event_rules rules;
    const struct event_sink *sink;
    struct json_in *json;
    struct json_keys *keys;
    uint8_t names[NAME_SLOTS]; /* field number + 1, by hash of the name */
    const char *text;          /* of the message, or of the line */
    size_t length;
    wall_t now;
    struct event_notes notes;

    /* Where we are. */
    unsigned depth;   /* open containers, the array around the events not counted */
    bool in_array;    /* an array of events is open */
    bool in_tags;     /* directly within "tags" */
    bool keeping;     /* within "metadata" */
    uint32_t object;  /* number of the innermost object, for repeated keys */
    uint32_t objects; /* objects begun in this event */
    uint32_t parents[EVENT_NESTING_MAX + 2];
    int field; /* the value that comes belongs to this field; -1: to none we know */

    /* The event under construction. */
    size_t start; /* its first byte */
    size_t value_start;
    struct event event;
    bool wrong;
    char reason[REASON_BYTES];
    size_t scratch_used, scratch_size;
    char *scratch;
};

static size_t name_slot(const char *name, size_t length)
{
    unsigned first = (unsigned char)name[0], last = (unsigned char)name[length - 1];
    unsigned middle = (unsigned char)name[length / 2];

    return (length * 37 + first * 5 + last * 11 + middle * 3) % NAME_SLOTS;
}

static void learn_names(struct event_reader *reader)
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

static int find_name(const struct event_reader *reader, const char *name, size_t length)
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

PRINTF_LIKE(2, 3)
static void refuse(struct event_reader *reader, const char *format, ...)
{
    va_list ap;

    if (reader->wrong)
        return;
    reader->wrong = true;
    va_start(ap, format);
    vsnprintf(reader->reason, sizeof reader->reason, format, ap);
    va_end(ap);
}

static void refuse_field(struct event_reader *reader, const char *why)
{
    refuse(reader, "%s: %s", event_fields[reader->field].name, why);
}

/* Bytes of our own for this event; NULL (and refused) when an event needs more than any may. */
static char *scratch(struct event_reader *reader, size_t bytes)
{
    char *at = reader->scratch + reader->scratch_used;

    if (bytes > reader->scratch_size - reader->scratch_used) {
        refuse(reader, "larger than %lld bytes", (long long)reader->rules.max_event_bytes);
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
        refuse_field(reader, "holds NUL");
        return;
    }
    if (reader->field == EVENT_status) {
        if (length == 7 && memcmp(text, "success", 7) == 0)
            return;
        if (length != 7 || memcmp(text, "failure", 7) != 0)
            refuse_field(reader, "neither \"success\" nor \"failure\"");
    }
    if ((event_fields[reader->field].flags & FIELD_ID) && length > EVENT_LABEL_MAX) {
        refuse_field(reader, "longer than 256 bytes");
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
        refuse_field(reader, err.text);
    else
        mark_present(reader);
}

static void take_time(struct event_reader *reader, bool readable)
{
    int64_t micros = *(const int64_t *)field_value(reader);

    if (!readable)
        refuse_field(reader, "neither RFC 3339 nor epoch seconds");
    else if (reader->field == EVENT_start_time && micros > reader->now.micros + EVENT_AHEAD_MICROS)
        refuse_field(reader, "more than 48 hours ahead");
    else if (reader->field == EVENT_start_time &&
             micros < reader->now.micros - reader->rules.max_age_days * DAY_MICROS)
        refuse(reader, "start_time: more than %lld days ago", (long long)reader->rules.max_age_days);
    else
        mark_present(reader);
}

static void take_tag(struct event_reader *reader, const char *text, size_t length)
{
    struct slice tag;

    if (length == 0)
        return;
    if (memchr(text, 0, length) != NULL) {
        refuse(reader, "tags: holds NUL");
        return;
    }
    tag = keep_label(reader, text, length);
    if (reader->wrong)
        return;
    if (!value_add_tag(&reader->event.tags, tag))
        refuse(reader, "tags: more than 64");
    else
        reader->event.present |= EVENT_BIT(tags);
}

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

static bool on_boolean(void *arg, bool value)
{
    struct event_reader *reader = arg;

    if (reader->depth == 0)
        return outside(reader);
    if (reader->in_tags)
        refuse(reader, "tags: not a string");
    if (!at_field(reader))
        return true;
    if (event_fields[reader->field].flags & FIELD_TRUTHY) {
        *(struct slice *)field_value(reader) =
            value ? (struct slice){"true", 4} : (struct slice){"false", 5};
        mark_present(reader);
    } else {
        refuse_field(reader, "must not be a boolean");
    }
    return true;
}

static bool on_number(void *arg, const char *text, size_t length)
{
    struct event_reader *reader = arg;

    if (reader->depth == 0)
        return outside(reader);
    if (reader->in_tags)
        refuse(reader, "tags: not a string");
    if (!at_field(reader))
        return true;
    switch (event_fields[reader->field].kind) {
    case FIELD_MONEY:
        take_money(reader, text, length);
        break;
    case FIELD_COUNT:
        if (value_count(text, length, field_value(reader)))
            mark_present(reader);
        else
            refuse_field(reader, "not an integer from 0 to 1000000000000");
        break;
    case FIELD_TIME:
        take_time(reader, value_time_number(text, length, field_value(reader)));
        break;
    case FIELD_TEXT:
        refuse_field(reader, "not a string");
        break;
    case FIELD_TAGS:
        refuse_field(reader, "not an array");
        break;
    case FIELD_JSON:
        refuse_field(reader, "not an object");
        break;
    }
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
        take_tag(reader, text, length);
    else if (reader->keeping && memchr(text, 0, length) != NULL)
        refuse(reader, "metadata: holds NUL");
    if (!at_field(reader) || length == 0)
        return true;
    switch (event_fields[reader->field].kind) {
    case FIELD_TEXT:
        take_text(reader, text, length);
        break;
    case FIELD_MONEY:
        take_money(reader, text, length);
        break;
    case FIELD_TIME:
        take_time(reader, value_time_text(text, length, field_value(reader)));
        break;
    case FIELD_COUNT:
        refuse_field(reader, "not an integer from 0 to 1000000000000");
        break;
    case FIELD_TAGS:
        refuse_field(reader, "not an array");
        break;
    case FIELD_JSON:
        refuse_field(reader, "not an object");
        break;
    }
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
    json_keys_begin(reader->keys);
}

/* One level deeper.  What is deeper than any event may be is only counted. */
static void descend(struct event_reader *reader, bool object)
{
    if (++reader->depth > EVENT_NESTING_MAX) {
        refuse(reader, "nested deeper than 16");
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
        refuse(reader, "tags: not a string");
    else if (at_field(reader) && event_fields[reader->field].kind == FIELD_JSON) {
        reader->keeping = true;
        reader->value_start = json_position(reader->json) - 1;
    } else if (at_field(reader))
        refuse_field(reader, "must not be an object");
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
        refuse(reader, "not an object");
    } else if (reader->in_tags) {
        refuse(reader, "tags: not a string");
        reader->in_tags = false;
    } else if (at_field(reader) && event_fields[reader->field].kind == FIELD_TAGS) {
        reader->in_tags = true;
    } else if (at_field(reader)) {
        refuse_field(reader, "must not be an array");
    }
    descend(reader, false);
    return true;
}

static bool on_key(void *arg, const char *text, size_t length)
{
    struct event_reader *reader = arg;
    enum json_key seen;

    if (reader->wrong)
        return true;
    if (reader->keeping && memchr(text, 0, length) != NULL)
        refuse(reader, "metadata: holds NUL");
    seen = json_keys_add(reader->keys, reader->object, text, length);
    if (seen == JSON_KEY_TOO_MANY)
        refuse(reader, "more than 4096 keys");
    if (reader->depth > 1) {
        if (seen == JSON_KEY_REPEATED)
            refuse(reader, "a key is repeated");
        return true;
    }
    reader->field = find_name(reader, text, length);
    if (seen == JSON_KEY_REPEATED)
        refuse(reader, "%s is repeated", reader->field < 0 ? "a key" : event_fields[reader->field].name);
    reader->notes.unknown_fields += reader->field < 0;
    return true;
}

static void check_event(struct event_reader *reader, size_t bytes)
{
    struct event *event = &reader->event;

    if (bytes > (size_t)reader->rules.max_event_bytes) {
        /* Said first, whatever else is wrong: it is what the producer must mend. */
        reader->wrong = false;
        refuse(reader, "larger than %lld bytes", (long long)reader->rules.max_event_bytes);
    }
    if (!(event->present & EVENT_BIT(request_id)))
        refuse(reader, "request_id: required");
    if (!(event->present & EVENT_BIT(spend)))
        refuse(reader, "spend: required");
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

static const struct json_handler handler = {
    on_null, on_boolean,    on_number,     on_string,      on_start_object,
    on_key,  on_end_object, on_start_array, on_end_array,
};

struct event_reader *event_reader_new(const struct event_rules *rules)
{
    struct event_reader *reader = calloc(1, sizeof *reader);

    if (reader == NULL)
        bug("out of memory for an event reader");
    reader->rules = *rules;
    reader->scratch_size = (size_t)rules->max_event_bytes + SCRATCH_EXTRA;
    reader->scratch = malloc(reader->scratch_size);
    if (reader->scratch == NULL)
        bug("out of memory for an event reader");
    reader->json = json_in_new(&handler, reader);
    reader->keys = json_keys_new();
    learn_names(reader);
    return reader;
}

void event_reader_free(struct event_reader **reader)
{
    if (*reader == NULL)
        return;
    json_in_free(&(*reader)->json);
    json_keys_free(&(*reader)->keys);
    free((*reader)->scratch);
    free(*reader);
    *reader = NULL;
}

/* One JSON text: the message or a line of it. */
static int read_value(struct event_reader *reader, const char *text, size_t length, size_t *offset,
                      struct err *err)
{
    reader->text = text;
    reader->length = length;
    reader->depth = 0;
    reader->in_array = reader->in_tags = reader->keeping = reader->wrong = false;
    reader->field = -1;
    if (json_parse(reader->json, text, length, offset, err) == 0)
        return 0;
    if (strcmp(err->text, "stopped") == 0)
        err_set(err, "neither an object nor an array");
    return -1;
}

static bool blank(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r' && text[i] != '\n')
            return false;
    return true;
}

/* One line by itself; true: it was an event, good or bad, and not a broken text. */
static bool read_line(struct event_reader *reader, const char *line, size_t length, size_t before)
{
    char reason[REASON_BYTES];
    uint32_t index = reader->notes.events;
    struct err err;
    size_t offset, first = 0;

    while (line[first] == ' ' || line[first] == '\t')
        first++;
    err_set(&err, "not an object");
    offset = first;
    if (line[first] == '{' && read_value(reader, line, length, &offset, &err) == 0)
        return true;
    if (reader->notes.events > index && reader->wrong)
        return false; /* it was refused before the line broke behind it: once is enough */
    /* An event that was handed on before the line broke behind it is refused as well. */
    snprintf(reason, sizeof reason, "JSON: %.80s at byte %zu", err.text, before + offset);
    reader->sink->refused(reader->sink->arg, index, reason, line, length);
    reader->notes.events = index + 1;
    return false;
}

/* Newline-separated objects; false: none of the lines is one. */
static bool read_lines(struct event_reader *reader, const char *text, size_t length)
{
    const char *line = text, *end = text + length, *next;
    bool any = false;

    while (line < end) {
        next = memchr(line, '\n', (size_t)(end - line));
        next = next == NULL ? end : next;
        if (!blank(line, (size_t)(next - line)))
            any |= read_line(reader, line, (size_t)(next - line), (size_t)(line - text));
        line = next + 1;
    }
    return any;
}

/* Could it be newline-separated: does it begin with '{', and is there more behind a newline? */
static bool may_be_lines(const char *text, size_t length)
{
    const char *end = text + length, *newline;

    while (text < end && blank(text, 1))
        text++;
    if (text == end || *text != '{')
        return false;
    newline = memchr(text, '\n', (size_t)(end - text));
    return newline != NULL && !blank(newline, (size_t)(end - newline));
}

int event_read(struct event_reader *reader, const char *text, size_t length, wall_t now,
               const struct event_sink *sink, struct err *err)
{
    size_t offset;
    struct err why;

    reader->sink = sink;
    reader->now = now;
    memset(&reader->notes, 0, sizeof reader->notes);
    if (read_value(reader, text, length, &offset, &why) == 0)
        return 0;
    if (may_be_lines(text, length)) {
        sink->again(sink->arg);
        memset(&reader->notes, 0, sizeof reader->notes);
        if (read_lines(reader, text, length))
            return 0;
    }
    return err_set(err, "JSON: %.200s at byte %zu", why.text, offset);
}

const struct event_notes *event_read_notes(const struct event_reader *reader)
{
    return &reader->notes;
}
