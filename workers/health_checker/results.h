/*
 * results.h - what a round of checks found: one result per model, and its texts: ours in Redis, LiteLLM's
 * own.  Pure but for memory; what is read from Redis is untrusted.
 */
#ifndef SPENDD_HEALTH_CHECKER_RESULTS_H
#define SPENDD_HEALTH_CHECKER_RESULTS_H

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/config/settings.h"
#include "common/json/json.h"

#define RESULTS_BYTES_MAX (128 * 1024) /* of a document that we read */
#define CHECKED_BY_BYTES 160

struct result {
    char model[64];
    bool healthy;
    int status;         /* HTTP; 0: there was no answer */
    int64_t latency_ms; /* -1: not known */
    char error[160];    /* "": none */
};

struct results {
    unsigned count;
    wall_t at;                 /* the round's end */
    char by[CHECKED_BY_BYTES]; /* who has checked */
    struct result of[MODELS_MAX];
};

const struct result *results_of(const struct results *results, const char *model); /* NULL: none */

/* Ours: every field. */
void results_write(const struct results *results, struct json_out *out);
int results_read(const char *text, size_t length, struct results *results, struct err *err) MUST_CHECK;

/* LiteLLM's: a JSON string that holds the JSON object (double encoded). */
void results_write_litellm(const struct results *results, bool details, struct json_out *out);

#endif
