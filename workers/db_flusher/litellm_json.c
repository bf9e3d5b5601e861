/*
 * litellm_json.c - an event's metadata as jsonb takes it, with the event's id in it.
 *
 * An event's metadata is valid JSON, but jsonb refuses some of it: \u0000, lone surrogates, numbers beyond
 * numeric.  What is in it often comes from a client's header; so that no client can make PostgreSQL refuse
 * rows one after the other, such characters become U+FFFD (same length), and an object with such a number or
 * of great depth is left out, which the row then says.
 * Our member is the last one: of two members of one name jsonb keeps the last.
 * Pure; dying here loses nothing.
 */
#include "workers/db_flusher/litellm_inside.h"

#include "workers/db_flusher/merge.h"

#include <string.h>

#define DEPTH_MOST 256
#define NUMBER_MOST 300 /* bytes of a number, and the largest exponent: far within numeric */

struct walk {
    char *at, *end;
    unsigned depth;
    bool refused;
};

static int hex(const char *from)
{
    int value = 0;

    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *at = from[i] ? strchr(digits, from[i] | 0x20) : NULL;

        if (!at)
            return -1;
        value = value << 4 | (int)(at - digits);
    }
    return value;
}

static bool escape_at(const struct walk *walk, const char *at)
{
    return walk->end - at >= 6 && at[0] == '\\' && at[1] == 'u';
}

/* At "\uXXXX". */
static void unicode(struct walk *walk)
{
    int code = hex(walk->at + 2), low = -1;
    bool pair;

    if (code >= 0xd800 && code < 0xdc00 && escape_at(walk, walk->at + 6))
        low = hex(walk->at + 8);
    pair = low >= 0xdc00 && low < 0xe000;
    if (code <= 0 || (code >= 0xd800 && code < 0xe000 && !pair))
        memcpy(walk->at + 2, "fffd", 4);
    walk->at += pair ? 12 : 6;
}

/* Behind the opening quote, to behind the closing one. */
static void string(struct walk *walk)
{
    while (walk->at < walk->end && *walk->at != '"') {
        if (escape_at(walk, walk->at))
            unicode(walk);
        else
            walk->at += *walk->at == '\\' ? 2 : 1;
    }
    walk->at++;
}

static void number(struct walk *walk)
{
    const char *start = walk->at, *exponent = NULL;
    int power = 0;

    for (; walk->at < walk->end && strchr("0123456789+-.eE", *walk->at) && *walk->at; walk->at++) {
        if (*walk->at == 'e' || *walk->at == 'E')
            exponent = walk->at;
        else if (exponent && *walk->at >= '0' && *walk->at <= '9' && power <= NUMBER_MOST)
            power = 10 * power + *walk->at - '0';
    }
    walk->refused |= walk->at - start > NUMBER_MOST || power > NUMBER_MOST;
}

static void value(struct walk *walk)
{
    char c = *walk->at;

    if (c == '-' || (c >= '0' && c <= '9')) {
        number(walk);
        return;
    }
    walk->at++;
    if (c == '"')
        string(walk);
    walk->depth += c == '{' || c == '[';
    walk->depth -= c == '}' || c == ']';
    walk->refused |= walk->depth > DEPTH_MOST;
}

static bool walks(char *data, size_t length)
{
    struct walk walk = {.at = data, .end = data + length};

    while (walk.at < walk.end && !walk.refused)
        value(&walk);
    return !walk.refused;
}

bool litellm_json(struct text *to, struct slice object, struct slice event_id)
{
    char id[6 * (EVENT_LABEL_MAX + 1) + 2];
    size_t length = object.length, start = to->used;
    bool kept = true, empty;

    while (length > 0 && object.data[length - 1] != '}')
        length--;
    while (length > 0 && *object.data != '{') {
        object.data++;
        length--;
    }
    text_add(to, length ? object.data : "{}", length ? length : 2);
    if (to->failed)
        return true;
    if (!walks(to->data + start, to->used - start)) {
        to->used = start;
        text_put(to, "{\"spendd_metadata\": \"left out: jsonb does not take it\"}");
        kept = false;
    }
    if (to->failed)
        return true;
    to->used--; /* the closing brace */
    empty = strspn(to->data + start + 1, " \t\r\n") == to->used - start - 1;
    text_put(to, empty ? "\"spendd_event_id\": " : ", \"spendd_event_id\": ");
    text_add(to, id, merge_json_text(event_id, id));
    text_put(to, "}");
    return kept;
}
