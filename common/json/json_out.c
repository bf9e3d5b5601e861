/*
 * json_out.c - the JSON writer: a growing buffer and a stack of open containers.
 *
 * It owns its buffer and gives it out borrowed.  Written by hand and not by the library, so that
 * what only writes needs no library.  Bytes that are not UTF-8 become U+FFFD: what we write, any
 * reader takes.  Misuse (a key outside an object, an end too many, deeper than DEPTH_MAX) is a bug
 * of ours and aborts; so does running out of memory, as the text would be wrong without a word.
 */
#include "common/json/json.h"

#include "common/base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32
#define START_BYTES 256

struct level {
    bool object;
    bool filled;   /* something stands in it */
    bool expected; /* a key was written, its value is next */
};

struct json_out {
    char *text;
    size_t length, size;
    bool pretty;
    unsigned depth;
    struct level levels[DEPTH_MAX];
};

static void append(struct json_out *out, const char *text, size_t length)
{
    if (out->size - out->length <= length) {
        size_t size = out->size * 2 + length;
        char *grown = realloc(out->text, size);

        if (grown == NULL)
            bug("out of memory for %zu bytes of JSON", size);
        out->text = grown;
        out->size = size;
    }
    memcpy(out->text + out->length, text, length);
    out->length += length;
    out->text[out->length] = '\0';
}

static void new_line(struct json_out *out)
{
    if (!out->pretty)
        return;
    append(out, "\n", 1);
    for (unsigned i = 0; i < out->depth; i++)
        append(out, "  ", 2);
}

/* What stands between the thing before and the one that begins. */
static void separate(struct json_out *out)
{
    struct level *level = out->depth > 0 ? &out->levels[out->depth - 1] : NULL;

    if (level == NULL)
        return;
    if (level->filled)
        append(out, ",", 1);
    level->filled = true;
    new_line(out);
}

static void begin_value(struct json_out *out)
{
    struct level *level = out->depth > 0 ? &out->levels[out->depth - 1] : NULL;

    if (level != NULL && level->object) {
        if (!level->expected)
            bug("a JSON value without a key");
        level->expected = false;
        return;
    }
    separate(out);
}

static void escape(struct json_out *out, unsigned char c)
{
    static const char shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    char text[8];

    for (size_t i = 0; i + 1 < sizeof shorts; i += 2)
        if ((unsigned char)shorts[i] == c) {
            append(out, (char[]){'\\', shorts[i + 1]}, 2);
            return;
        }
    append(out, text, (size_t)snprintf(text, sizeof text, "\\u%04x", c));
}

static void quoted(struct json_out *out, const char *text, size_t length)
{
    size_t valid = 0, at = 0, plain;

    append(out, "\"", 1);
    while (at < length) {
        if (valid <= at)
            valid = at + utf8_valid_bytes(text + at, length - at);
        for (plain = at; plain < valid; plain++)
            if ((unsigned char)text[plain] < 0x20 || text[plain] == '"' || text[plain] == '\\' ||
                text[plain] == 0x7f)
                break;
        append(out, text + at, plain - at);
        at = plain;
        if (at < valid)
            escape(out, (unsigned char)text[at++]);
        else if (at < length) {
            append(out, "\xef\xbf\xbd", 3);
            at++;
        }
    }
    append(out, "\"", 1);
}

struct json_out *json_out_new(bool pretty)
{
    struct json_out *out = calloc(1, sizeof *out);

    if (out == NULL || (out->text = malloc(START_BYTES)) == NULL)
        bug("out of memory for a JSON writer");
    out->size = START_BYTES;
    out->text[0] = '\0';
    out->pretty = pretty;
    return out;
}

void json_out_free(struct json_out **out)
{
    if (*out == NULL)
        return;
    free((*out)->text);
    free(*out);
    *out = NULL;
}

static void open_level(struct json_out *out, bool object)
{
    begin_value(out);
    if (out->depth == DEPTH_MAX)
        bug("JSON deeper than %d", DEPTH_MAX);
    out->levels[out->depth++] = (struct level){.object = object};
    append(out, object ? "{" : "[", 1);
}

void json_object(struct json_out *out)
{
    open_level(out, true);
}

void json_array(struct json_out *out)
{
    open_level(out, false);
}

void json_end(struct json_out *out)
{
    struct level level;

    if (out->depth == 0)
        bug("json_end without a beginning");
    level = out->levels[--out->depth];
    if (level.filled)
        new_line(out);
    append(out, level.object ? "}" : "]", 1);
    if (out->depth == 0 && out->pretty)
        append(out, "\n", 1);
}

void json_key(struct json_out *out, const char *key)
{
    struct level *level = out->depth > 0 ? &out->levels[out->depth - 1] : NULL;

    if (level == NULL || !level->object || level->expected)
        bug("the JSON key %s has no place here", key);
    separate(out);
    quoted(out, key, strlen(key));
    append(out, out->pretty ? ": " : ":", out->pretty ? 2 : 1);
    level->expected = true;
}

void json_string(struct json_out *out, const char *text)
{
    json_bytes(out, text, strlen(text));
}

void json_bytes(struct json_out *out, const char *text, size_t length)
{
    begin_value(out);
    quoted(out, text, length);
}

void json_number(struct json_out *out, int64_t number)
{
    char text[24], *end = text + sizeof text, *at = end;
    uint64_t left = number < 0 ? -(uint64_t)number : (uint64_t)number;

    do
        *--at = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (number < 0)
        *--at = '-';
    begin_value(out);
    append(out, at, (size_t)(end - at));
}

void json_raw(struct json_out *out, const char *json, size_t length)
{
    begin_value(out);
    append(out, json, length);
}

void json_bool(struct json_out *out, bool value)
{
    begin_value(out);
    append(out, value ? "true" : "false", value ? 4 : 5);
}

void json_null(struct json_out *out)
{
    begin_value(out);
    append(out, "null", 4);
}

const char *json_text(struct json_out *out, size_t *length)
{
    if (length != NULL)
        *length = out->length;
    return out->text;
}

void json_clear(struct json_out *out)
{
    out->length = 0;
    out->depth = 0;
    out->text[0] = '\0';
}
