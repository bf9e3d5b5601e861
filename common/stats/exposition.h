/*
 * exposition.h - everything there is to measure, as the text that Prometheus reads.
 * A function of mapped pages and of what the asker has heard from the supervisor; no clock, no I/O.
 */
#ifndef SPENDD_STATS_EXPOSITION_H
#define SPENDD_STATS_EXPOSITION_H

#include "common/stats/stats.h"

#include <stdbool.h>

#define EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define EXPOSITION_TYPE_OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* One slot of the roster. */
struct exposition_worker {
    const char *name;
    unsigned index;
    bool is_lane;                  /* an aggregator: its spool is shown by itself */
    const struct stats_page *page; /* NULL: none */
    bool known;                    /* the supervisor has told: what follows */
    bool ready;
    uint32_t restarts;
};

/* A model that is checked, as the health checker says; its name is from the configuration. */
struct exposition_model {
    const char *name;
    bool known, healthy;
    int64_t checks, failures, latency_ms; /* latency_ms -1: not known */
    const char *cost_usd;                 /* decimal text */
};

struct exposition {
    bool openmetrics;              /* else Prometheus' own text form, 0.0.4 */
    bool litellm;                  /* under LiteLLM's names too */
    const char *version, *build, *instance;
    int64_t now_ms;                /* wall time */
    bool supervisor;               /* it answers: what follows is known */
    int64_t started_ms;
    bool draining, database_open;
    const struct exposition_worker *worker;
    size_t workers;
    const struct exposition_model *model;
    size_t models;
};

/* The text, NUL-terminated, to be freed.  Its size is bounded by the tables and the roster.  NULL: no
 * memory. */
char *exposition_text(const struct exposition *from, size_t *length);

/* Age of the oldest acknowledged event that PostgreSQL does not have, in ms; 0: it has all. */
int64_t exposition_lag_ms(const struct exposition *from);

#endif
