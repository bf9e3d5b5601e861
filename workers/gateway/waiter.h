/*
 * waiter.h - a request that waits for what it brought to be durable.
 */
#ifndef SPENDD_GATEWAY_WAITER_H
#define SPENDD_GATEWAY_WAITER_H

#include "workers/gateway/gateway.h"
#include "workers/gateway/litellm_payload.h"

#include <stddef.h>

/* Posts the payload, which lives as long as the request, and answers with what the aggregator says. */
void waiter_post(struct gateway *gateway, struct request *request, const char *payload, size_t bytes);

/* The same for several payloads, which it takes over: 200 when all of them are durable. */
void waiter_post_parts(struct gateway *gateway, struct request *request, struct litellm_parts *parts);

#endif
