/*
 * pauses.h - what is paused: in this instance, as the supervisor says; in the fleet, as Redis says.
 */
#ifndef SPENDD_CONTROL_PAUSES_H
#define SPENDD_CONTROL_PAUSES_H

#include "workers/control/control.h"
#include "workers/control/queue_look.h"

struct pauses;

struct pauses *pauses_new(struct control *control);
void pauses_free(struct pauses **pauses);
void pauses_record(struct pauses *pauses, const struct msg *record); /* MSG_pause; others are ignored */

/* "paused": [{"what", "scope", "until_ms", "who"}] */
void pauses_write(const struct control *control, const struct queue_figures *queue, struct json_out *out);

#endif
