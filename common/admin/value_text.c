/*
 * value_text.c - one JSON value as people read it.  See value_text.h.  Pure: no clock, no I/O.
 */
#include "common/admin/value_text.h"

#include "common/base/attr.h"
#include "common/base/clock.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Milliseconds beyond this are a time of day, not a duration (2001; 31 years). */
#define WALL_MS_LEAST 1000000000000LL

static void bytes_text(int64_t bytes, char *text, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && unit + 1 < COUNT_OF(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(text, size, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

void duration_text(int64_t ms, char *text, size_t size)
{
    int64_t seconds = ms / 1000;

    if (ms < 0)
        snprintf(text, size, "-");
    else if (ms < 1000)
        snprintf(text, size, "%" PRId64 " ms", ms);
    else if (seconds < 60)
        snprintf(text, size, "%" PRId64 ".%" PRId64 " s", seconds, ms % 1000 / 100);
    else if (seconds < 3600)
        snprintf(text, size, "%" PRId64 " min %" PRId64 " s", seconds / 60, seconds % 60);
    else
        snprintf(text, size, "%" PRId64 " h %" PRId64 " min", seconds / 3600, seconds % 3600 / 60);
}

static void milliseconds_text(int64_t ms, char *text, size_t size)
{
    char wall[32];

    if (ms < WALL_MS_LEAST) {
        duration_text(ms, text, size);
        return;
    }
    wall_text((wall_t){ms * 1000}, wall, sizeof wall); /* 2026-11-21T04:15:00.123456Z */
    snprintf(text, size, "%.10s %.8s UTC", wall, wall + 11);
}

static void seconds_text(int64_t seconds, char *text, size_t size)
{
    duration_text(seconds > INT64_MAX / 1000 ? INT64_MAX : seconds * 1000, text, size);
}

static const struct unit {
    const char *suffix;
    void (*text)(int64_t value, char *text, size_t size);
    bool dropped; /* the value says it, the label need not */
} units[] = {
    {"bytes", bytes_text, false},
    {"_ms", milliseconds_text, true},
    {"_s", seconds_text, true},
};

static const struct unit *unit_of(const char *key)
{
    size_t length = key ? strlen(key) : 0;

    for (size_t i = 0; i < COUNT_OF(units); i++) {
        size_t tail = strlen(units[i].suffix);

        if (length >= tail && strcmp(key + length - tail, units[i].suffix) == 0)
            return &units[i];
    }
    return NULL;
}

void label_text(const char *key, char *text, size_t size)
{
    const struct unit *unit = unit_of(key);
    size_t length = strlen(key) - (unit && unit->dropped ? strlen(unit->suffix) : 0);

    snprintf(text, size, "%.*s", (int)length, key);
    if (strchr(text, '.') != NULL)
        return; /* the name of a thing ("health_checker.0"), not a label */
    for (char *c = text; *c != '\0'; c++)
        if (*c == '_')
            *c = ' ';
}

static void number_text(const struct json_tree *value, char *text, size_t size)
{
    const struct unit *unit = unit_of(value->key);
    int64_t number = json_integer(value, INT64_MIN);

    if (unit != NULL && number != INT64_MIN)
        unit->text(number, text, size);
    else
        snprintf(text, size, "%s", value->text);
}

/* "known": true and an empty "why" say nothing beside figures. */
static bool says_nothing(const struct json_tree *item)
{
    if (item->key == NULL)
        return false;
    if (strcmp(item->key, "known") == 0)
        return item->kind == JSON_TRUE;
    return strcmp(item->key, "why") == 0 && item->kind == JSON_STRING && item->text[0] == '\0';
}

/* "a 1, b 2" of an object, "1, 2" of an array; what does not fit is cut.  What an object holds beside values is
 * for lines of its own (output_text.c). */
static void members_text(const struct json_tree *parent, char *text, size_t size)
{
    const char *separator = "";
    size_t used = 0;

    snprintf(text, size, "%s", json_member(parent, "known") ? "known" : "-");
    for (const struct json_tree *item = parent->first; item != NULL && used < size;
         item = item->next) {
        char value[VALUE_TEXT_MAX / 4], label[64] = "";

        bool within = item->kind == JSON_OBJECT || item->kind == JSON_ARRAY;

        if (says_nothing(item) || (within && item->key != NULL))
            continue;
        if (within)
            snprintf(value, sizeof value, "...");
        else
            value_text(item, value, sizeof value);
        if (item->key != NULL)
            label_text(item->key, label, sizeof label);
        used += (size_t)snprintf(text + used, size - used, "%s%s%s%s", separator, label,
                                 label[0] ? " " : "", value);
        separator = ", ";
    }
}

void value_text(const struct json_tree *value, char *text, size_t size)
{
    switch (value->kind) {
    case JSON_NULL:
        snprintf(text, size, "-");
        return;
    case JSON_FALSE:
        snprintf(text, size, "no");
        return;
    case JSON_TRUE:
        snprintf(text, size, "yes");
        return;
    case JSON_NUMBER:
        number_text(value, text, size);
        return;
    case JSON_STRING:
        snprintf(text, size, "%s", value->text[0] ? value->text : "-");
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        members_text(value, text, size);
        return;
    }
}
