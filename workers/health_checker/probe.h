/*
 * probe.h - what the two probes have in common: started, they end once, with a verdict.
 */
#ifndef SPENDD_HEALTH_CHECKER_PROBE_H
#define SPENDD_HEALTH_CHECKER_PROBE_H

#include "common/base/err.h"
#include "workers/health_checker/figures.h"
#include "workers/health_checker/verdict.h"

struct harness;

/* Once for each start, from the loop, never from within start. */
typedef void probe_done_fn(void *arg, const struct verdict *verdict);

/* Connects with the real credentials, asks, closes.  Bounded by the deadlines of the settings. */
struct probe_database;
struct probe_database *probe_database_new(struct harness *harness, probe_done_fn *done, void *arg,
                                          struct err *err);
void probe_database_start(struct probe_database *probe);
const struct figures *probe_database_figures(const struct probe_database *probe); /* of the last one */
void probe_database_free(struct probe_database **probe);

struct probe_redis;
struct probe_redis *probe_redis_new(struct harness *harness, probe_done_fn *done, void *arg,
                                    struct err *err);
void probe_redis_start(struct probe_redis *probe);
const struct figures *probe_redis_figures(const struct probe_redis *probe);
void probe_redis_free(struct probe_redis **probe);

#endif
