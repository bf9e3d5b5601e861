/*
 * event_json.h - an event as the JSON object that a gateway may send again: the same fields, the same ids.
 */
#ifndef SPENDD_EVENT_EVENT_JSON_H
#define SPENDD_EVENT_EVENT_JSON_H

#include "common/event/event.h"
#include "common/json/json.h"

/* One object, on one line.  What is ours (the time of arrival) is left out. */
void event_json(struct json_out *out, const struct event *event);

#endif
