/*
 * orders.h - what the operator says through control, and the orders that wait for workers.
 */
#ifndef SPENDD_SUPERVISOR_ORDERS_H
#define SPENDD_SUPERVISOR_ORDERS_H

#include "common/base/attr.h"
#include "common/msg/msg.h"

#include <stdbool.h>
#include <stdint.h>

struct supervisor;
struct slot;

/* An order whose answer waits until its workers are where they were sent (restarts.c). */
#define WAITING_MAX 16
struct waiting {
    bool used, drain; /* drain: everything but the asker has left */
    uint32_t ticket;
    unsigned asker, generation; /* slot of control, and which life of it asked */
    uint64_t slots;             /* bits */
    bool stop;                  /* STOPPED is what was asked for */
};

/* orders.c: what the operator says through control. */
void order_take(struct supervisor *supervisor, struct slot *from, const struct msg_order *order);

/* restarts.c: workers that are drained and started again, and the orders that wait for workers. */
void restarts_check(struct supervisor *supervisor);
void waiting_check(struct supervisor *supervisor);
/* All but the last step have left, or the deadline has passed.  Returns the slots that have the answer. */
uint64_t waiting_drained(struct supervisor *supervisor, bool late);
void order_answer_rows(struct supervisor *supervisor, struct slot *to, uint32_t ticket, uint64_t slots);
void order_answer(struct slot *to, uint32_t ticket, unsigned code, const char *format, ...)
    PRINTF_LIKE(4, 5);

#endif
