/*
 * log_fields.c - the pairs of a log line.  See log_fields.h.
 *
 * The format is ours and is trusted; every argument may come from outside.  So the pairs are cut from the
 * format, and an argument can never end its value or begin another pair: each conversion is carried out by
 * itself, into its value's place, and the value is escaped as a whole.  A conversion that is not known ends
 * the walk (what follows it on the stack is not known either); the compiler checks formats, tests the set.
 *
 * Pure.  If we die on any line nothing outside has changed.
 */
#include "common/base/log_fields.h"

#include "common/base/utf8.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SPEC_BYTES 48
#define WIDTH_MOST 4096

struct spec {
    char text[SPEC_BYTES]; /* as snprintf takes it, with `*` replaced */
    size_t length;
    int longs; /* 1 l, 2 ll or j, 3 z or t; else 0 */
    char conversion;
};

static void spec_put(struct spec *spec, char c)
{
    if (spec->length + 1 < sizeof spec->text)
        spec->text[spec->length++] = c;
    spec->text[spec->length] = '\0';
}

static void spec_star(struct spec *spec, int number)
{
    int room = (int)(sizeof spec->text - spec->length);
    int used;

    if (number < 0) /* "as if there were none" */
        number = 0;
    used = snprintf(spec->text + spec->length, (size_t)room, "%d",
                    number < WIDTH_MOST ? number : WIDTH_MOST);
    if (used > 0 && used < room)
        spec->length += (size_t)used;
}

/* Behind the '%': what stands there, and where it ends. */
static void spec_read(struct log_walk *walk, struct spec *spec)
{
    *spec = (struct spec){.text = "%", .length = 1};
    for (; *walk->at != '\0' && strchr("-+ #0.*123456789", *walk->at) != NULL; walk->at++) {
        if (*walk->at == '*')
            spec_star(spec, va_arg(walk->arguments, int));
        else
            spec_put(spec, *walk->at);
    }
    for (; *walk->at != '\0' && strchr("hlzjt", *walk->at) != NULL; walk->at++) {
        if (*walk->at == 'l')
            spec->longs++;
        else if (*walk->at != 'h')
            spec->longs = *walk->at == 'j' ? 2 : 3;
        spec_put(spec, *walk->at);
    }
    spec->conversion = *walk->at;
    if (*walk->at != '\0')
        spec_put(spec, *walk->at++);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static int convert_whole(struct log_walk *walk, const struct spec *spec, char *to, size_t size)
{
    switch (spec->longs) {
    case 0:
        return snprintf(to, size, spec->text, va_arg(walk->arguments, int));
    case 1:
        return snprintf(to, size, spec->text, va_arg(walk->arguments, long));
    case 2:
        return snprintf(to, size, spec->text, va_arg(walk->arguments, long long));
    default:
        return snprintf(to, size, spec->text, va_arg(walk->arguments, size_t));
    }
}

/* Bytes it would have taken; -1: not a conversion that we know. */
static int convert(struct log_walk *walk, const struct spec *spec, char *to, size_t size)
{
    const char *text;

    if (spec->conversion == '%')
        return snprintf(to, size, "%%");
    if (strchr("diuxXoc", spec->conversion) != NULL && spec->conversion != '\0')
        return convert_whole(walk, spec, to, size);
    if (spec->conversion == 's') {
        text = va_arg(walk->arguments, const char *);
        return snprintf(to, size, spec->text, text != NULL ? text : "(null)");
    }
    if (spec->conversion == 'p')
        return snprintf(to, size, spec->text, va_arg(walk->arguments, void *));
    if (strchr("feg", spec->conversion) != NULL && spec->conversion != '\0')
        return snprintf(to, size, spec->text, va_arg(walk->arguments, double));
    return -1;
}
#pragma GCC diagnostic pop

/* A password in a URL or in connection keywords, wherever the text comes from: PostgreSQL's and Redis' own
 * error texts repeat what they were given.  What is masked keeps its length to itself. */
static void mask(char *from, const char *stop)
{
    size_t length = (size_t)(stop - from);

    if (length > 3) {
        memcpy(from, "***", 3);
        memmove(from + 3, stop, strlen(stop) + 1);
    } else {
        memset(from, '*', length);
    }
}

static void mask_passwords(char *text)
{
    for (char *at = strstr(text, "://"); at != NULL; at = strstr(at, "://")) {
        char *colon, *stop;

        at += 3;
        stop = at + strcspn(at, " \t\n/?\"'");
        while (stop > at && *stop != '@')
            stop--;
        colon = memchr(at, ':', (size_t)(stop - at));
        if (*stop == '@' && colon != NULL)
            mask(colon + 1, stop);
    }
    for (char *at = strstr(text, "password="); at != NULL; at = strstr(at, "password=")) {
        at += strlen("password=");
        if (*at == '\'')
            mask(at + 1, at + 1 + strcspn(at + 1, "'"));
        else
            mask(at, at + strcspn(at, " \t\n&\"'"));
    }
}

/* As JSON has it: a width may have put zeros or spaces in front. */
static bool is_number(const char *text)
{
    text += *text == '-';
    return text[0] != '\0' && strspn(text, "0123456789") == strlen(text) &&
           (text[0] != '0' || text[1] == '\0');
}

static void read_value(struct log_walk *walk, struct log_field *field)
{
    char stop = field->quoted ? '"' : ' ';
    size_t used = 0, pieces = 0;
    char last = '\0';

    field->value[0] = '\0';
    for (; *walk->at != '\0' && *walk->at != stop; pieces++) {
        size_t room = sizeof field->value - used;
        struct spec spec;
        int wrote;

        if (*walk->at != '%') {
            if (room > 1)
                field->value[used++] = *walk->at;
            field->value[used] = '\0';
            walk->at++;
            last = '\0';
            continue;
        }
        walk->at++;
        spec_read(walk, &spec);
        wrote = convert(walk, &spec, field->value + used, room);
        if (wrote < 0) {
            walk->at = "";
            break;
        }
        used += (size_t)wrote < room ? (size_t)wrote : room - 1;
        last = spec.conversion;
    }
    if (*walk->at == stop && stop == '"')
        walk->at++;
    field->number = pieces == 1 && last != '\0' && strchr("diu", last) != NULL &&
                    !field->quoted && is_number(field->value);
    if (!field->number)
        mask_passwords(field->value);
}

bool log_field_next(struct log_walk *walk, struct log_field *field)
{
    size_t length;

    while (*walk->at == ' ')
        walk->at++;
    if (*walk->at == '\0')
        return false;
    length = strcspn(walk->at, "= %\"");
    if (length > 0 && length < sizeof field->key && walk->at[length] == '=') {
        memcpy(field->key, walk->at, length);
        field->key[length] = '\0';
        walk->at += length + 1;
    } else { /* words without a key */
        snprintf(field->key, sizeof field->key, "text");
    }
    field->quoted = *walk->at == '"';
    walk->at += field->quoted;
    read_value(walk, field);
    return true;
}

/* --- escaping ------------------------------------------------------------------------------------- */

/* Code points that move a terminal's cursor or turn its writing round: C1 controls, line and paragraph
 * separators, bidirectional marks. */
static bool dangerous(uint32_t code)
{
    return (code >= 0x80 && code < 0xa0) || (code >= 0x200e && code <= 0x200f) ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

/* Of a valid sequence of 2 or 3 bytes; longer ones are none of the above. */
static uint32_t code_of(const unsigned char *at, size_t length)
{
    if (length == 2)
        return (uint32_t)(at[0] & 0x1f) << 6 | (at[1] & 0x3f);
    if (length == 3)
        return (uint32_t)(at[0] & 0x0f) << 12 | (uint32_t)(at[1] & 0x3f) << 6 | (at[2] & 0x3f);
    return 0x10000;
}

/* One character of the text as it is written; returns how many bytes of the text it was. */
static size_t escape_one(char out[8], const char *text)
{
    static const char shorts[] = "\"\"\\\\\nn\rr\tt";
    unsigned char c = (unsigned char)*text;
    size_t length = 1;

    for (const char *pair = shorts; *pair != '\0'; pair += 2)
        if (pair[0] == (char)c) {
            snprintf(out, 8, "\\%c", pair[1]);
            return 1;
        }
    if (c < 0x20 || c == 0x7f) {
        snprintf(out, 8, "\\u%04x", c);
        return 1;
    }
    if (c >= 0x80) {
        length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        if (strnlen(text, length) < length || utf8_valid_bytes(text, length) != length) {
            snprintf(out, 8, "\\ufffd");
            return 1;
        }
        if (dangerous(code_of((const unsigned char *)text, length))) {
            snprintf(out, 8, "\\u%04x", code_of((const unsigned char *)text, length));
            return length;
        }
    }
    memcpy(out, text, length);
    out[length] = '\0';
    return length;
}

size_t log_escape(char *to, size_t size, const char **text)
{
    size_t used = 0;
    char one[8];

    while (**text != '\0') {
        size_t took = escape_one(one, *text), length = strlen(one);

        if (length > size - used)
            break;
        memcpy(to + used, one, length);
        used += length;
        *text += took;
    }
    return used;
}

bool log_plain(const char *text)
{
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++)
        if ((unsigned char)*text <= 0x20 || (unsigned char)*text >= 0x7f || strchr("\"\\=", *text) != NULL)
            return false;
    return true;
}
