/*
 * event.c - the table of fields, and what follows from an event without reading anything else.
 * Pure; see event.h.
 */
#include "common/event/event.h"

#include "common/event/fields.h"

_Static_assert(EVENT_FIELDS <= 64, "presence bits are 64");

#define ID FIELD_ID
#define LABEL FIELD_LABEL
#define TRUTHY FIELD_TRUTHY
#define INNER FIELD_INNER

const struct field event_fields[EVENT_FIELDS] = {
#define FIELD(name, kind, flags)                                                                   \
    {#name, sizeof #name - 1, FIELD_##kind, flags, offsetof(struct event, name)},
#include "common/event/fields.def"
#undef FIELD
};

struct slice event_key(const struct event *event)
{
    return event->present & EVENT_BIT(event_id) ? event->event_id : event->request_id;
}

day_t event_day(const struct event *event)
{
    bool given = (event->present & EVENT_BIT(start_time)) != 0;

    return wall_day((wall_t){given ? event->start_time : event->received});
}
