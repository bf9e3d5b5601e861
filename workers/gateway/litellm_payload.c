/*
 * litellm_payload.c - StandardLoggingPayload -> event, by the table litellm_fields.def.  See litellm_payload.h.
 *
 * What a payload says beyond the table (prompts, answers, headers) is passed over as it is read, never kept.
 * Much of it comes from the client of a gateway, so nothing in it may make an event be refused, or two
 * requests one event: that would be a way not to be counted.  Therefore
 *   - event_id is a hash of the answer's id, litellm_call_id and the start time together: a client may choose
 *     litellm_call_id (x-litellm-call-id), a provider repeats ids, a failed attempt shares the call's id;
 *     the same payload, sent again, has the same;
 *   - labels are cut to what an event can hold (with a hash of the whole behind, as the aggregator does), control
 *     characters become spaces, tags beyond the bound are left out, counts that are none are 0.
 * Money is the text that LiteLLM wrote.  Pure.  If we die on any line nothing outside has changed.
 */
#include "workers/gateway/litellm_payload.h"

#include "common/base/utf8.h"
#include "common/json/json.h"

#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MOST 300 /* more than a label keeps, so that the aggregator cuts (and counts) it too */
#define ID_MOST 256
#define TAG_MOST 200
#define TAGS_MOST 64
#define DIGITS_MOST 12
#define PATH_BYTES 96
#define DEPTH_LOOKED 4 /* of an element: deeper there is no field of the table */

enum kind { ID, TEXT, NUMBER, COUNT, TAGS, BOOL, META, FAILED };

static const struct row {
    const char *path;
    enum kind kind;
    const char *field;
} rows[] = {
#define FIELD(path, kind, field) {path, kind, field},
#include "workers/gateway/litellm_fields.def"
#undef FIELD
};

#define ROWS COUNT_OF(rows)

struct value {
    char text[TEXT_MOST + 1];
    size_t bytes; /* 0: none */
    bool number;  /* it was written as one */
};

struct reader {
    struct json_in *in;
    struct json_out *out, *one, *tags; /* the part, an event of it, its tags */
    struct litellm_parts *parts;
    size_t most;
    uint32_t index, first; /* of the event in hand; of the part's first */
    unsigned depth;        /* containers that are open */
    unsigned base;         /* 1: the elements lie in an array */
    unsigned arrays;       /* of those that are open within the element */
    char path[PATH_BYTES]; /* of the value that comes next, within the element */
    size_t ends[DEPTH_LOOKED + 1]; /* of the path, at each depth */
    unsigned tag_count;
    struct value value[ROWS];
};

/* --- values ------------------------------------------------------------------------------------------- */

/* At most `most` bytes; what is longer ends with a hash of the whole. */
static size_t shorten(const char *text, size_t length, size_t most, char *to)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    size_t kept = length;

    if (length > most) {
        crypto_hash_sha256(hash, (const unsigned char *)text, length);
        kept = utf8_cut(text, length, most - 17);
    }
    memcpy(to, text, kept);
    for (size_t i = 0; i < kept; i++)
        if ((unsigned char)to[i] < 0x20 || to[i] == 0x7f)
            to[i] = ' ';
    if (length > most) {
        to[kept++] = '~';
        for (int i = 0; i < 8; i++, kept += 2)
            snprintf(to + kept, 3, "%02x", hash[i]);
    }
    to[kept] = '\0';
    return kept;
}

static bool is_count(const char *text, size_t length)
{
    return length >= 1 && length <= DIGITS_MOST && strspn(text, "0123456789") >= length;
}

/* The row of the value that comes now; NULL: nobody wants it. */
static const struct row *row_here(const struct reader *reader)
{
    if (reader->depth == reader->base || reader->depth - reader->base > DEPTH_LOOKED || reader->arrays > 0)
        return NULL;
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].path, reader->path) == 0)
            return &rows[i];
    return NULL;
}

static void keep(struct reader *reader, const char *text, size_t length, bool number)
{
    const struct row *row = row_here(reader);
    struct value *value = row != NULL ? &reader->value[row - rows] : NULL;

    if (row == NULL || row->kind == TAGS || row->kind == BOOL || length == 0)
        return;
    if (row->kind == COUNT && !(number && is_count(text, length)))
        return;
    if (row->kind == NUMBER && length > TEXT_MOST)
        return;
    value->number = number;
    value->bytes = shorten(text, length, row->kind == ID ? ID_MOST : TEXT_MOST, value->text);
}

static void keep_tag(struct reader *reader, const char *text, size_t length)
{
    char tag[TAG_MOST + 1];
    size_t bytes = shorten(text, length, TAG_MOST, tag);

    if (bytes == 0 || ++reader->tag_count > TAGS_MOST)
        return;
    json_bytes(reader->tags, tag, bytes);
}

/* --- an event ----------------------------------------------------------------------------------------- */

static const struct value *value_of(const struct reader *reader, const char *path)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].path, path) == 0)
            return &reader->value[i];
    bug("no row %s", path);
}

static void put_event_id(struct reader *reader)
{
    static const char *const from[] = {"id", "litellm_call_id", "startTime", "status"};
    unsigned char hash[crypto_hash_sha256_BYTES];
    char text[16 + 2 * 16 + 1] = "litellm:";
    crypto_hash_sha256_state state;

    crypto_hash_sha256_init(&state);
    for (size_t i = 0; i < COUNT_OF(from); i++) {
        const struct value *value = value_of(reader, from[i]);

        crypto_hash_sha256_update(&state, (const unsigned char *)value->text, value->bytes);
        crypto_hash_sha256_update(&state, (const unsigned char *)"", 1);
    }
    crypto_hash_sha256_final(&state, hash);
    sodium_bin2hex(text + strlen(text), 2 * 16 + 1, hash, 16);
    json_key(reader->one, "event_id");
    json_string(reader->one, text);
}

static void put_value(struct reader *reader, size_t row)
{
    const struct value *value = &reader->value[row];
    enum kind kind = rows[row].kind;

    json_key(reader->one, rows[row].field);
    if (kind == COUNT || kind == BOOL || (kind == NUMBER && value->number))
        json_raw(reader->one, value->text, value->bytes);
    else
        json_bytes(reader->one, value->text, value->bytes);
}

static void put_tags(struct reader *reader)
{
    size_t bytes;
    const char *text;

    json_end(reader->tags);
    text = json_text(reader->tags, &bytes);
    if (reader->tag_count == 0)
        return;
    json_key(reader->one, "tags");
    json_raw(reader->one, text, bytes);
}

static void put_metadata(struct reader *reader)
{
    json_key(reader->one, "metadata");
    json_object(reader->one);
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].kind == META && reader->value[i].bytes > 0)
            put_value(reader, i);
    json_end(reader->one);
}

static void write_event(struct reader *reader)
{
    const char *last = "";

    json_object(reader->one);
    put_event_id(reader);
    if (value_of(reader, "response_cost")->bytes == 0) {
        json_key(reader->one, "spend"); /* null: it cost nothing, as LiteLLM counts */
        json_number(reader->one, 0);
    }
    for (size_t i = 0; i < ROWS; i++) {
        /* The first row of a field that has a value. */
        if (rows[i].kind == META || rows[i].kind == TAGS || reader->value[i].bytes == 0 ||
            strcmp(last, rows[i].field) == 0)
            continue;
        last = rows[i].field;
        if (rows[i].kind != FAILED || strcmp(reader->value[i].text, "failure") == 0)
            put_value(reader, i);
    }
    put_tags(reader);
    put_metadata(reader);
    json_end(reader->one);
}

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
    memset(reader->value, 0, sizeof reader->value);
    reader->path[0] = '\0';
    reader->ends[0] = 0;
    reader->arrays = 0;
    reader->tag_count = 0;
    json_clear(reader->tags);
    json_array(reader->tags);
    json_clear(reader->one);
}

/* --- the reader's functions --------------------------------------------------------------------------- */

static bool at_element(const struct reader *reader)
{
    return reader->depth == reader->base;
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
    const struct row *row = row_here(reader);

    if (at_element(reader))
        add_nothing(reader);
    else if (row != NULL && row->kind == BOOL)
        reader->value[row - rows].bytes =
            (size_t)snprintf(reader->value[row - rows].text, TEXT_MOST, "%s", yes ? "true" : "false");
    return true;
}

static bool on_number(void *arg, const char *text, size_t length)
{
    struct reader *reader = arg;

    if (at_element(reader))
        add_nothing(reader);
    else
        keep(reader, text, length, true);
    return true;
}

static bool on_string(void *arg, const char *text, size_t length)
{
    struct reader *reader = arg;

    if (at_element(reader))
        add_nothing(reader);
    else if (reader->arrays == 1 && reader->depth == reader->base + 2 && strcmp(reader->path, "request_tags") == 0)
        keep_tag(reader, text, length);
    else
        keep(reader, text, length, false);
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
    if (used + length + 2 > sizeof reader->path || memchr(text, '\0', length) != NULL ||
        (level > 1 && used == 0)) {
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
        write_event(reader);
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
        if (at[strspn(at, " \t\r")] == '[' || (parse(reader, at, (size_t)(next - at), &err) != 0 && reader->index == before))
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

int litellm_payload_read(char *text, size_t length, size_t most, struct litellm_parts *parts, struct err *err)
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
    reader->tags = json_out_new(false);
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
    json_out_free(&reader->tags);
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
