/*
 * read.c - JSON messages -> events: the hot path of ingest.  See read.h for what a message may be, and
 * reader.h for the files that read one.
 *
 * Owns the reader and its memory; decides whether a message is one value or lines.  Pure.
 */
#include "common/event/read.h"

#include "common/event/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for every text that is not borrowed: the escaped ones are no longer than the event, and each
 * label or tag may be cut or hashed once. */
#define SCRATCH_EXTRA ((EVENT_FIELDS + 4 * EVENT_TAGS_MAX) * (size_t)LABEL_SHORT_MAX)

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
    reader->json = json_in_new(&reader_handler, reader);
    reader->keys = json_keys_new();
    reader_learn_names(reader);
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
