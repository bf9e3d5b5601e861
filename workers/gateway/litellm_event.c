/*
 * litellm_event.c - one StandardLoggingPayload's values, by the table litellm_fields.def, and the event that they make.
 * See litellm_event.h.
 *
 * Much of a payload comes from the client of a gateway, so nothing in it may make an event be refused, or two
 * requests one event: that would be a way not to be counted.  Therefore
 *   - event_id is a hash of the answer's id, litellm_call_id and the start time together: a client may choose
 *     litellm_call_id (x-litellm-call-id), a provider repeats ids, a failed attempt shares the call's id;
 *     the same payload, sent again, has the same;
 *   - labels are cut to what an event can hold (with a hash of the whole behind, as the aggregator does), control
 *     characters become spaces, tags beyond the bound are left out, counts that are none are 0.
 * Money is the text that LiteLLM wrote.  Pure.  If we die on any line nothing outside has changed.
 */
#include "workers/gateway/litellm_event.h"

#include "common/base/utf8.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MOST 300 /* more than a label keeps, so that the aggregator cuts (and counts) it too */
#define ID_MOST 256
#define TAG_MOST 200
#define TAGS_MOST 64
#define DIGITS_MOST 12

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

struct litellm_event {
    struct json_out *tags;
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

/* NULL: nobody wants what is there. */
static const struct row *row_of(const char *path)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].path, path) == 0)
            return &rows[i];
    return NULL;
}

void litellm_event_keep(struct litellm_event *event, const char *path, const char *text, size_t length, bool number)
{
    const struct row *row = row_of(path);
    struct value *value = row != NULL ? &event->value[row - rows] : NULL;

    if (row == NULL || row->kind == TAGS || row->kind == BOOL || length == 0)
        return;
    if (row->kind == COUNT && !(number && is_count(text, length)))
        return;
    if (row->kind == NUMBER && length > TEXT_MOST)
        return;
    value->number = number;
    value->bytes = shorten(text, length, row->kind == ID ? ID_MOST : TEXT_MOST, value->text);
}

void litellm_event_flag(struct litellm_event *event, const char *path, bool yes)
{
    const struct row *row = row_of(path);
    struct value *value = row != NULL ? &event->value[row - rows] : NULL;

    if (row != NULL && row->kind == BOOL)
        value->bytes = (size_t)snprintf(value->text, sizeof value->text, "%s", yes ? "true" : "false");
}

void litellm_event_item(struct litellm_event *event, const char *path, const char *text, size_t length)
{
    const struct row *row = row_of(path);
    char tag[TAG_MOST + 1];
    size_t bytes = shorten(text, length, TAG_MOST, tag);

    if (row == NULL || row->kind != TAGS || bytes == 0 || ++event->tag_count > TAGS_MOST)
        return;
    json_bytes(event->tags, tag, bytes);
}

/* --- an event ----------------------------------------------------------------------------------------- */

static const struct value *value_of(const struct litellm_event *event, const char *path)
{
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].path, path) == 0)
            return &event->value[i];
    bug("no row %s", path);
}

static void put_event_id(const struct litellm_event *event, struct json_out *out)
{
    static const char *const from[] = {"id", "litellm_call_id", "startTime", "status"};
    unsigned char hash[crypto_hash_sha256_BYTES];
    char text[16 + 2 * 16 + 1] = "litellm:";
    crypto_hash_sha256_state state;

    crypto_hash_sha256_init(&state);
    for (size_t i = 0; i < COUNT_OF(from); i++) {
        const struct value *value = value_of(event, from[i]);

        crypto_hash_sha256_update(&state, (const unsigned char *)value->text, value->bytes);
        crypto_hash_sha256_update(&state, (const unsigned char *)"", 1);
    }
    crypto_hash_sha256_final(&state, hash);
    sodium_bin2hex(text + strlen(text), 2 * 16 + 1, hash, 16);
    json_key(out, "event_id");
    json_string(out, text);
}

static void put_value(const struct litellm_event *event, struct json_out *out, size_t row)
{
    const struct value *value = &event->value[row];
    enum kind kind = rows[row].kind;

    json_key(out, rows[row].field);
    if (kind == COUNT || kind == BOOL || (kind == NUMBER && value->number))
        json_raw(out, value->text, value->bytes);
    else
        json_bytes(out, value->text, value->bytes);
}

static void put_tags(const struct litellm_event *event, struct json_out *out)
{
    size_t bytes;
    const char *text;

    json_end(event->tags);
    text = json_text(event->tags, &bytes);
    if (event->tag_count == 0)
        return;
    json_key(out, "tags");
    json_raw(out, text, bytes);
}

static void put_metadata(const struct litellm_event *event, struct json_out *out)
{
    json_key(out, "metadata");
    json_object(out);
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].kind == META && event->value[i].bytes > 0)
            put_value(event, out, i);
    json_end(out);
}

void litellm_event_write(const struct litellm_event *event, struct json_out *out)
{
    const char *last = "";

    json_object(out);
    put_event_id(event, out);
    if (value_of(event, "response_cost")->bytes == 0) {
        json_key(out, "spend"); /* null: it cost nothing, as LiteLLM counts */
        json_number(out, 0);
    }
    for (size_t i = 0; i < ROWS; i++) {
        /* The first row of a field that has a value. */
        if (rows[i].kind == META || rows[i].kind == TAGS || event->value[i].bytes == 0 ||
            strcmp(last, rows[i].field) == 0)
            continue;
        last = rows[i].field;
        if (rows[i].kind != FAILED || strcmp(event->value[i].text, "failure") == 0)
            put_value(event, out, i);
    }
    put_tags(event, out);
    put_metadata(event, out);
    json_end(out);
}

/* --- its life ----------------------------------------------------------------------------------------- */

void litellm_event_begin(struct litellm_event *event)
{
    memset(event->value, 0, sizeof event->value);
    event->tag_count = 0;
    json_clear(event->tags);
    json_array(event->tags);
}

struct litellm_event *litellm_event_new(void)
{
    struct litellm_event *event = calloc(1, sizeof *event);

    if (event == NULL)
        bug("no memory for an event");
    event->tags = json_out_new(false);
    return event;
}

void litellm_event_free(struct litellm_event **event)
{
    if (*event == NULL)
        return;
    json_out_free(&(*event)->tags);
    free(*event);
    *event = NULL;
}
