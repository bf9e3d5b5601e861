/*
 * text.c - a growing text, and the fields of COPY's text format.  See text.h.
 *
 * COPY text: tab between fields, newline behind a row, \N is null; backslash, tab, newline and carriage
 * return are escaped; every other byte goes as it is (there is no NUL in a valid event).  An array
 * inside is escaped twice: as an array element, then as COPY.
 */
#include "workers/db_flusher/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALLEST 4096

void text_clear(struct text *text)
{
    text->used = 0;
    text->failed = false;
    if (text->data)
        text->data[0] = '\0';
}

void text_free(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

static bool reserve(struct text *text, size_t more)
{
    size_t room = text->room ? text->room : SMALLEST;
    char *data;

    if (text->used + more + 1 <= text->room)
        return true;
    while (room < text->used + more + 1)
        room *= 2;
    data = realloc(text->data, room);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->room = room;
    return true;
}

void text_add(struct text *text, const void *data, size_t length)
{
    if (!reserve(text, length))
        return;
    if (length)
        memcpy(text->data + text->used, data, length);
    text->used += length;
    text->data[text->used] = '\0';
}

void text_put(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_format(struct text *text, const char *format, ...)
{
    char piece[512];
    va_list ap;
    int length;

    va_start(ap, format);
    length = vsnprintf(piece, sizeof piece, format, ap);
    va_end(ap);
    if (length < 0 || (size_t)length >= sizeof piece)
        text->failed = true;
    else
        text_add(text, piece, (size_t)length);
}

void text_sql(struct text *text, const char *sql, const char *schema)
{
    for (;;) {
        size_t plain = strcspn(sql, "@");

        text_add(text, sql, plain);
        if (!sql[plain])
            return;
        text_put(text, schema);
        sql += plain + 1;
    }
}

void copy_bytes(struct text *text, const char *data, size_t length)
{
    char *to;

    if (!reserve(text, 2 * length))
        return;
    to = text->data + text->used;
    for (size_t i = 0; i < length; i++) {
        char c = data[i];

        switch (c) {
        case '\\':
            *to++ = '\\';
            *to++ = '\\';
            break;
        case '\t':
            *to++ = '\\';
            *to++ = 't';
            break;
        case '\n':
            *to++ = '\\';
            *to++ = 'n';
            break;
        case '\r':
            *to++ = '\\';
            *to++ = 'r';
            break;
        default:
            *to++ = c;
        }
    }
    *to = '\0';
    text->used = (size_t)(to - text->data);
}

void copy_slice(struct text *text, struct slice slice)
{
    if (slice.length == 0)
        copy_null(text);
    else
        copy_bytes(text, slice.data, slice.length);
}

void copy_key(struct text *text, struct slice slice)
{
    copy_bytes(text, slice.data, slice.length);
}

void copy_int(struct text *text, int64_t number)
{
    char digits[24], *at = digits + sizeof digits;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;

    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (number < 0)
        *--at = '-';
    text_add(text, at, (size_t)(digits + sizeof digits - at));
}

void copy_money(struct text *text, money_sum_t pico)
{
    char money[MONEY_TEXT];

    text_add(text, money, money_text(pico, money));
}

void copy_time(struct text *text, int64_t micros)
{
    char when[48];

    text_put(text, wall_text((wall_t){micros}, when, sizeof when));
}

void copy_day(struct text *text, day_t day)
{
    char when[24];

    text_put(text, day_text(day, when, sizeof when));
}

static void hex(struct text *text, const unsigned char *data, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    char *to;

    if (!reserve(text, 2 * length))
        return;
    to = text->data + text->used;
    for (size_t i = 0; i < length; i++) {
        *to++ = digits[data[i] >> 4];
        *to++ = digits[data[i] & 15];
    }
    *to = '\0';
    text->used += 2 * length;
}

void copy_hex(struct text *text, const void *data, size_t length)
{
    text_add(text, "\\\\x", 3);
    hex(text, data, length);
}

void copy_uuid(struct text *text, const unsigned char id[16])
{
    hex(text, id, 16); /* uuid takes 32 digits without hyphens */
}

void copy_tags(struct text *text, const struct tag_set *tags)
{
    text_put(text, "{");
    for (uint32_t i = 0; i < tags->count; i++) {
        struct slice tag = tags->tag[i];

        text_put(text, i ? ",\"" : "\"");
        for (uint32_t at = 0; at < tag.length; at++) {
            if (tag.data[at] == '"' || tag.data[at] == '\\')
                copy_bytes(text, "\\", 1);
            copy_bytes(text, tag.data + at, 1);
        }
        text_put(text, "\"");
    }
    text_put(text, "}");
}

void copy_null(struct text *text)
{
    text_add(text, "\\N", 2);
}

void copy_tab(struct text *text)
{
    text_add(text, "\t", 1);
}

void copy_end(struct text *text)
{
    text_add(text, "\n", 1);
}
