/*
 * text.c - a growing text.  See text.h.
 *
 * Grows by doubling and keeps its memory.  Pure; dying here loses nothing.
 */
#include "workers/db_flusher/text.h"

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

void *text_room(struct text *text, size_t length)
{
    char *to;

    if (!reserve(text, length))
        return NULL;
    to = text->data + text->used;
    text->used += length;
    return to;
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
