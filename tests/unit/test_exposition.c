/*
 * test_exposition.c - pages of counters and histograms, and the text that Prometheus reads.
 *
 * With a file's name in EXPOSITION_TEXT (and in EXPOSITION_OPENMETRICS) it writes what it has rendered
 * there, for promtool and the official parser (tests/flow/test_views.py).
 *
 * links: common/stats/exposition.c common/stats/exposition_facts.c common/stats/stats.c common/base/err.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/stats/exposition.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOW_MS 1800000000000

static struct stats_page *page(void)
{
    struct err err;
    int fd = stats_create("page", &err);
    struct stats_page *made = stats_map(fd, &err);

    assert_non_null(made);
    close(fd);
    return made;
}

struct stage {
    struct stats_page *page[3];
    struct exposition_worker worker[3];
    struct exposition from;
};

static struct stage *stage(void)
{
    struct stage *stage = calloc(1, sizeof *stage);

    for (unsigned i = 0; i < 3; i++) {
        stage->page[i] = page();
        stage->worker[i] = (struct exposition_worker){.name = i < 2 ? "aggregator" : "db_flusher",
                                                      .index = i % 2, .is_lane = i < 2,
                                                      .page = stage->page[i], .known = true,
                                                      .ready = i != 1, .restarts = i};
    }
    stage->from = (struct exposition){.version = "0.1.0", .build = "a\"b\\c\nd", .instance = "pod-1",
                                      .now_ms = NOW_MS, .supervisor = true, .database_open = true,
                                      .started_ms = NOW_MS - 5000, .worker = stage->worker, .workers = 3};
    return stage;
}

static void unstage(struct stage *stage)
{
    for (unsigned i = 0; i < 3; i++)
        stats_unmap(stage->page[i]);
    free(stage);
}

/* The text, also to the file that the variable names. */
static char *render(const struct exposition *from, const char *variable)
{
    const char *path = variable != NULL ? getenv(variable) : NULL;
    size_t length;
    char *text = exposition_text(from, &length);
    FILE *file;

    assert_non_null(text);
    assert_int_equal(strlen(text), length);
    if (path != NULL) {
        file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(text, 1, length, file), length);
        assert_int_equal(fclose(file), 0);
    }
    return text;
}

static void has(const char *text, const char *line)
{
    if (strstr(text, line) == NULL)
        fail_msg("not there: %s", line);
}

static void figures_are_shown(void **state)
{
    struct stage *s = stage();
    char *text;

    (void)state;
    stats_add(s->page[0], METRIC_events_accepted_total, 3);
    stats_add(s->page[1], METRIC_events_accepted_total, 4);
    stats_set(s->page[1], METRIC_spool_bytes, 77);
    stats_set(s->page[1], METRIC_spool_oldest_unapplied_ms, NOW_MS - 2500);
    stats_set(s->page[0], METRIC_spool_oldest_unapplied_ms, NOW_MS - 1);
    stats_set(s->page[2], METRIC_flush_oldest_event_ms, 1002);
    stats_add(s->page[2], METRIC_database_refused_deadlock_total, 9);
    text = render(&s->from, "EXPOSITION_TEXT");
    has(text, "# TYPE spendd_ingest_events_total counter\nspendd_ingest_events_total{outcome=\"accepted\"} 7\n");
    has(text, "\nspendd_spool_bytes{lane=\"0\"} 0\nspendd_spool_bytes{lane=\"1\"} 77\n");
    has(text, "\nspendd_spool_oldest_unapplied_age_seconds{lane=\"0\"} 0.001\n"
              "spendd_spool_oldest_unapplied_age_seconds{lane=\"1\"} 2.500\n");
    has(text, "\nspendd_ledger_lag_seconds 2.500\n");
    has(text, "\nspendd_flush_oldest_event_seconds 1.002\n");
    has(text, "\nspendd_database_refused_total{reason=\"deadlock\"} 9\n");
    has(text, "\nspendd_build_info{version=\"0.1.0\",build=\"a\\\"b\\\\c\\nd\"} 1\n");
    has(text, "\nspendd_worker_ready{worker=\"aggregator.1\"} 0\n");
    has(text, "\nspendd_worker_restarts_total{worker=\"db_flusher.0\"} 2\n");
    has(text, "\nspendd_gate_open{gate=\"database\"} 1\n");
    has(text, "\nspendd_start_time_seconds 1799999995.000\n");
    assert_null(strstr(text, "litellm_redis"));
    free(text);
    unstage(s);
}

static void what_is_not_known_is_left_out(void **state)
{
    struct stage *s = stage();
    char *text;

    (void)state;
    s->from.supervisor = false;
    s->worker[2].known = false;
    s->worker[1].page = NULL;
    text = render(&s->from, NULL);
    has(text, "\nspendd_supervisor_up 0\n");
    assert_null(strstr(text, "spendd_gate_open"));
    assert_null(strstr(text, "spendd_worker_ready"));
    assert_null(strstr(text, "lane=\"1\""));
    free(text);
    unstage(s);
}

static void histograms_count_each_once(void **state)
{
    struct stage *s = stage();
    struct histogram many = {.sum_us = 0};
    char *text;

    (void)state;
    stats_observe(s->page[0], HISTOGRAM_spool_commit_seconds, -5);       /* the clock was set */
    stats_observe(s->page[0], HISTOGRAM_spool_commit_seconds, 250);      /* a bound is inclusive */
    stats_observe(s->page[1], HISTOGRAM_spool_commit_seconds, 251);
    stats_observe(s->page[1], HISTOGRAM_spool_commit_seconds, 99000000); /* above all of them */
    for (int i = 0; i < 1000; i++)
        histogram_collect(&many, HISTOGRAM_event_commit_seconds, 1500001);
    assert_int_equal(histogram_count(&many), 1000);
    stats_observe_all(s->page[2], HISTOGRAM_event_commit_seconds, &many);
    stats_observe_all(s->page[2], HISTOGRAM_event_commit_seconds, &many);
    text = render(&s->from, NULL);
    has(text, "\n# TYPE spendd_spool_commit_seconds histogram\n"
              "spendd_spool_commit_seconds_bucket{le=\"0.00025\"} 2\n"
              "spendd_spool_commit_seconds_bucket{le=\"0.0005\"} 3\n");
    has(text, "\nspendd_spool_commit_seconds_bucket{le=\"5.0\"} 3\n"
              "spendd_spool_commit_seconds_bucket{le=\"+Inf\"} 4\n"
              "spendd_spool_commit_seconds_sum 99.000501\nspendd_spool_commit_seconds_count 4\n");
    has(text, "\nspendd_event_commit_seconds_bucket{le=\"1.5\"} 0\n"
              "spendd_event_commit_seconds_bucket{le=\"2.0\"} 2000\n");
    free(text);
    unstage(s);
}

static void openmetrics_and_foreign_names(void **state)
{
    struct stage *s = stage();
    char *text;

    (void)state;
    s->from.openmetrics = s->from.litellm = true;
    stats_set(s->page[2], METRIC_litellm_update_elements, 12);
    stats_set(s->page[2], METRIC_litellm_lock_held, 1);
    text = render(&s->from, "EXPOSITION_OPENMETRICS");
    has(text, "# TYPE spendd_ingest_events counter\nspendd_ingest_events_total{");
    has(text, "# TYPE spendd_build info\nspendd_build_info{");
    has(text, "\nlitellm_pod_lock_manager_size{pod_lock_manager=\"db_spend_update_job:pod-1\"} 1\n");
    has(text, "\nlitellm_redis_spend_update_queue_size{redis_spend_update_queue=\"redis_spend_update_queue\"} 12\n");
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
    free(text);
    unstage(s);
}

static void models_are_shown(void **state)
{
    const struct exposition_model models[] = {
        {.name = "gpt-4o", .known = true, .healthy = true, .checks = 7, .failures = 2, .latency_ms = 251,
         .cost_usd = "0.000035"},
        {.name = "new", .latency_ms = -1, .cost_usd = "0"},
    };
    struct stage *s = stage();
    char *text;

    (void)state;
    s->from.model = models;
    s->from.models = 2;
    text = render(&s->from, "EXPOSITION_MODELS");
    has(text, "\nspendd_model_healthy{model=\"gpt-4o\"} 1\n# HELP");
    has(text, "\nspendd_model_checks_total{model=\"gpt-4o\"} 7\nspendd_model_checks_total{model=\"new\"} 0\n");
    has(text, "\nspendd_model_check_failures_total{model=\"gpt-4o\"} 2\n");
    has(text, "\nspendd_model_check_cost_usd_total{model=\"gpt-4o\"} 0.000035\n");
    has(text, "\nspendd_model_check_latency_seconds{model=\"gpt-4o\"} 0.251\n");
    assert_null(strstr(text, "spendd_model_check_latency_seconds{model=\"new\"}"));
    free(text);
    unstage(s);
}

static bool ends(const char *name, const char *tail)
{
    return strlen(name) > strlen(tail) && strcmp(name + strlen(name) - strlen(tail), tail) == 0;
}

/* The conventions: a counter ends in _total and nothing else does; help is a sentence. */
static void check_row(const char *name, enum metric_kind kind, const char *help)
{
    size_t length = strlen(help);

    if (ends(name, "_total") != (kind == METRIC_COUNTER))
        fail_msg("%s: _total is a counter's", name);
    if (length == 0 || help[length - 1] != '.' || strpbrk(help, "\n\\"))
        fail_msg("%s: its help is no sentence", name);
    for (const char *c = name; *c; c++)
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_')
            fail_msg("%s: no name for a metric", name);
}

static bool same_shown(const struct metric_info *a, const struct metric_info *b)
{
    return a->family != NULL && a->family == b->family && strcmp(a->value, b->value) == 0;
}

static void tables_keep_the_rules(void **state)
{
    (void)state;
    for (int i = 0; i < METRICS; i++) {
        const struct metric_info *info = &metrics_table[i];

        check_row(info->name, info->kind, info->help);
        if (info->family != NULL)
            check_row(info->family->name, info->family->kind, info->family->help);
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(info->name, metrics_table[j].name);
            if (same_shown(info, &metrics_table[j]))
                fail_msg("%s: same label as %s", info->name, metrics_table[j].name);
            /* Parts of one family come together: its samples must. */
            if (info->family != NULL && metrics_table[j].family == info->family &&
                metrics_table[i - 1].family != info->family)
                fail_msg("%s: not beside the others of its family", info->name);
        }
    }
    for (int i = 0; i < HISTOGRAMS; i++) {
        assert_true(ends(histograms_table[i].name, "_seconds"));
        for (size_t j = 1; j < histograms_table[i].count; j++)
            assert_true(histograms_table[i].bounds[j] > histograms_table[i].bounds[j - 1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_shown),
        cmocka_unit_test(what_is_not_known_is_left_out),
        cmocka_unit_test(histograms_count_each_once),
        cmocka_unit_test(openmetrics_and_foreign_names),
        cmocka_unit_test(models_are_shown),
        cmocka_unit_test(tables_keep_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
