/*
 * litellm_environment.h - what LiteLLM's own environment variables say about Redis and PostgreSQL, as
 * settings of ours: redis.url = "env:REDIS_*", database.url = "env:DATABASE_*".  Pure.
 */
#ifndef SPENDD_CONFIG_LITELLM_ENVIRONMENT_H
#define SPENDD_CONFIG_LITELLM_ENVIRONMENT_H

#include "common/base/attr.h"
#include "common/base/err.h"

#define LITELLM_REDIS "env:REDIS_*"
#define LITELLM_DATABASE "env:DATABASE_*"

struct litellm_environment {
    const char *(*get)(void *arg, const char *variable); /* NULL: not set */
    int (*set)(void *arg, const char *path, const char *value, struct err *err); /* 0, or -1 with err */
    void *arg;
};

/* REDIS_URL or REDIS_HOST, PORT, USERNAME, PASSWORD, DB, SSL and its files, CLUSTER_NODES, SENTINEL_NODES,
 * SERVICE_NAME: sets redis.url and, where they say so, its neighbours.  -1: err, without a secret. */
int litellm_redis(const struct litellm_environment *of, struct err *err) MUST_CHECK;

/* DATABASE_URL, else DATABASE_HOST, USERNAME, PASSWORD, NAME, SCHEMA: sets database.url. */
int litellm_database(const struct litellm_environment *of, struct err *err) MUST_CHECK;

#endif
