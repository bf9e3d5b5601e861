/*
 * event_json.c - an event as JSON.  See event_json.h.  Pure; walks fields.def, so a new field is here too.
 *
 * Money is decimal text, never a JSON number: a reader with floats would change it.
 */
#include "common/event/event_json.h"

#include "common/base/clock.h"
#include "common/json/json_put.h"
#include "common/money/money.h"

#include <stdlib.h>

#define RFC3339_TEXT 40

static void put_TEXT(struct json_out *out, const struct slice *text)
{
    json_bytes(out, text->data, text->length);
}

static void put_COUNT(struct json_out *out, const int64_t *count)
{
    json_number(out, *count);
}

static void put_MONEY(struct json_out *out, const int64_t *pico)
{
    char text[MONEY_TEXT];

    money_text(*pico, text);
    json_string(out, text);
}

static void put_TIME(struct json_out *out, const int64_t *micros)
{
    char text[RFC3339_TEXT];

    json_string(out, wall_text((wall_t){*micros}, text, sizeof text));
}

static void put_TAGS(struct json_out *out, const struct tag_set *tags)
{
    json_array(out);
    for (uint32_t i = 0; i < tags->count; i++)
        json_bytes(out, tags->tag[i].data, tags->tag[i].length);
    json_end(out);
}

/* A line end within JSON stands between two tokens: a space does as well, and the event is one line. */
static void put_JSON(struct json_out *out, const struct slice *text)
{
    char *line = malloc(text->length + 1);

    if (line == NULL)
        bug("out of memory for %u bytes of JSON", text->length);
    for (uint32_t i = 0; i < text->length; i++)
        line[i] = text->data[i] == '\n' || text->data[i] == '\r' ? ' ' : text->data[i];
    json_raw(out, line, text->length);
    free(line);
}

void event_json(struct json_out *out, const struct event *event)
{
    enum { INNER = 1, ID = 0, LABEL = 0, TRUTHY = 0 };

    json_object(out);
#define FIELD(name, kind, flags)                                                                   \
    if ((event->present >> EVENT_##name & 1) && !(flags)) {                                        \
        json_key(out, #name);                                                                      \
        put_##kind(out, &event->name);                                                             \
    }
#include "common/event/fields.def"
#undef FIELD
    json_end(out);
}
