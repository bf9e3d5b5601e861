/*
 * reader.h - the reader of messages from within: what its three files share.  For this room.
 *
 *   read.c         a message: one JSON value, or lines
 *   read_walk.c    its structure: objects, arrays, keys -> events
 *   read_fields.c  the values of an event's fields
 */
#ifndef SPENDD_EVENT_READER_H
#define SPENDD_EVENT_READER_H

#include "common/event/fields.h"
#include "common/event/read.h"
#include "common/event/values.h"
#include "common/json/json.h"

#include <stdbool.h>

#define NAME_SLOTS 128
#define REASON_BYTES 128

struct event_reader {
    struct event_rules rules;
    const struct event_sink *sink;
    struct json_in *json;
    struct json_keys *keys;
    uint8_t names[NAME_SLOTS]; /* field number + 1, by hash of the name */
    const char *text;          /* of the message, or of the line */
    size_t length;
    wall_t now;
    struct event_notes notes;

    /* Where we are. */
    unsigned depth;   /* open containers, the array around the events not counted */
    bool in_array;    /* an array of events is open */
    bool in_tags;     /* directly within "tags" */
    bool keeping;     /* within "metadata" */
    uint32_t object;  /* number of the innermost object, for repeated keys */
    uint32_t objects; /* objects begun in this event */
    uint64_t named;   /* 1 << field for each whose key came in this event */
    uint32_t parents[EVENT_NESTING_MAX + 2];
    int field; /* the value that comes belongs to this field; -1: to none we know */

    /* The event under construction. */
    size_t start; /* its first byte */
    size_t value_start;
    struct event event;
    bool wrong;
    char reason[REASON_BYTES];
    size_t scratch_used, scratch_size;
    char *scratch;
};

/* read_fields.c */
void reader_learn_names(struct event_reader *reader);
int reader_find_name(const struct event_reader *reader, const char *name, size_t length);
/* The event is wrong; the first reason stands. */
void reader_refuse(struct event_reader *reader, const char *format, ...) PRINTF_LIKE(2, 3);
void reader_refuse_field(struct event_reader *reader, const char *why);
/* A value for the field in hand. */
void reader_take_boolean(struct event_reader *reader, bool value);
void reader_take_number(struct event_reader *reader, const char *text, size_t length);
void reader_take_string(struct event_reader *reader, const char *text, size_t length);
void reader_take_tag(struct event_reader *reader, const char *text, size_t length);

/* read_walk.c */
extern const struct json_handler reader_handler;

#endif
