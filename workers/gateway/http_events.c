/*
 * http_events.c - POST /v1/events: a payload as over ZeroMQ, answered when it is durable.
 *
 * 200 where an event was accepted or known, 400 where none was, 503 where it must come again; the answer is the
 * aggregator's (waiter.c).  Owns nothing.  If we die on any line there is no answer, and a producer posts again.
 */
#include "workers/gateway/waiter.h"

#include <inttypes.h>

void handle_events(struct gateway *gateway, struct request *request)
{
    const struct body *body = http_body(request);

    if ((int64_t)body->used > gateway->settings->ingest_max_message_bytes)
        http_refuse(request, 413, "larger than ingest.max_message_bytes = %" PRId64,
                    gateway->settings->ingest_max_message_bytes);
    else
        waiter_post(gateway, request, body->data, body->used);
}
