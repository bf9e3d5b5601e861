/*
 * read.h - JSON messages -> events, each accepted or refused with its reason.
 *
 * A message is one of three things.  It is one JSON value, an object (one event) or an array of them,
 * if it parses as that.  If it does not, begins with '{' and has a line that by itself is a JSON
 * object, then it is newline-separated: each line that is not blank is one event, and a line that
 * does not parse is refused alone.  Otherwise the message is refused whole.
 * Pure: no clock, no I/O.  No reason repeats a value: keys are secrets.
 */
#ifndef SPENDD_EVENT_READ_H
#define SPENDD_EVENT_READ_H

#include "common/event/event.h"

#define EVENT_NESTING_MAX 16
#define EVENT_AHEAD_MICROS (48LL * 3600 * 1000000)

struct event_rules {
    int64_t max_event_bytes;
    int64_t max_age_days;
};

/* Who gets them.  Index counts the events of the message from 0, refused ones too.  A line that breaks
 * behind its event takes it back: `refused` with the index of the `event` just before. */
struct event_sink {
    void *arg;
    void (*event)(void *arg, uint32_t index, const struct event *event);
    void (*refused)(void *arg, uint32_t index, const char *reason, const char *bytes, size_t length);
    void (*again)(void *arg); /* forget what came so far: the message is read from its start again */
};

struct event_notes { /* of the last message: what the counters want */
    uint32_t events, unknown_fields, shortened_labels, defaulted_days;
};

struct event_reader;
struct event_reader *event_reader_new(const struct event_rules *rules);
void event_reader_free(struct event_reader **reader);

/* Reads a message that arrived at `now`.  -1: refused whole, err says why and at which byte; what the
 * sink got before is void then. */
int event_read(struct event_reader *reader, const char *text, size_t length, wall_t now,
               const struct event_sink *sink, struct err *err) MUST_CHECK;
const struct event_notes *event_read_notes(const struct event_reader *reader);

#endif
