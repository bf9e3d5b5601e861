/*
 * tables.c - metrics.def and histograms.def as data.  Pure.
 */
#include "common/stats/tables.h"

#include "common/base/attr.h"

#define COUNTER METRIC_COUNTER
#define GAUGE METRIC_GAUGE
#define SINCE METRIC_SINCE

/* --- what parts are shown as --- */
#define METRIC(name, kind, help)
#define LANE(name, kind, help)
#define PART(name, family, value, help)
#define FOREIGN(name, label, value, metric, help)

enum family {
#define FAMILY(name, kind, label, help) FAMILY_##name,
#include "common/stats/metrics.def"
#undef FAMILY
    FAMILIES
};

enum family_kind {
#define FAMILY(name, kind, label, help) KIND_OF_##name = (int)(kind),
#include "common/stats/metrics.def"
#undef FAMILY
};

static const struct metric_family families[FAMILIES] = {
#define FAMILY(name, kind, label, help) [FAMILY_##name] = {#name, kind, label, help},
#include "common/stats/metrics.def"
#undef FAMILY
};

#undef METRIC
#undef LANE
#undef PART
#undef FOREIGN

/* --- the metrics --- */
#define FAMILY(name, kind, label, help)

const struct metric_info metrics_table[METRICS] = {
#define METRIC(name, kind, help) [METRIC_##name] = {#name, kind, help, false, NULL, NULL},
#define LANE(name, kind, help) [METRIC_##name] = {#name, kind, help, true, NULL, NULL},
#define PART(name, family, value, help)                                                            \
    [METRIC_##name] = {#name, (enum metric_kind)KIND_OF_##family, help, false,                     \
                       &families[FAMILY_##family], value},
#define FOREIGN(name, label, value, metric, help)
#include "common/stats/metrics.def"
#undef METRIC
#undef LANE
#undef PART
#undef FOREIGN
};

const struct metric_foreign metrics_foreign[] = {
#define METRIC(name, kind, help)
#define LANE(name, kind, help)
#define PART(name, family, value, help)
#define FOREIGN(name, label, value, metric, help) {#name, label, value, METRIC_##metric, help},
#include "common/stats/metrics.def"
#undef METRIC
#undef LANE
#undef PART
#undef FOREIGN
#undef FAMILY
};

const size_t metrics_foreign_count = COUNT_OF(metrics_foreign);

/* --- the histograms --- */
#define HISTOGRAM(name, bounds, help)
#define BOUNDS(name, ...)                                                                          \
    static const int64_t bounds_##name[] = {__VA_ARGS__};                                          \
    _Static_assert(COUNT_OF(bounds_##name) <= HISTOGRAM_BOUNDS_MAX, "too many bounds: " #name);
#include "common/stats/histograms.def"
#undef HISTOGRAM
#undef BOUNDS

const struct histogram_info histograms_table[HISTOGRAMS] = {
#define BOUNDS(name, ...)
#define HISTOGRAM(name, bounds, help)                                                              \
    [HISTOGRAM_##name] = {#name, bounds_##bounds, COUNT_OF(bounds_##bounds), help},
#include "common/stats/histograms.def"
#undef HISTOGRAM
#undef BOUNDS
};
