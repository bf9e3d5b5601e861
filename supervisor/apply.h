/*
 * apply.h - reload: the file is read aside, and what has changed is applied.
 */
#ifndef SPENDD_SUPERVISOR_APPLY_H
#define SPENDD_SUPERVISOR_APPLY_H

#include "common/msg/msg.h"

struct supervisor;
struct slot;

/* SIGHUP: the log is the answer. */
void apply_reload(struct supervisor *supervisor);

/* The operator's order; answered with a row for each changed setting. */
void apply_order(struct supervisor *supervisor, struct slot *from, const struct msg_order *order);

#endif
