/*
 * figures.c - the counters and gauges of every worker, read from their pages.  See figures.h.
 *
 * Only reads, from shared memory that the supervisor owns: figures are whole 64-bit values and do not
 * go back when a worker dies.  Asks nobody, so it answers also while everything else hangs.
 */
#include "workers/control/figures.h"

#include <stdio.h>

static const char *const worker_names[] = {
#define WORKER(name, instances, gate, core, libraries) #name,
#include "workers/roster.def"
#undef WORKER
};

static const char *const kind_names[] = {
    [METRIC_COUNTER] = "counter",
    [METRIC_GAUGE] = "gauge",
};

int64_t figures_sum(const struct harness *harness, enum metric metric)
{
    const struct stats_page *page;
    int64_t sum = 0;

    for (unsigned worker = 0; worker < COUNT_OF(worker_names); worker++)
        for (unsigned i = 0; (page = harness_page(harness, worker, i)) != NULL; i++)
            sum += stats_get(page, metric);
    return sum;
}

int64_t figures_least(const struct harness *harness, enum metric metric)
{
    const struct stats_page *page;
    int64_t least = 0;

    for (unsigned worker = 0; worker < COUNT_OF(worker_names); worker++)
        for (unsigned i = 0; (page = harness_page(harness, worker, i)) != NULL; i++) {
            int64_t value = stats_get(page, metric);

            if (value > 0 && (least == 0 || value < least))
                least = value;
        }
    return least;
}

static void write_workers(const struct harness *harness, enum metric metric, struct json_out *out)
{
    const struct stats_page *page;
    char name[48];

    for (unsigned worker = 0; worker < COUNT_OF(worker_names); worker++)
        for (unsigned i = 0; (page = harness_page(harness, worker, i)) != NULL; i++) {
            if (stats_get(page, metric) == 0)
                continue;
            snprintf(name, sizeof name, "%s.%u", worker_names[worker], i);
            json_key(out, name);
            json_number(out, stats_get(page, metric));
        }
}

void figures_write(const struct harness *harness, struct json_out *out)
{
    json_object(out);
    json_key(out, "metrics");
    json_array(out);
    for (int metric = 0; metric < METRICS; metric++) {
        json_object(out);
        json_key(out, "name");
        json_string(out, metrics_table[metric].name);
        json_key(out, "kind");
        json_string(out, kind_names[metrics_table[metric].kind]);
        json_key(out, "total");
        json_number(out, figures_sum(harness, (enum metric)metric));
        json_key(out, "workers");
        json_object(out);
        write_workers(harness, (enum metric)metric, out);
        json_end(out);
        json_end(out);
    }
    json_end(out);
    json_end(out);
}
