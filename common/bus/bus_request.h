/*
 * bus_request.h - one question to somebody's ROUTER, answered while the caller waits.
 * For command-line tools only: it blocks.  A worker never calls it.
 */
#ifndef SPENDD_BUS_BUS_REQUEST_H
#define SPENDD_BUS_BUS_REQUEST_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/bus/bus.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One answer, borrowed for the call.  True: more answers belong to it, wait on. */
typedef bool bus_answer_fn(void *arg, const struct bus_frame *frames, size_t count);

struct bus_peer {
    const char *endpoint;
    const char *keys;       /* tcp: file of our CURVE key pair */
    const char *server_key; /* tcp: file of the server's public key */
};

/* Sends `frames` to the peer and hands each answer to `answer` until that returns false.
 * `timeout_ms` is for each answer.  -1: not sent or not answered in time. */
int bus_request(const struct bus_peer *peer, const struct bus_frame *frames, size_t count,
                int64_t timeout_ms, bus_answer_fn *answer, void *arg, struct err *err) MUST_CHECK;

#endif
