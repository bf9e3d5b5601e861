/*
 * json_scan.c - see json_scan.h.
 *
 * Job: spans of JSON text, by position alone.  Owns nothing.  Invariants: no byte outside the text is
 * looked at, whatever stands there; nesting is bounded, and walked without recursion, so that hostile
 * brackets cost neither stack nor memory.
 * Not yajl: that refuses NaN, turns half a surrogate pair into a question mark, and does not say where a
 * value began.  If we die on any line nothing outside has changed.
 */
#include "common/json/json_scan.h"

#include "common/base/utf8.h"

#include <stdint.h>
#include <string.h>

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *digits(const char *at, const char *end)
{
    while (at < end && is_digit(*at))
        at++;
    return at;
}

/* Behind four hex digits; NULL: they are none. */
static const char *hex4(const char *at, const char *end, uint32_t *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++, at++) {
        uint32_t digit;

        if (at >= end)
            return NULL;
        if (is_digit(*at))
            digit = (uint32_t)(*at - '0');
        else if ((*at | 0x20) >= 'a' && (*at | 0x20) <= 'f')
            digit = (uint32_t)((*at | 0x20) - 'a') + 10;
        else
            return NULL;
        *code = *code << 4 | digit;
    }
    return at;
}

/* Behind the closing quote; `at` stands on the opening one.  NULL, with *wrong set: no string. */
static const char *skip_string(const char *at, const char *end, const char **wrong)
{
    uint32_t code;

    for (at++; at < end && *at != '"'; at++) {
        *wrong = at;
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at != '\\')
            continue;
        if (++at == end || !memchr("\"\\/bfnrtu", *at, 9))
            return NULL;
        if (*at == 'u') {
            at = hex4(at + 1, end, &code);
            if (at == NULL)
                return NULL;
            at--;
        }
    }
    *wrong = at;
    return at < end ? at + 1 : NULL;
}

static const char *skip_number(const char *at, const char *end)
{
    const char *first = at + (*at == '-'), *last = digits(first, end);

    if (last == first || (*first == '0' && last > first + 1))
        return NULL;
    if (last < end && *last == '.') {
        first = last + 1;
        last = digits(first, end);
        if (last == first)
            return NULL;
    }
    if (last < end && (*last == 'e' || *last == 'E')) {
        first = last + 1;
        first += first < end && (*first == '+' || *first == '-');
        last = digits(first, end);
        if (last == first)
            return NULL;
    }
    return last;
}

static const struct {
    const char *text;
    enum json_scan_kind kind;
} words[] = {{"null", JSON_SCAN_NULL},           {"true", JSON_SCAN_BOOL},
             {"false", JSON_SCAN_BOOL},          {"NaN", JSON_SCAN_NOT_FINITE},
             {"Infinity", JSON_SCAN_NOT_FINITE}, {"-Infinity", JSON_SCAN_NOT_FINITE}};

/* A value that is neither object nor array.  NULL, with *wrong set: there is none. */
static const char *skip_plain(const char *at, const char *end, enum json_scan_kind *kind, const char **wrong)
{
    *wrong = at;
    if (at == end)
        return NULL;
    if (*at == '"') {
        *kind = JSON_SCAN_STRING;
        return skip_string(at, end, wrong);
    }
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        size_t length = strlen(words[i].text);

        if ((size_t)(end - at) >= length && memcmp(at, words[i].text, length) == 0) {
            *kind = words[i].kind;
            return at + length;
        }
    }
    *kind = JSON_SCAN_NUMBER;
    return *at == '-' || is_digit(*at) ? skip_number(at, end) : NULL;
}

/* Behind `"key":`, on its value.  NULL: no such thing. */
static const char *skip_key(const char *at, const char *end, struct json_span *key, const char **wrong)
{
    const char *begin = at;

    *wrong = at;
    if (at == end || *at != '"')
        return NULL;
    at = skip_string(at, end, wrong);
    if (at == NULL)
        return NULL;
    *key = (struct json_span){begin, (size_t)(at - begin), JSON_SCAN_STRING};
    at = skip_space(at, end);
    *wrong = at;
    return at < end && *at == ':' ? skip_space(at + 1, end) : NULL;
}

/* Where a value is being skipped: the brackets that are open, innermost last. */
struct open {
    char bracket[JSON_SCAN_DEPTH];
    size_t depth;
};

/* Enters brackets as long as values begin with one.  Behind the first plain value or empty pair; NULL: no value. */
static const char *skip_in(const char *at, const char *end, struct open *open, const char **wrong)
{
    enum json_scan_kind kind;
    struct json_span key;

    while (at < end && (*at == '{' || *at == '[')) {
        char close = *at == '{' ? '}' : ']';

        *wrong = at;
        if (open->depth == JSON_SCAN_DEPTH)
            return NULL;
        at = skip_space(at + 1, end);
        if (at < end && *at == close)
            return at + 1;
        open->bracket[open->depth++] = close;
        if (close == '}')
            at = skip_key(at, end, &key, wrong);
        if (at == NULL)
            return NULL;
    }
    return skip_plain(at, end, &kind, wrong);
}

/* Closes brackets behind a value.  On the next value, with depth > 0; or behind all of it, with depth 0. */
static const char *skip_out(const char *at, const char *end, struct open *open, const char **wrong)
{
    struct json_span key;

    while (open->depth > 0) {
        char close = open->bracket[open->depth - 1];

        at = skip_space(at, end);
        *wrong = at;
        if (at == end || (*at != close && *at != ','))
            return NULL;
        if (*at == ',') {
            at = skip_space(at + 1, end);
            return close == '}' ? skip_key(at, end, &key, wrong) : at;
        }
        at++;
        open->depth--;
    }
    return at;
}

/* The value that begins at `at`; behind it.  NULL, with *wrong set: there is none. */
static const char *skip_value(const char *at, const char *end, struct json_span *value, const char **wrong)
{
    struct open open = {.depth = 0};

    value->at = at;
    value->kind = JSON_SCAN_NONE;
    *wrong = at;
    if (at < end && (*at == '{' || *at == '['))
        value->kind = *at == '{' ? JSON_SCAN_OBJECT : JSON_SCAN_ARRAY;
    else
        at = skip_plain(at, end, &value->kind, wrong);
    while (at != NULL && (value->kind == JSON_SCAN_OBJECT || value->kind == JSON_SCAN_ARRAY)) {
        at = skip_in(at, end, &open, wrong);
        if (at != NULL)
            at = skip_out(at, end, &open, wrong);
        if (open.depth == 0)
            break;
    }
    value->length = at != NULL ? (size_t)(at - value->at) : 0;
    return at;
}

int json_scan_whole(const char *text, size_t length, struct json_span *value, size_t *offset)
{
    const char *end = text + length, *wrong = text, *at;

    at = skip_value(skip_space(text, end), end, value, &wrong);
    if (at != NULL) {
        wrong = skip_space(at, end);
        if (wrong == end)
            return 0;
    }
    *offset = (size_t)(wrong - text);
    return -1;
}

/* --- walking --------------------------------------------------------------------------------------- */

void json_walk_begin(struct json_walk *walk, const struct json_span *value)
{
    walk->at = walk->end = value->at;
    if ((value->kind == JSON_SCAN_OBJECT || value->kind == JSON_SCAN_ARRAY) && value->length >= 2) {
        walk->at++;
        walk->end += value->length - 1;
    }
}

/* Over the comma behind a value; at the end where there is nothing to go on with. */
static void step(struct json_walk *walk, const char *behind)
{
    walk->at = behind != NULL ? skip_space(behind, walk->end) : walk->end;
    if (walk->at < walk->end)
        walk->at = *walk->at == ',' ? walk->at + 1 : walk->end;
}

bool json_walk_item(struct json_walk *walk, struct json_span *value)
{
    const char *wrong, *at = skip_space(walk->at, walk->end);

    at = at < walk->end ? skip_value(at, walk->end, value, &wrong) : NULL;
    step(walk, at);
    return at != NULL;
}

bool json_walk_member(struct json_walk *walk, struct json_span *key, struct json_span *value)
{
    const char *wrong, *at = skip_key(skip_space(walk->at, walk->end), walk->end, key, &wrong);

    at = at != NULL ? skip_value(at, walk->end, value, &wrong) : NULL;
    step(walk, at);
    return at != NULL;
}

/* --- strings --------------------------------------------------------------------------------------- */

bool json_span_is(const struct json_span *string, const char *word)
{
    size_t length = strlen(word);

    return string->kind == JSON_SCAN_STRING && string->length == length + 2 &&
           memcmp(string->at + 1, word, length) == 0;
}

static char *put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* `at` stands behind "\u".  Behind the escape, or both of a pair; NULL: half a pair, or none at all. */
static const char *take_escape(const char *at, const char *end, uint32_t *code)
{
    uint32_t low;

    at = hex4(at, end, code);
    if (at == NULL || *code < 0xd800 || *code > 0xdfff)
        return at;
    if (*code > 0xdbff || end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return NULL;
    at = hex4(at + 2, end, &low);
    if (at == NULL || low < 0xdc00 || low > 0xdfff)
        return NULL;
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return at;
}

int json_span_text(const struct json_span *string, char *to, size_t *length)
{
    static const char letters[] = "bfnrt", means[] = "\b\f\n\r\t";
    const char *at = string->at + 1, *end = string->at + string->length - 1;
    char *first = to;
    uint32_t code;

    if (string->kind != JSON_SCAN_STRING || string->length < 2)
        return -1;
    while (at < end) {
        const char *letter;

        if (*at != '\\') {
            *to++ = *at++;
            continue;
        }
        if (++at == end)
            return -1;
        letter = strchr(letters, *at);
        if (*at == 'u') {
            at = take_escape(at + 1, end, &code);
            if (at == NULL)
                return -1;
            to = put_utf8(to, code);
        } else {
            *to++ = letter != NULL && *letter ? means[letter - letters] : *at;
            at++;
        }
    }
    *length = (size_t)(to - first);
    return utf8_clean(first, *length) ? 0 : -1;
}
