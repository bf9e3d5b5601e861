/*
 * listeners.h - who asked for `events`: each change of state goes to them as it happens, as an item (102)
 * of a stream that ends when they leave, or when control does.
 */
#ifndef SPENDD_CONTROL_LISTENERS_H
#define SPENDD_CONTROL_LISTENERS_H

#include "workers/control/control.h"

struct listeners;

struct listeners *listeners_new(struct control *control);
void listeners_free(struct listeners **listeners);

/* A record from the supervisor: events go to everybody who listens, others are ignored. */
void listeners_record(struct listeners *listeners, const struct msg *record);

/* Ends the streams: nothing comes any more. */
void listeners_end(struct listeners *listeners);

#endif
