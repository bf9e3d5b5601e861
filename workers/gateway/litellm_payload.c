/*
 * litellm_payload.c - what LiteLLM's callback posts -> messages of events.  See litellm_payload.h.
 *
 * Walks the text once and hands each value on with its path (litellm_event.c).  What a payload says beyond the
 * table (prompts, answers, headers) is passed over as it is read, never kept.
 * Pure.  If we die on any line nothing outside has changed.
 */
#include "workers/gateway/litellm_payload.h"

#include "common/json/json.h"
#include "workers/gateway/litellm_event.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES 96
#define DEPTH_LOOKED 4 /* of an element: deeper there is no field of the table */

struct reader {
    struct json_in *in;
    struct json_out *out, *one; /* the part, an event of it */
    struct litellm_event *event;
    struct litellm_parts *parts;
    size_t most;
    uint32_t index, first; /* of the event in hand; of the part's first */
    unsigned depth;        /* containers that are open */
    unsigned base;         /* 1: the elements lie in an array */
    unsigned arrays;       /* of those that are open within the element */
    char path[PATH_BYTES]; /* of the value that comes next, within the element */
    size_t ends[DEPTH_LOOKED + 1]; /* of the path, at each depth */
};

/* --- parts -------------------------------------------------------------------------------------------- */

static void begin_part(struct reader *reader)
{
    json_clear(reader->out);
    json_array(reader->out);
    reader->first = reader->index;
}

static void end_part(struct reader *reader)
{
    struct litellm_parts *parts = reader->parts;
    struct litellm_part part = {.first = reader->first};
    const char *text;

    json_end(reader->out);
    text = json_text(reader->out, &part.bytes);
    part.text = malloc(part.bytes + 1);
    parts->part = realloc(parts->part, (parts->count + 1) * sizeof part);
    if (part.text == NULL || parts->part == NULL)
        bug("no memory for %zu bytes of events", part.bytes);
    memcpy(part.text, text, part.bytes + 1);
    parts->part[parts->count++] = part;
}

/* The event in `one` is whole. */
static void add_event(struct reader *reader)
{
    size_t bytes, before;
    const char *text = json_text(reader->one, &bytes);

    json_text(reader->out, &before);
    if (reader->index > reader->first && before + bytes + 2 > reader->most) {
        end_part(reader);
        begin_part(reader);
    }
    json_raw(reader->out, text, bytes);
    reader->index++;
}

/* In the place of an event: it is refused, and the others keep their indexes. */
static void add_nothing(struct reader *reader)
{
    json_clear(reader->one);
    json_null(reader->one);
    add_event(reader);
}

static void begin_element(struct reader *reader)
{
    litellm_event_begin(reader->event);
    reader->path[0] = '\0';
    reader->ends[0] = 0;
    reader->arrays = 0;
    json_clear(reader->one);
}

/* --- the reader's functions --------------------------------------------------------------------------- */

static bool at_element(const struct reader *reader)
{
    return reader->depth == reader->base;
}

static bool looked_at(const struct reader *reader)
{
    return reader->depth - reader->base <= DEPTH_LOOKED && reader->arrays == 0;
}

static bool on_null(void *arg)
{
    struct reader *reader = arg;

    if (at_element(reader))
        add_nothing(reader);
    return true;
}

static bool on_boolean(void *arg, bool yes)
{
    struct reader *reader = arg;

    if (at_element(reader))
        add_nothing(reader);
    else if (looked_at(reader))
        litellm_event_flag(reader->event, reader->path, yes);
    return true;
}

static bool on_number(void *arg, const char *text, size_t length)
{
    struct reader *reader = arg;

    if (at_element(reader))
        add_nothing(reader);
    else if (looked_at(reader))
        litellm_event_keep(reader->event, reader->path, text, length, true);
    return true;
}

static bool on_string(void *arg, const char *text, size_t length)
{
    struct reader *reader = arg;

    if (at_element(reader))
        add_nothing(reader);
    else if (reader->arrays == 1 && reader->depth == reader->base + 2)
        litellm_event_item(reader->event, reader->path, text, length);
    else if (looked_at(reader))
        litellm_event_keep(reader->event, reader->path, text, length, false);
    return true;
}

static bool on_start_object(void *arg)
{
    struct reader *reader = arg;
    unsigned level = reader->depth - reader->base;

    if (at_element(reader))
        begin_element(reader);
    else if (level <= DEPTH_LOOKED)
        reader->ends[level] = strlen(reader->path);
    reader->depth++;
    return true;
}

/* The path of the value behind this key: that of the object around, a point, the key. */
static bool on_key(void *arg, const char *text, size_t length)
{
    struct reader *reader = arg;
    unsigned level = reader->depth - reader->base;
    size_t used;

    if (level == 0 || level > DEPTH_LOOKED || reader->arrays > 0)
        return true;
    used = level > 1 ? reader->ends[level - 1] : 0;
    /* A key with a point in it would be read as a path of several. */
    if (used + length + 2 > sizeof reader->path || memchr(text, '\0', length) != NULL ||
        memchr(text, '.', length) != NULL || (level > 1 && used == 0)) {
        reader->path[0] = '\0'; /* no field of the table */
        return true;
    }
    if (level > 1)
        reader->path[used++] = '.';
    memcpy(reader->path + used, text, length);
    reader->path[used + length] = '\0';
    return true;
}

static bool on_end_object(void *arg)
{
    struct reader *reader = arg;

    reader->depth--;
    if (at_element(reader)) {
        litellm_event_write(reader->event, reader->one);
        add_event(reader);
    }
    return true;
}

static bool on_start_array(void *arg)
{
    struct reader *reader = arg;

    if (reader->depth == 0) {
        reader->base = 1;
    } else {
        if (at_element(reader))
            begin_element(reader);
        reader->arrays++;
    }
    reader->depth++;
    return true;
}

static bool on_end_array(void *arg)
{
    struct reader *reader = arg;

    reader->depth--;
    if (reader->depth == 0 && reader->base == 1)
        return true;
    reader->arrays--;
    if (at_element(reader))
        add_nothing(reader);
    return true;
}

/* --- texts -------------------------------------------------------------------------------------------- */

static int parse(struct reader *reader, const char *text, size_t length, struct err *err)
{
    size_t offset;

    reader->depth = reader->base = 0;
    return json_parse(reader->in, text, length, &offset, err);
}

static void forget(struct reader *reader)
{
    litellm_parts_free(reader->parts);
    reader->index = 0;
    begin_part(reader);
}

static bool is_blank(const char *text, size_t length)
{
    return strspn(text, " \t\r") >= length;
}

/* One element a line.  An array in a line is none. */
static void parse_lines(struct reader *reader, char *text, size_t length)
{
    char *end = text + length, *next;
    struct err err;

    for (char *at = text; at < end; at = next + 1) {
        uint32_t before = reader->index;

        next = memchr(at, '\n', (size_t)(end - at));
        if (next == NULL)
            next = end;
        *next = '\0';
        if (is_blank(at, (size_t)(next - at)))
            continue;
        if (at[strspn(at, " \t\r")] == '[' ||
            (parse(reader, at, (size_t)(next - at), &err) != 0 && reader->index == before))
            add_nothing(reader);
    }
}

static int read_all(struct reader *reader, char *text, size_t length, struct err *err)
{
    litellm_mend(text, length);
    forget(reader);
    if (parse(reader, text, length, err) == 0)
        return 0;
    forget(reader);
    if (text[strspn(text, " \t\r\n")] != '{' || memchr(text, '\n', length) == NULL)
        return -1;
    parse_lines(reader, text, length);
    return 0;
}

int litellm_payload_read(char *text, size_t length, size_t most, struct litellm_parts *parts,
                         struct err *err)
{
    static const struct json_handler handler = {
        .null = on_null,
        .boolean = on_boolean,
        .number = on_number,
        .string = on_string,
        .start_object = on_start_object,
        .key = on_key,
        .end_object = on_end_object,
        .start_array = on_start_array,
        .end_array = on_end_array,
    };
    struct reader *reader = calloc(1, sizeof *reader);
    int result;

    if (reader == NULL)
        bug("no memory for a reader");
    *parts = (struct litellm_parts){0};
    reader->in = json_in_new(&handler, reader);
    reader->out = json_out_new(false);
    reader->one = json_out_new(false);
    reader->event = litellm_event_new();
    reader->parts = parts;
    reader->most = most;
    result = read_all(reader, text, length, err);
    if (result == 0)
        end_part(reader);
    else
        litellm_parts_free(parts);
    json_in_free(&reader->in);
    json_out_free(&reader->out);
    json_out_free(&reader->one);
    litellm_event_free(&reader->event);
    free(reader);
    return result;
}

void litellm_parts_free(struct litellm_parts *parts)
{
    for (size_t i = 0; i < parts->count; i++)
        free(parts->part[i].text);
    free(parts->part);
    *parts = (struct litellm_parts){0};
}
