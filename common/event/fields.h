/*
 * fields.h - fields.def as a table: where each field lies in struct event, and its rules.
 * For the files of this room and for those who map fields to columns.
 */
#ifndef SPENDD_EVENT_FIELDS_H
#define SPENDD_EVENT_FIELDS_H

#include "common/event/event.h"

enum field_kind {
    FIELD_TEXT,
    FIELD_COUNT,
    FIELD_MONEY,
    FIELD_TIME,
    FIELD_TAGS,
    FIELD_JSON
};

enum field_flag { FIELD_ID = 1, FIELD_LABEL = 2, FIELD_TRUTHY = 4, FIELD_INNER = 8 };

struct field {
    const char *name;
    uint32_t name_length;
    enum field_kind kind;
    unsigned flags; /* of enum field_flag */
    size_t offset;  /* in struct event */
};

extern const struct field event_fields[EVENT_FIELDS];

#define EVENT_BIT(name) (UINT64_C(1) << EVENT_##name)

/* The bounds of a time that is stored: years 1 to 9999. */
#define EVENT_TIME_LEAST (-62135596800LL * 1000000)
#define EVENT_TIME_MOST (253402300799LL * 1000000 + 999999)

#endif
