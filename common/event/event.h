/*
 * event.h - the event: what one request cost, and for whom.
 *
 * A struct event borrows its bytes: from the message it was parsed from, or from the record it was
 * decoded from.  It is valid as long as those are.  Nothing here keeps a pointer.
 */
#ifndef SPENDD_EVENT_EVENT_H
#define SPENDD_EVENT_EVENT_H

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

#define EVENT_TAGS_MAX 64
#define EVENT_LABEL_MAX 256
#define EVENT_COUNT_MAX 1000000000000LL

struct slice {
    const char *data; /* not NUL-terminated; may be NULL when length is 0 */
    uint32_t length;
};

struct tag_set {
    uint32_t count;
    struct slice tag[EVENT_TAGS_MAX]; /* sorted bytewise, no two equal, none empty */
};

#define EVENT_TYPE_TEXT struct slice
#define EVENT_TYPE_COUNT int64_t
#define EVENT_TYPE_MONEY int64_t /* 10^-12 USD; magnitude < 10^18 */
#define EVENT_TYPE_TIME int64_t  /* microseconds since 1970-01-01 UTC */
#define EVENT_TYPE_TAGS struct tag_set
#define EVENT_TYPE_JSON struct slice

struct event {
    uint64_t present; /* 1 << EVENT_name for each field that was given (or is not its default) */
#define FIELD(name, kind, flags) EVENT_TYPE_##kind name;
#include "common/event/fields.def"
#undef FIELD
};

enum event_field {
#define FIELD(name, kind, flags) EVENT_##name,
#include "common/event/fields.def"
#undef FIELD
    EVENT_FIELDS
};

/* The idempotency key: event_id, or request_id where none was given. */
struct slice event_key(const struct event *event);

/* UTC day that the event belongs to: of start_time, or of its arrival. */
day_t event_day(const struct event *event);

/* Bytes that event_encode would write. */
size_t event_encoded_bytes(const struct event *event);

/* Writes the payload of a record; `to` has room for event_encoded_bytes.  Returns bytes written. */
size_t event_encode(const struct event *event, unsigned char *to);

/* Reads it back, every byte of it, or returns -1: bounds, UTF-8, NUL and ranges are checked, because
 * what comes from disk or Redis is not trusted.  `event` borrows from `from`. */
int event_decode(struct event *event, const unsigned char *from, size_t bytes, struct err *err) MUST_CHECK;

#endif
