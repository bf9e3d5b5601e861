/*
 * stats.h - counters and gauges in shared memory, one page per worker instance.
 *
 * The supervisor makes a page (memfd) before a worker's first start and hands the same one to each of
 * its successors, so counters never go back.  One writer, any number of readers; each value is one
 * 64-bit atomic.  A worker that dies on any line leaves whole values.
 */
#ifndef SPENDD_STATS_STATS_H
#define SPENDD_STATS_STATS_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdint.h>

enum metric {
#define METRIC(name, kind, help) METRIC_##name,
#include "common/stats/metrics.def"
#undef METRIC
    METRICS
};

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

struct metric_info {
    const char *name;
    enum metric_kind kind;
    const char *help;
};

extern const struct metric_info metrics_table[METRICS];

struct stats_page;

/* A new page: a memfd, close-on-exec, of fixed size and sealed against resizing.  -1: failed. */
int stats_create(const char *name, struct err *err) MUST_CHECK;

/* Maps a page for writing or reading.  The descriptor may be closed afterwards.  NULL: failed. */
struct stats_page *stats_map(int fd, struct err *err);
const struct stats_page *stats_map_readonly(int fd, struct err *err);
void stats_unmap(const struct stats_page *page); /* NULL: nothing */

void stats_add(struct stats_page *page, enum metric metric, int64_t amount); /* counters: amount >= 0 */
void stats_set(struct stats_page *page, enum metric metric, int64_t value);  /* gauges */
int64_t stats_get(const struct stats_page *page, enum metric metric);

#endif
