/*
 * admin_client.h - the asking side of the admin socket: one command, its answer.
 *
 *   request  ["spendctl/1", command, argument...]
 *   answer   [status, json]   status: "200" done, "102" one item of a stream that a "200" ends,
 *                             "400" malformed, "404" no such thing, "409" not now, "500" failed
 */
#ifndef SPENDD_ADMIN_ADMIN_CLIENT_H
#define SPENDD_ADMIN_ADMIN_CLIENT_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/bus/bus_request.h"

#include <stddef.h>
#include <stdint.h>

#define ADMIN_PROTOCOL "spendctl/1"
#define ADMIN_WORDS_MAX 12

/* An item of a stream ("102"), or the whole answer.  Borrowed for the call. */
typedef void admin_answer_fn(void *arg, int status, const char *json, size_t length);

/* Asks and waits, at most `timeout_ms` for each answer.  0: a final answer came, and `answer` saw
 * its status.  -1: nobody there or no answer; `err` says which and what to do. */
int admin_ask(const struct bus_peer *peer, const char *const *words, size_t count, int64_t timeout_ms,
              admin_answer_fn *answer, void *arg, struct err *err) MUST_CHECK;

#endif
