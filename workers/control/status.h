/*
 * status.h - how everything is at this moment, from where it is true: the supervisor and Redis are asked for
 * each question; one that does not answer within a second is "unknown" with the reason, and the rest is
 * told all the same.
 */
#ifndef SPENDD_CONTROL_STATUS_H
#define SPENDD_CONTROL_STATUS_H

#include "workers/control/control.h"
#include "workers/control/queue_look.h"

#define STATUS_ROWS_MAX 40

/* What was seen. */
struct status_seen {
    bool supervisor; /* it has answered */
    struct msg_snapshot_end snapshot;
    size_t rows;
    struct msg_snapshot_row row[STATUS_ROWS_MAX];
    struct queue_figures queue;
};

typedef void status_fn(void *arg, const struct route *route, const struct status_seen *seen);

struct status;
struct status *status_new(struct harness *harness, struct err *err);
void status_free(struct status **status);

/* Looks, and tells `take`; `route` is kept for it.  False: too many questions are waiting. */
bool status_ask(struct status *status, const struct route *route, status_fn *take, void *arg);

/* A record from the supervisor: snapshot_row and snapshot_end belong here, others are ignored. */
void status_record(struct status *status, const struct msg *record);

/* The connection to Redis that it looks through. */
struct queue_look *status_look(struct status *status);

/* Is every worker that nothing holds back ready?  The reason if not; NULL: yes (status_views.c). */
const char *status_unready(const struct status_seen *seen, char *text, size_t size);

/* "litellm": {...} (status_litellm.c). */
void status_litellm(struct json_out *out, const struct harness *harness, const struct queue_figures *queue);

#endif
