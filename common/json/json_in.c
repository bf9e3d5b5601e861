/*
 * json_in.c - the JSON reader: RFC 8259 and nothing else, in one pass over the text.
 *
 * Written by hand because it is the hottest loop of ingest: with yajl (and a byte at a time) an
 * aggregator read 150,000 events a second and did nothing else; so it reads four times that.  It
 * allocates nothing but the room for strings with escapes, which it keeps.  Numbers go on as they
 * were written: money never becomes a float.
 *
 * The text is checked as UTF-8 in front, eight bytes at a time; so are strings searched for what ends
 * them.  Open containers are one bit each (object or array) and there is no recursion: depth is the
 * handler's to bound, and an eighth of the text's length bounds the bits.  Nothing is read behind the end of the text: `at == end` is looked at
 * wherever a byte is.
 * Owns nothing of the caller's; the handler gets borrowed text.
 */
#include "common/json/json.h"

#include "common/base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define HIGH_BITS 0x8080808080808080ULL
#define ONES 0x0101010101010101ULL
#define OUTER_WORDS 16 /* to begin with: 1,024 levels */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first byte is the lowest");

struct json_text {
    const char *data;
    size_t length;
};

struct json_in {
    const struct json_handler *handler;
    void *arg;
    const char *text, *at, *end;
    size_t depth;    /* open containers */
    bool in_object;  /* the innermost of them is an object */
    uint64_t *outer; /* bit n: container n is an object */
    size_t outer_words;
    char *plain; /* a string without its escapes */
    size_t plain_size;
    struct err *err;
};

struct json_in *json_in_new(const struct json_handler *handler, void *arg)
{
    struct json_in *in = calloc(1, sizeof *in);

    if (in == NULL)
        bug("out of memory for a JSON reader");
    in->handler = handler;
    in->arg = arg;
    in->outer = calloc(OUTER_WORDS, sizeof *in->outer);
    in->outer_words = OUTER_WORDS;
    if (in->outer == NULL)
        bug("out of memory for a JSON reader");
    return in;
}

void json_in_free(struct json_in **in)
{
    if (*in == NULL)
        return;
    free((*in)->plain);
    free((*in)->outer);
    free(*in);
    *in = NULL;
}

static bool wrong(struct json_in *in, const char *at, const char *why)
{
    in->at = at;
    err_set(in->err, "%s", at == in->end ? "the text ends too early" : why);
    return false;
}

/* What a handler said. */
static bool unless_stopped(struct json_in *in, bool go_on)
{
    if (!go_on)
        err_set(in->err, "stopped");
    return go_on;
}

static void skip_space(struct json_in *in)
{
    while (in->at < in->end &&
           (*in->at == ' ' || *in->at == '\n' || *in->at == '\r' || *in->at == '\t'))
        in->at++;
}

/* The high bit of each byte that is zero; exact for the lowest such byte. */
static uint64_t zero_bytes(uint64_t word)
{
    return (word - ONES) & ~word & HIGH_BITS;
}

/* The first byte that is not simply part of a string: a quote, a backslash or a control character. */
static const char *string_plain(const char *at, const char *end)
{
    uint64_t word, hit;

    for (; end - at >= 8; at += 8) {
        memcpy(&word, at, 8);
        hit = zero_bytes(word ^ (ONES * '"')) | zero_bytes(word ^ (ONES * '\\')) |
              ((word - ONES * 0x20) & ~word & HIGH_BITS);
        if (hit != 0)
            return at + __builtin_ctzll(hit) / 8;
    }
    while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20)
        at++;
    return at;
}

/* The four hex digits at `at`; -1: not that. */
static int hex_unit(const char *at, const char *end)
{
    int unit = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i], lower = (char)(c | 0x20);

        if (c >= '0' && c <= '9')
            unit = unit << 4 | (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            unit = unit << 4 | (lower - 'a' + 10);
        else
            return -1;
    }
    return unit;
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

/* "\uXXXX", or two of them that are a pair, at in->at; NULL: wrong. */
static char *put_unit(struct json_in *in, char *to)
{
    const char *start = in->at;
    int unit = hex_unit(start + 2, in->end), low = -1;

    if (unit < 0) {
        wrong(in, start, "\\u without four hex digits");
        return NULL;
    }
    in->at += 6;
    if (unit < 0xd800 || unit > 0xdfff)
        return put_utf8(to, (uint32_t)unit);
    if (unit < 0xdc00 && in->end - in->at >= 6 && in->at[0] == '\\' && in->at[1] == 'u')
        low = hex_unit(in->at + 2, in->end);
    if (low < 0xdc00 || low > 0xdfff) {
        wrong(in, start, "half of a surrogate pair");
        return NULL;
    }
    in->at += 6;
    return put_utf8(to, 0x10000 + (((uint32_t)unit - 0xd800) << 10) + ((uint32_t)low - 0xdc00));
}

/* The escape at in->at, whose backslash is there; NULL: wrong. */
static char *put_escape(struct json_in *in, char *to)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *which;

    if (in->end - in->at < 2) {
        wrong(in, in->end, "");
        return NULL;
    }
    if (in->at[1] == 'u')
        return put_unit(in, to);
    which = in->at[1] == '\0' ? NULL : strchr(names, in->at[1]);
    if (which == NULL) {
        wrong(in, in->at, "an escape that JSON does not have");
        return NULL;
    }
    *to++ = values[which - names];
    in->at += 2;
    return to;
}

/* Room for any string that begins at `start`: its escapes only make it shorter. */
static bool make_room(struct json_in *in, const char *start)
{
    size_t most = (size_t)(in->end - start);
    char *grown;

    if (in->plain_size >= most)
        return true;
    grown = realloc(in->plain, most);
    if (grown == NULL) {
        in->at = start;
        err_set(in->err, "out of memory");
        return false;
    }
    in->plain = grown;
    in->plain_size = most;
    return true;
}

/* A string that has an escape at in->at.  in->at is left at what ends it. */
static bool unescape(struct json_in *in, const char *start, struct json_text *string)
{
    char *to;

    if (!make_room(in, start))
        return false;
    to = in->plain;
    for (;;) {
        memcpy(to, start, (size_t)(in->at - start));
        to += in->at - start;
        if (in->at == in->end || *in->at != '\\')
            break;
        to = put_escape(in, to);
        if (to == NULL)
            return false;
        start = in->at;
        in->at = string_plain(start, in->end);
    }
    *string = (struct json_text){in->plain, (size_t)(to - in->plain)};
    return true;
}

/* The string whose opening quote is at in->at. */
static bool take_string(struct json_in *in, struct json_text *string)
{
    const char *start = ++in->at;

    in->at = string_plain(start, in->end);
    *string = (struct json_text){start, (size_t)(in->at - start)};
    if (in->at < in->end && *in->at == '\\' && !unescape(in, start, string))
        return false;
    if (in->at == in->end || *in->at != '"')
        return wrong(in, in->at, "a control character in a string");
    in->at++;
    return true;
}

static bool digits(const char **at, const char *end)
{
    const char *start = *at;

    while (*at < end && **at >= '0' && **at <= '9')
        (*at)++;
    return *at > start;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool take_number(struct json_in *in)
{
    const char *at = in->at, *end = in->end, *start = at;

    at += *at == '-';
    if (at < end && *at == '0')
        at++;
    else if (!digits(&at, end))
        return wrong(in, at, "no digit where a number must have one");
    if (at < end && *at == '.') {
        at++;
        if (!digits(&at, end))
            return wrong(in, at, "no digit where a number must have one");
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        if (!digits(&at, end))
            return wrong(in, at, "no digit where a number must have one");
    }
    in->at = at;
    return unless_stopped(in, in->handler->number(in->arg, start, (size_t)(at - start)));
}

static bool is_word(struct json_in *in, const char *word, size_t length)
{
    if ((size_t)(in->end - in->at) < length || memcmp(in->at, word, length) != 0)
        return false;
    in->at += length;
    return true;
}

static bool take_word(struct json_in *in)
{
    if (is_word(in, "null", 4))
        return unless_stopped(in, in->handler->null(in->arg));
    if (is_word(in, "true", 4))
        return unless_stopped(in, in->handler->boolean(in->arg, true));
    if (is_word(in, "false", 5))
        return unless_stopped(in, in->handler->boolean(in->arg, false));
    return wrong(in, in->at, "no JSON value begins so");
}

/* The innermost container becomes an outer one. */
static bool remember_outer(struct json_in *in)
{
    size_t word = in->depth / 64;
    uint64_t bit = UINT64_C(1) << in->depth % 64;

    if (word == in->outer_words) {
        uint64_t *grown = realloc(in->outer, 2 * in->outer_words * sizeof *grown);

        if (grown == NULL) {
            err_set(in->err, "out of memory");
            return false;
        }
        in->outer = grown;
        in->outer_words *= 2;
    }
    in->outer[word] = in->in_object ? in->outer[word] | bit : in->outer[word] & ~bit;
    return true;
}

static bool open_container(struct json_in *in, bool object)
{
    bool go_on;

    if (!remember_outer(in))
        return false;
    in->depth++;
    in->in_object = object;
    in->at++;
    go_on = object ? in->handler->start_object(in->arg) : in->handler->start_array(in->arg);
    return unless_stopped(in, go_on);
}

static bool close_container(struct json_in *in)
{
    bool object = in->in_object;

    in->at++;
    in->depth--;
    in->in_object = (in->outer[in->depth / 64] >> in->depth % 64 & 1) != 0;
    return unless_stopped(in, object ? in->handler->end_object(in->arg)
                                     : in->handler->end_array(in->arg));
}

/* A key and its colon. */
static bool take_key(struct json_in *in)
{
    struct json_text key;

    skip_space(in);
    if (in->at == in->end || *in->at != '"')
        return wrong(in, in->at, "no key where an object must have one");
    if (!take_string(in, &key) ||
        !unless_stopped(in, in->handler->key(in->arg, key.data, key.length)))
        return false;
    skip_space(in);
    if (in->at == in->end || *in->at != ':')
        return wrong(in, in->at, "no colon behind a key");
    in->at++;
    return true;
}

static bool closes(const struct json_in *in)
{
    return in->at < in->end && *in->at == (in->in_object ? '}' : ']');
}

/* Behind a value: to the place of the next one, or out of everything. */
static bool take_next(struct json_in *in)
{
    while (in->depth > 0) {
        skip_space(in);
        if (in->at < in->end && *in->at == ',') {
            in->at++;
            return !in->in_object || take_key(in);
        }
        if (!closes(in))
            return wrong(in, in->at, "neither a comma nor the end of what is open");
        if (!close_container(in))
            return false;
    }
    return true;
}

/* Behind an opening bracket. */
static bool take_first(struct json_in *in)
{
    skip_space(in);
    if (closes(in))
        return close_container(in) && take_next(in);
    return !in->in_object || take_key(in);
}

/* A value, and on to the place of the next one. */
static bool take_value(struct json_in *in)
{
    struct json_text string;

    skip_space(in);
    if (in->at == in->end)
        return wrong(in, in->at, "");
    switch (*in->at) {
    case '"':
        return take_string(in, &string) &&
               unless_stopped(in, in->handler->string(in->arg, string.data, string.length)) &&
               take_next(in);
    case '{':
        return open_container(in, true) && take_first(in);
    case '[':
        return open_container(in, false) && take_first(in);
    case '-':
    case '0' ... '9':
        return take_number(in) && take_next(in);
    default:
        return take_word(in) && take_next(in);
    }
}

static bool take_document(struct json_in *in)
{
    do {
        if (!take_value(in))
            return false;
    } while (in->depth > 0);
    skip_space(in);
    if (in->at < in->end)
        return wrong(in, in->at, "something follows the value");
    return true;
}

int json_parse(struct json_in *in, const char *text, size_t length, size_t *offset, struct err *err)
{
    bool whole;

    *offset = utf8_valid_bytes(text, length);
    if (*offset < length)
        return err_set(err, "invalid UTF-8");
    in->text = in->at = text;
    in->end = text + length;
    in->depth = 0;
    in->in_object = false;
    in->err = err;
    whole = take_document(in);
    in->err = NULL;
    *offset = (size_t)(in->at - text);
    return whole ? 0 : -1;
}

size_t json_position(const struct json_in *in)
{
    return (size_t)(in->at - in->text);
}
