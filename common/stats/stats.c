/*
 * stats.c - pages of counters and histograms in sealed shared memory.  See stats.h.
 *
 * A page is a memfd of fixed size, sealed against growing and shrinking, so that a reader that mapped
 * it never meets SIGBUS whatever the writer does.  Values are 64-bit relaxed atomics: a figure is never
 * torn, figures of different metrics may be a moment apart.  The header is written before the page is
 * handed out, and says the number of metrics: a page of another build is refused when it is mapped.
 * If a worker dies on any line, every value in its page is one that it had.
 */
#include "common/stats/stats.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_MAGIC 0x3153544154534453LL /* "SDSTATS1" */

struct cells {
    _Atomic int64_t cell[HISTOGRAM_BOUNDS_MAX + 1], sum_us;
};

struct named_row {
    char name[64];
    _Atomic int64_t figures[NAMED_FIGURES];
};

struct stats_page {
    int64_t magic;
    int64_t metrics;
    _Atomic int64_t values[METRICS];
    struct cells histograms[HISTOGRAMS];
    _Atomic int64_t named;                          /* rows that are whole */
    struct named_row named_row[STATS_NAMED_MAX + 1]; /* the last one: whatever has no room */
};

int stats_create(const char *name, struct err *err)
{
    const int64_t header[2] = {PAGE_MAGIC, METRICS};
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return err_errno(err, "memfd_create");
    if (ftruncate(fd, (off_t)sizeof(struct stats_page)) < 0 ||
        pwrite(fd, header, sizeof header, 0) != (ssize_t)sizeof header ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
        err_errno(err, "preparing a page of counters");
        close(fd);
        return -1;
    }
    return fd;
}

static struct stats_page *map(int fd, int protection, struct err *err)
{
    struct stats_page *page;
    struct stat st;

    if (fstat(fd, &st) < 0) {
        err_errno(err, "page of counters");
        return NULL;
    }
    if (st.st_size != (off_t)sizeof *page) {
        err_set(err, "page of counters has %lld bytes, not %zu", (long long)st.st_size, sizeof *page);
        return NULL;
    }
    page = mmap(NULL, sizeof *page, protection, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        err_errno(err, "mapping a page of counters");
        return NULL;
    }
    if (page->magic != PAGE_MAGIC || page->metrics != METRICS) {
        err_set(err, "page of counters was made by another build");
        munmap(page, sizeof *page);
        return NULL;
    }
    return page;
}

struct stats_page *stats_map(int fd, struct err *err)
{
    return map(fd, PROT_READ | PROT_WRITE, err);
}

const struct stats_page *stats_map_readonly(int fd, struct err *err)
{
    return map(fd, PROT_READ, err);
}

void stats_unmap(const struct stats_page *page)
{
    if (page != NULL)
        munmap((void *)(uintptr_t)page, sizeof *page);
}

void stats_add(struct stats_page *page, enum metric metric, int64_t amount)
{
    atomic_fetch_add_explicit(&page->values[metric], amount, memory_order_relaxed);
}

void stats_set(struct stats_page *page, enum metric metric, int64_t value)
{
    atomic_store_explicit(&page->values[metric], value, memory_order_relaxed);
}

int64_t stats_get(const struct stats_page *page, enum metric metric)
{
    return atomic_load_explicit(&page->values[metric], memory_order_relaxed);
}

void histogram_collect(struct histogram *histogram, enum histogram_id id, int64_t us)
{
    const struct histogram_info *info = &histograms_table[id];
    size_t cell = 0;

    while (cell < info->count && us > info->bounds[cell])
        cell++;
    histogram->cell[cell]++;
    histogram->sum_us += us > 0 ? us : 0;
}

void stats_observe_all(struct stats_page *page, enum histogram_id id, const struct histogram *seen)
{
    struct cells *cells = &page->histograms[id];

    for (size_t i = 0; i <= histograms_table[id].count; i++)
        if (seen->cell[i] > 0)
            atomic_fetch_add_explicit(&cells->cell[i], seen->cell[i], memory_order_relaxed);
    atomic_fetch_add_explicit(&cells->sum_us, seen->sum_us, memory_order_relaxed);
}

void stats_observe(struct stats_page *page, enum histogram_id id, int64_t us)
{
    struct histogram one = {.sum_us = 0};

    histogram_collect(&one, id, us);
    stats_observe_all(page, id, &one);
}

void stats_histogram(const struct stats_page *page, enum histogram_id id, struct histogram *sum)
{
    const struct cells *cells = &page->histograms[id];

    for (size_t i = 0; i <= histograms_table[id].count; i++)
        sum->cell[i] += atomic_load_explicit(&cells->cell[i], memory_order_relaxed);
    sum->sum_us += atomic_load_explicit(&cells->sum_us, memory_order_relaxed);
}

int64_t histogram_count(const struct histogram *histogram)
{
    int64_t count = 0;

    for (size_t i = 0; i <= HISTOGRAM_BOUNDS_MAX; i++)
        count += histogram->cell[i];
    return count;
}

/* The row of that name; STATS_NAMED_MAX: it has none. */
static int64_t named_find(const struct stats_page *page, const char *name)
{
    int64_t count = atomic_load_explicit(&page->named, memory_order_acquire);

    for (int64_t i = 0; i < count && i < STATS_NAMED_MAX; i++)
        if (strncmp(page->named_row[i].name, name, sizeof page->named_row[i].name - 1) == 0)
            return i;
    return STATS_NAMED_MAX;
}

void stats_named_add(struct stats_page *page, const char *name, enum named figure, int64_t amount)
{
    int64_t row = named_find(page, name), count = atomic_load_explicit(&page->named, memory_order_relaxed);

    if (row == STATS_NAMED_MAX && count < STATS_NAMED_MAX) {
        row = count;
        snprintf(page->named_row[row].name, sizeof page->named_row[row].name, "%s", name);
        /* The name first: who dies in between leaves a row that nobody sees. */
        atomic_store_explicit(&page->named, count + 1, memory_order_release);
    }
    atomic_fetch_add_explicit(&page->named_row[row].figures[figure], amount, memory_order_relaxed);
}

int64_t stats_named_get(const struct stats_page *page, const char *name, enum named figure)
{
    const struct named_row *row = &page->named_row[named_find(page, name)];

    return atomic_load_explicit(&row->figures[figure], memory_order_relaxed);
}
