/*
 * orders.h - verbs that the supervisor answers: sent up fd 3 as a message with a ticket, answered by rows
 * and a word of how it went.
 */
#ifndef SPENDD_CONTROL_ORDERS_H
#define SPENDD_CONTROL_ORDERS_H

#include "common/harness/harness.h"
#include "common/json/json.h"
#include "workers/control/request.h"

struct orders;

/* Where an answer goes, and (102) word that it is still waited for: `code` is the protocol's number; `json`
 * is borrowed.  false: the asker has left. */
typedef bool orders_fn(void *arg, const struct route *route, int code, const char *json, size_t length);

struct orders *orders_new(struct harness *harness, orders_fn *answer, void *arg, struct err *err);
void orders_free(struct orders **orders);

/* A request's words as an order: verb, --wait and --dry-run as flags, and up to two others.  What the verb
 * makes of them the supervisor says.  `order` must be zero. */
int orders_words(struct msg_order *order, const struct request *request, struct err *err) MUST_CHECK;

/* Sends it (with a ticket of ours).  False: too many are under way. */
bool orders_ask(struct orders *orders, const struct route *route,
                const struct msg_order *order) MUST_CHECK;

/* A record from the supervisor: order_worker, order_setting, order_error and order_done belong here,
 * others are ignored. */
void orders_record(struct orders *orders, const struct msg *record);

#endif
