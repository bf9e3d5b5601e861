/*
 * tables.h - metrics.def and histograms.def as data.
 */
#ifndef SPENDD_STATS_TABLES_H
#define SPENDD_STATS_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric {
#define METRIC(name, kind, help) METRIC_##name,
#define LANE(name, kind, help) METRIC_##name,
#define PART(name, family, value, help) METRIC_##name,
#define FAMILY(name, kind, label, help)
#define FOREIGN(name, label, value, metric, help)
#include "common/stats/metrics.def"
#undef METRIC
#undef LANE
#undef PART
#undef FAMILY
#undef FOREIGN
    METRICS
};

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_SINCE };

/* Several metrics that are shown as one, with a label. */
struct metric_family {
    const char *name;
    enum metric_kind kind;
    const char *label, *help;
};

struct metric_info {
    const char *name;
    enum metric_kind kind;
    const char *help;
    bool by_lane;
    const struct metric_family *family; /* NULL: shown alone */
    const char *value;                  /* of the family's label */
};

/* A metric under the name of another program. */
struct metric_foreign {
    const char *name, *label, *value;
    enum metric metric;
    const char *help;
};

extern const struct metric_info metrics_table[METRICS];
extern const struct metric_foreign metrics_foreign[];
extern const size_t metrics_foreign_count;

#define HISTOGRAM_BOUNDS_MAX 14

enum histogram_id {
#define BOUNDS(name, ...)
#define HISTOGRAM(name, bounds, help) HISTOGRAM_##name,
#include "common/stats/histograms.def"
#undef BOUNDS
#undef HISTOGRAM
    HISTOGRAMS
};

struct histogram_info {
    const char *name;
    const int64_t *bounds; /* microseconds */
    size_t count;
    const char *help;
};

extern const struct histogram_info histograms_table[HISTOGRAMS];

#endif
