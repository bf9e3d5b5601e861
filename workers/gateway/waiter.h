/*
 * waiter.h - a request that waits for its payload to be durable.
 */
#ifndef SPENDD_GATEWAY_WAITER_H
#define SPENDD_GATEWAY_WAITER_H

#include "workers/gateway/gateway.h"

#include <stddef.h>

/* Posts the payload and answers the request with what the aggregator says.  The payload lives as long as the
 * request does, or is `owned`, from malloc, and freed when it is over. */
void waiter_post(struct gateway *gateway, struct request *request, const char *payload, size_t bytes, char *owned);

#endif
