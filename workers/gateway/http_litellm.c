/*
 * http_litellm.c - POST /v1/litellm: what LiteLLM's `generic_api` callback posts, as it is.
 *
 * The body becomes events (litellm_payload.c), in as many messages as an aggregator's bound of one asks for,
 * and is answered when all of them are durable.  Owns nothing; if we die on any line there is no answer, and
 * the callback, unless it was told to retry, has lost the batch: its own file says so (README).
 */
#include "workers/gateway/waiter.h"

void handle_litellm(struct gateway *gateway, struct request *request)
{
    struct body *body = http_body(request);
    struct litellm_parts parts;
    struct err err;

    if (litellm_payload_read(body->data, body->used, (size_t)gateway->settings->ingest_max_message_bytes, &parts,
                             &err) != 0)
        http_refuse(request, 400, "%s", err.text);
    else
        waiter_post_parts(gateway, request, &parts);
}
