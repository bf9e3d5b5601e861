/*
 * figures.c - the counters and gauges of every worker, read from their pages.  See figures.h.
 *
 * Only reads, from shared memory that the supervisor owns: figures are whole 64-bit values and do
 * not go back when a worker dies.  Asks nobody, so it answers also while everything else hangs.
 */
#include "workers/control/figures.h"

#include "common/harness/roster.h"
#include "common/json/json_put.h"

#include <stdio.h>

static const char *const kind_names[] = {
    [METRIC_COUNTER] = "counter",
    [METRIC_GAUGE] = "gauge",
    [METRIC_SINCE] = "gauge",
};

int64_t figures_sum(const struct harness *harness, enum metric metric)
{
    int64_t sum = 0;

    for (unsigned slot = 0; slot < harness_pages(harness); slot++)
        sum += stats_get(harness_page(harness, slot), metric);
    return sum;
}

int64_t figures_least(const struct harness *harness, enum metric metric)
{
    int64_t least = 0;

    for (unsigned slot = 0; slot < harness_pages(harness); slot++) {
        int64_t value = stats_get(harness_page(harness, slot), metric);

        if (value > 0 && (least == 0 || value < least))
            least = value;
    }
    return least;
}

static void write_workers(const struct harness *harness, enum metric metric, struct json_out *out)
{
    unsigned row, index;
    char name[48];

    for (unsigned slot = 0; slot < harness_pages(harness); slot++) {
        int64_t value = stats_get(harness_page(harness, slot), metric);

        if (value == 0 || !roster_slot(harness_settings(harness), slot, &row, &index))
            continue;
        snprintf(name, sizeof name, "%s.%u", roster_table[row].name, index);
        json_key(out, name);
        json_number(out, value);
    }
}

/* The bound that `share` per cent of all that was seen did not pass; what lies above all bounds: null. */
static void write_bound(struct json_out *out, const char *key, enum histogram_id id,
                        const struct histogram *seen, int64_t share)
{
    int64_t wanted = (histogram_count(seen) * share + 99) / 100, passed = 0;
    size_t cell = 0;

    while (cell < histograms_table[id].count && (passed += seen->cell[cell]) < wanted)
        cell++;
    json_put_number_if(out, key, wanted > 0 && cell < histograms_table[id].count,
                       cell < histograms_table[id].count ? histograms_table[id].bounds[cell] : 0);
}

static void write_histogram(const struct harness *harness, enum histogram_id id, struct json_out *out)
{
    struct histogram seen = {.sum_us = 0};

    for (unsigned slot = 0; slot < harness_pages(harness); slot++)
        stats_histogram(harness_page(harness, slot), id, &seen);
    json_object(out);
    json_put_text(out, "name", histograms_table[id].name);
    json_put_number(out, "count", histogram_count(&seen));
    json_put_number(out, "sum_us", seen.sum_us);
    write_bound(out, "half_within_us", id, &seen, 50);
    write_bound(out, "most_within_us", id, &seen, 99);
    json_end(out);
}

void figures_write(const struct harness *harness, struct json_out *out)
{
    json_object(out);
    json_key(out, "histograms");
    json_array(out);
    for (int id = 0; id < HISTOGRAMS; id++)
        write_histogram(harness, (enum histogram_id)id, out);
    json_end(out);
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
