/*
 * litellm_event.h - one StandardLoggingPayload's values, and the event that they make.  Pure.
 */
#ifndef SPENDD_GATEWAY_LITELLM_EVENT_H
#define SPENDD_GATEWAY_LITELLM_EVENT_H

#include "common/json/json.h"

#include <stdbool.h>
#include <stddef.h>

struct litellm_event;
struct litellm_event *litellm_event_new(void);
void litellm_event_free(struct litellm_event **event);
void litellm_event_begin(struct litellm_event *event); /* another payload: what was kept is forgotten */

/* What stands at `path` ("metadata.user_api_key_hash"); kept if it is in the table. */
void litellm_event_keep(struct litellm_event *event, const char *path, const char *text, size_t length, bool number);
void litellm_event_flag(struct litellm_event *event, const char *path, bool yes);
/* A text in the array at `path`. */
void litellm_event_item(struct litellm_event *event, const char *path, const char *text, size_t length);

/* Writes the event, as a JSON object. */
void litellm_event_write(const struct litellm_event *event, struct json_out *out);

#endif
