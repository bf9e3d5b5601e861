/*
 * stats.h - counters, gauges and histograms in shared memory, one page per worker instance.
 *
 * The supervisor makes a page (memfd) before a worker's first start and hands the same one to each of
 * its successors, so counters never go back.  One writer, any number of readers; each value is one
 * 64-bit atomic.  A worker that dies on any line leaves whole values.
 */
#ifndef SPENDD_STATS_STATS_H
#define SPENDD_STATS_STATS_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/stats/tables.h"

#include <stdint.h>

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

/* Each bound counts what is at most that and above the one before; the cell behind the last bound what
 * is above all of them.  A time below 0 (a clock was set) counts as 0. */
struct histogram {
    int64_t cell[HISTOGRAM_BOUNDS_MAX + 1];
    int64_t sum_us;
};

void stats_observe(struct stats_page *page, enum histogram_id id, int64_t us);

/* Many at once: collected here at no more than an addition each, then added to the page. */
void histogram_collect(struct histogram *histogram, enum histogram_id id, int64_t us);
void stats_observe_all(struct stats_page *page, enum histogram_id id, const struct histogram *seen);

/* Adds what the page has of it to `sum`. */
void stats_histogram(const struct stats_page *page, enum histogram_id id, struct histogram *sum);
int64_t histogram_count(const struct histogram *histogram);

/* Figures of what has a name in the configuration (a model that is checked): a row each, begun at its
 * first use and kept as long as the page.  Bounded: names beyond STATS_NAMED_MAX share one row. */
#define STATS_NAMED_MAX 64
enum named { NAMED_CHECKS, NAMED_FAILURES, NAMED_COST_PICO, NAMED_FIGURES };
void stats_named_add(struct stats_page *page, const char *name, enum named figure, int64_t amount);
int64_t stats_named_get(const struct stats_page *page, const char *name, enum named figure);

#endif
