/*
 * gateway.h - the worker's state, for the files of this room.
 */
#ifndef SPENDD_GATEWAY_GATEWAY_H
#define SPENDD_GATEWAY_GATEWAY_H

#include "common/harness/harness.h"
#include "common/json/json.h"
#include "workers/gateway/http.h"
#include "workers/gateway/tokens.h"

struct gateway {
    struct harness *harness;
    const struct settings *settings;
    struct http *ingest, *status; /* NULL: off */
    struct body_purse purse;
    struct tokens tokens, status_token;
    struct bus *bus;
    struct posts *posts; /* NULL: no HTTP ingest */
    struct news *news;
    struct json_out *out; /* for an answer that is written at once: cleared by whoever begins one */
    struct timer *figures;
    bool draining; /* all of spendd, or we alone: ingest takes nothing new */
    bool leaving;  /* we: as soon as nothing is under way */
};

/* The tokens of a face, as they are now. */
const struct tokens *gateway_tokens(struct gateway *gateway, enum http_face face);

/* What stands in gateway->out, as the answer. */
void gateway_answer(struct gateway *gateway, struct request *request, unsigned status);

#endif
