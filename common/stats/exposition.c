/*
 * exposition.c - the text that Prometheus reads, from metrics.def, histograms.def and what the asker
 * has heard.  See exposition.h.
 *
 * Names follow Prometheus' conventions: spendd_ in front, base units, _total behind a counter.  Every
 * row is shown from the start, also while it is 0, so that the first increase is seen as one; labels
 * come from tables and the roster alone, so the number of series is bounded.  What the supervisor has
 * not told is left out, not guessed.  The count of a histogram is the sum of the cells that were read,
 * so its series agree with each other although the writer goes on.
 *
 * Pure: writes to memory.  If we die on any line the asker gets no text and asks again.
 */
#include "common/stats/exposition_paper.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the pages --- */

static const char *type_of(enum metric_kind kind)
{
    return kind == METRIC_COUNTER ? "counter" : "gauge";
}

/* The name that is shown: _ms is shown in seconds.  Returns whether it is. */
static bool shown_name(const struct metric_info *info, char *name, size_t size)
{
    size_t length = strlen(info->name);
    bool ms = length > 3 && strcmp(info->name + length - 3, "_ms") == 0;

    snprintf(name, size, "spendd_%.*s%s", (int)(ms ? length - 3 : length), info->name,
             !ms ? "" : info->kind == METRIC_SINCE ? "_age_seconds" : "_seconds");
    return ms;
}

static int64_t age_ms(const struct exposition *from, int64_t since_ms)
{
    return since_ms > 0 && from->now_ms > since_ms ? from->now_ms - since_ms : 0;
}

static int64_t sum(const struct exposition *from, enum metric metric)
{
    int64_t total = 0;

    for (size_t i = 0; i < from->workers; i++)
        if (from->worker[i].page != NULL)
            total += stats_get(from->worker[i].page, metric);
    return total;
}

static void write_value(const struct paper *paper, const struct metric_info *info, bool ms, int64_t value)
{
    if (info->kind == METRIC_SINCE)
        paper_thousandths(paper, age_ms(paper->from, value));
    else if (ms)
        paper_thousandths(paper, value);
    else
        paper_number(paper, value);
}

static void write_lanes(const struct paper *paper, enum metric metric, const char *name, bool ms)
{
    char lane[12];

    for (size_t i = 0; i < paper->from->workers; i++) {
        const struct exposition_worker *worker = &paper->from->worker[i];

        if (!worker->is_lane || worker->page == NULL)
            continue;
        snprintf(lane, sizeof lane, "%u", worker->index);
        paper_labeled(paper, name, "lane", lane);
        write_value(paper, &metrics_table[metric], ms, stats_get(worker->page, metric));
    }
}

static void write_part(const struct paper *paper, enum metric metric)
{
    const struct metric_info *info = &metrics_table[metric];
    const struct metric_family *family = info->family;
    char name[80];

    snprintf(name, sizeof name, "spendd_%s", family->name);
    if (metric == 0 || metrics_table[metric - 1].family != family)
        paper_head(paper, name, type_of(family->kind), family->help);
    paper_labeled(paper, name, family->label, info->value);
    paper_number(paper, sum(paper->from, metric));
}

static void write_metric(const struct paper *paper, enum metric metric)
{
    const struct metric_info *info = &metrics_table[metric];
    char name[80];
    bool ms;

    if (info->family != NULL) {
        write_part(paper, metric);
        return;
    }
    ms = shown_name(info, name, sizeof name);
    paper_head(paper, name, type_of(info->kind), info->help);
    if (info->by_lane) {
        write_lanes(paper, metric, name, ms);
    } else {
        fputs(name, paper->out);
        write_value(paper, info, ms, sum(paper->from, metric));
    }
}

int64_t exposition_lag_ms(const struct exposition *from)
{
    int64_t most = 0;

    for (size_t i = 0; i < from->workers; i++) {
        const struct stats_page *page = from->worker[i].page;
        int64_t age = page == NULL ? 0 : age_ms(from, stats_get(page, METRIC_spool_oldest_unapplied_ms));

        if (age > most)
            most = age;
    }
    return most;
}

static void write_lag(const struct paper *paper)
{
    paper_head(paper, "spendd_ledger_lag_seconds", "gauge",
         "Age of the oldest acknowledged event that PostgreSQL does not have yet; 0: it has all.");
    fputs("spendd_ledger_lag_seconds", paper->out);
    paper_thousandths(paper, exposition_lag_ms(paper->from));
}

/* --- histograms --- */

/* Seconds as a decimal number with one digit behind the point at least, as OpenMetrics writes it. */
static void write_bound(FILE *out, int64_t us)
{
    char digits[8];
    size_t length = 6;

    snprintf(digits, sizeof digits, "%06d", (int)(us % 1000000));
    while (length > 1 && digits[length - 1] == '0')
        length--;
    fprintf(out, "%" PRId64 ".%.*s", us / 1000000, (int)length, digits);
}

static void write_histogram(const struct paper *paper, enum histogram_id id)
{
    const struct histogram_info *info = &histograms_table[id];
    struct histogram seen = {.sum_us = 0};
    int64_t count = 0;
    char name[80];

    for (size_t i = 0; i < paper->from->workers; i++)
        if (paper->from->worker[i].page != NULL)
            stats_histogram(paper->from->worker[i].page, id, &seen);
    snprintf(name, sizeof name, "spendd_%s", info->name);
    paper_head(paper, name, "histogram", info->help);
    for (size_t i = 0; i < info->count; i++) {
        count += seen.cell[i];
        fprintf(paper->out, "%s_bucket{le=\"", name);
        write_bound(paper->out, info->bounds[i]);
        fprintf(paper->out, "\"} %" PRId64 "\n", count);
    }
    count += seen.cell[info->count];
    fprintf(paper->out, "%s_bucket{le=\"+Inf\"} %" PRId64 "\n%s_sum %" PRId64 ".%06d\n%s_count %" PRId64 "\n",
            name, count, name, seen.sum_us / 1000000, (int)(seen.sum_us % 1000000), name, count);
}

/* --- under the names of others --- */

static void write_foreign(const struct paper *paper, const struct metric_foreign *foreign)
{
    char value[200];
    size_t length = strlen(foreign->value);
    bool open = length > 0 && foreign->value[length - 1] == ':';

    snprintf(value, sizeof value, "%s%s", foreign->value, open ? paper->from->instance : "");
    paper_head(paper, foreign->name, "gauge", foreign->help);
    paper_labeled(paper, foreign->name, foreign->label, value);
    paper_number(paper, sum(paper->from, foreign->metric));
}

char *exposition_text(const struct exposition *from, size_t *length)
{
    struct paper paper = {.from = from};
    char *text = NULL;
    bool good;

    paper.out = open_memstream(&text, length);
    if (paper.out == NULL)
        return NULL;
    exposition_facts(&paper);
    write_lag(&paper);
    for (int metric = 0; metric < METRICS; metric++)
        write_metric(&paper, (enum metric)metric);
    for (int id = 0; id < HISTOGRAMS; id++)
        write_histogram(&paper, (enum histogram_id)id);
    if (from->litellm)
        for (size_t i = 0; i < metrics_foreign_count; i++)
            write_foreign(&paper, &metrics_foreign[i]);
    exposition_models(&paper);
    if (from->openmetrics)
        fputs("# EOF\n", paper.out);
    good = !ferror(paper.out);
    if (fclose(paper.out) != 0 || !good) {
        free(text);
        return NULL;
    }
    return text;
}
