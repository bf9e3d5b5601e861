/*
 * exposition_facts.c - the lines that are in no page: the build, what the supervisor has told, what the
 * health checker says of the models.  And how one line is written.  See exposition.h.
 *
 * What is not known is left out, not guessed.  Pure: writes to memory.
 */
#include "common/stats/exposition_paper.h"

#include <inttypes.h>
#include <string.h>

/* --- one line --- */

static void write_escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\n')
            fputs("\\n", out);
        else if (*text == '\\' || *text == '"')
            fprintf(out, "\\%c", *text);
        else
            fputc(*text, out);
    }
}

/* # HELP and # TYPE.  In OpenMetrics a counter's _total belongs to the sample, not to the metric. */
void paper_head(const struct paper *paper, const char *name, const char *type, const char *help)
{
    static const char total[] = "_total";
    size_t length = strlen(name), tail = sizeof total - 1;

    if (paper->from->openmetrics && length > tail && strcmp(name + length - tail, total) == 0)
        length -= tail;
    fprintf(paper->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)length, name, help, (int)length, name,
            type);
}

void paper_labeled(const struct paper *paper, const char *name, const char *label, const char *value)
{
    fprintf(paper->out, "%s{%s=\"", name, label);
    write_escaped(paper->out, value);
    fputs("\"}", paper->out);
}

void paper_number(const struct paper *paper, int64_t value)
{
    fprintf(paper->out, " %" PRId64 "\n", value);
}

void paper_thousandths(const struct paper *paper, int64_t ms)
{
    if (ms < 0)
        ms = 0;
    fprintf(paper->out, " %" PRId64 ".%03d\n", ms / 1000, (int)(ms % 1000));
}

/* --- what the supervisor has told --- */

static void fact(const struct paper *paper, const char *name, bool value, const char *help)
{
    paper_head(paper, name, "gauge", help);
    fputs(name, paper->out);
    paper_number(paper, value);
}

static void write_build(const struct paper *paper)
{
    bool info = paper->from->openmetrics;

    paper_head(paper, info ? "spendd_build" : "spendd_build_info", info ? "info" : "gauge",
         "Which build this is; always 1.");
    fputs("spendd_build_info{version=\"", paper->out);
    write_escaped(paper->out, paper->from->version);
    fputs("\",build=\"", paper->out);
    write_escaped(paper->out, paper->from->build);
    fputs("\"} 1\n", paper->out);
}

static void write_workers(const struct paper *paper, const char *name, const char *type, const char *help)
{
    bool restarts = strcmp(type, "counter") == 0;
    char who[64];

    paper_head(paper, name, type, help);
    for (size_t i = 0; i < paper->from->workers; i++) {
        const struct exposition_worker *worker = &paper->from->worker[i];

        if (!worker->known)
            continue;
        snprintf(who, sizeof who, "%s.%u", worker->name, worker->index);
        paper_labeled(paper, name, "worker", who);
        paper_number(paper, restarts ? (int64_t)worker->restarts : (int64_t)worker->ready);
    }
}

static void write_supervision(const struct paper *paper)
{
    const struct exposition *from = paper->from;

    fact(paper, "spendd_supervisor_up", from->supervisor, "1 while the supervisor answers.");
    if (!from->supervisor)
        return;
    paper_head(paper, "spendd_start_time_seconds", "gauge", "When the supervisor started, seconds since 1970.");
    fputs("spendd_start_time_seconds", paper->out);
    paper_thousandths(paper, from->started_ms);
    fact(paper, "spendd_draining", from->draining, "1 while spendd drains before it leaves.");
    paper_head(paper, "spendd_gate_open", "gauge", "1 while the gate is open: database, the flusher may run.");
    paper_labeled(paper, "spendd_gate_open", "gate", "database");
    paper_number(paper, from->database_open);
    write_workers(paper, "spendd_worker_ready", "gauge", "1 while the worker is ready.");
    write_workers(paper, "spendd_worker_restarts_total", "counter", "Restarts of the worker, asked for or not.");
}

void exposition_facts(const struct paper *paper)
{
    write_build(paper);
    write_supervision(paper);
}

/* --- models --- */

enum of_model { MODEL_HEALTHY, MODEL_CHECKS, MODEL_FAILURES, MODEL_COST, MODEL_LATENCY };

static void write_model(const struct paper *paper, const char *name, enum of_model what,
                        const struct exposition_model *model)
{
    bool known = what == MODEL_HEALTHY ? model->known : what != MODEL_LATENCY || model->latency_ms >= 0;

    if (!known)
        return;
    paper_labeled(paper, name, "model", model->name);
    switch (what) {
    case MODEL_HEALTHY:
        paper_number(paper, model->healthy);
        return;
    case MODEL_CHECKS:
        paper_number(paper, model->checks);
        return;
    case MODEL_FAILURES:
        paper_number(paper, model->failures);
        return;
    case MODEL_COST:
        fprintf(paper->out, " %s\n", model->cost_usd);
        return;
    case MODEL_LATENCY:
        paper_thousandths(paper, model->latency_ms);
        return;
    }
}

void exposition_models(const struct paper *paper)
{
    static const struct {
        const char *name, *type, *help;
    } shown[] = {
        [MODEL_HEALTHY] = {"spendd_model_healthy", "gauge", "1: the last shared check of the model passed."},
        [MODEL_CHECKS] = {"spendd_model_checks_total", "counter", "Checks of the model made by this instance."},
        [MODEL_FAILURES] = {"spendd_model_check_failures_total", "counter", "Those of them that failed."},
        [MODEL_COST] = {"spendd_model_check_cost_usd_total", "counter",
                        "What these checks cost, as configured, in US dollars."},
        [MODEL_LATENCY] = {"spendd_model_check_latency_seconds", "gauge", "How long the last check took."},
    };

    for (size_t what = 0; paper->from->models > 0 && what < COUNT_OF(shown); what++) {
        paper_head(paper, shown[what].name, shown[what].type, shown[what].help);
        for (size_t i = 0; i < paper->from->models; i++)
            write_model(paper, shown[what].name, (enum of_model)what, &paper->from->model[i]);
    }
}
