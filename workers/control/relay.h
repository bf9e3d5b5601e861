/*
 * relay.h - passes a request on to the one worker that can answer it (common/errand), and its answers back.
 */
#ifndef SPENDD_CONTROL_RELAY_H
#define SPENDD_CONTROL_RELAY_H

#include "workers/control/control.h"

struct relays;

struct relays *relays_new(struct control *control);
void relays_free(struct relays **relays);

/* Answers the request, now or later. */

#endif
