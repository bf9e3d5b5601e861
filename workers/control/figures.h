/*
 * figures.h - the counters and gauges of every worker, read from their pages and added up.
 */
#ifndef SPENDD_CONTROL_FIGURES_H
#define SPENDD_CONTROL_FIGURES_H

#include "common/harness/harness.h"
#include "common/json/json.h"
#include "common/stats/stats.h"

#include <stdint.h>

/* Sum over all pages. */
int64_t figures_sum(const struct harness *harness, enum metric metric);

/* Least value above 0 over all pages; 0 if there is none. */
int64_t figures_least(const struct harness *harness, enum metric metric);

/* {"metrics": [{"name", "kind", "total", "workers": {"aggregator.0": 12}}]}; a worker that has
 * counted nothing is not named. */
void figures_write(const struct harness *harness, struct json_out *out);

#endif
