/*
 * status.h - the answer to "status": everything at this moment, from where it is true.
 * The supervisor and Redis are asked for each question; one that does not answer within a second is
 * "unknown" with the reason, and the rest is answered all the same.
 */
#ifndef SPENDD_CONTROL_STATUS_H
#define SPENDD_CONTROL_STATUS_H

#include "common/harness/harness.h"
#include "common/json/json.h"
#include "workers/control/request.h"

struct status;

/* Where a finished answer goes: `json` is borrowed. */
typedef void status_fn(void *arg, const struct route *route, const char *json, size_t length);

struct status *status_new(struct harness *harness, status_fn *answer, void *arg, struct err *err);
void status_free(struct status **status);

/* False: too many questions are waiting. */
bool status_ask(struct status *status, const struct route *route);

/* A record from the supervisor: snapshot_row and snapshot_end belong here, others are ignored. */
void status_record(struct status *status, const struct msg *record);

#endif
