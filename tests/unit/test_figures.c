/*
 * test_figures.c - INFO and CLIENT LIST of Redis as figures, hostile texts included.
 *
 * links: workers/health_checker/figures.c common/base/clock.c
 */
#include "common/base/attr.h"
#include "workers/health_checker/figures.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INFO(clients, rejected, total)                                                             \
    "# Clients\r\nconnected_clients:" clients "\r\nmaxclients:100\r\n# Stats\r\n"                  \
    "total_connections_received:" total "\r\nrejected_connections:" rejected "\r\nevicted_keys:0\r\n" \
    "used_memory:80\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\nrdb_last_bgsave_status:ok\r\n" \
    "aof_last_write_status:err\r\nrole:slave\r\n"

static struct figures of(const char *info, int64_t at_ms, struct redis_counts *counts)
{
    struct figures figures;

    figures_unknown(&figures);
    figures_info(info, strlen(info), (mono_t){at_ms * 1000}, counts, &figures);
    return figures;
}

static void info_as_figures(void **unused)
{
    struct redis_counts counts = {0};
    struct figures figures = of(INFO("81", "5", "1000"), 0, &counts);

    (void)unused;
    assert_int_equal(figures.value[WATCH_redis_clients_percent], 81);
    assert_string_equal(figures.detail[WATCH_redis_clients_percent], "81 of 100");
    assert_int_equal(figures.value[WATCH_redis_memory_percent], 80);
    assert_int_equal(figures.value[WATCH_redis_eviction_policy], 1);
    assert_int_equal(figures.value[WATCH_redis_persistence], 1);
    assert_string_equal(figures.detail[WATCH_redis_persistence], "aof_last_write_status is err");
    assert_int_equal(figures.value[WATCH_redis_replica], 1);
    assert_int_equal(figures.value[WATCH_redis_rejected], FIGURE_UNKNOWN); /* since when? */
    assert_int_equal(figures.value[WATCH_redis_idle_clients], FIGURE_UNKNOWN);
    figures = of(INFO("81", "7", "1500"), 10000, &counts);
    assert_int_equal(figures.value[WATCH_redis_rejected], 2);
    assert_int_equal(figures.value[WATCH_redis_evicted], 0);
    assert_int_equal(figures.value[WATCH_redis_connections_per_s], 50);
    figures = of(INFO("81", "0", "3"), 20000, &counts); /* started anew */
    assert_int_equal(figures.value[WATCH_redis_rejected], FIGURE_UNKNOWN);
    assert_int_equal(figures.value[WATCH_redis_connections_per_s], FIGURE_UNKNOWN);
    assert_int_equal(of(INFO("81", "1", "5"), 30000, &counts).value[WATCH_redis_rejected], 1);
}

static const char *const nothing[] = {
    "",
    "\n\n\n",
    ":",
    "connected_clients",
    "connected_clients:\r\nmaxclients:\r\n",
    "connected_clients:many\r\nmaxclients:-1\r\n",
    "connected_clients:99999999999999999999\r\nmaxclients:99999999999999999999\r\nused_memory:1\r\n",
    "maxclients:0\r\nconnected_clients:5",
    "xconnected_clients:5\r\nxmaxclients:10\r\n",
};

static void what_is_missing_is_unknown(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < COUNT_OF(nothing); i++) {
        struct redis_counts counts = {0};
        struct figures figures = of(nothing[i], 0, &counts);

        for (size_t w = 0; w < WATCHES; w++)
            assert_int_equal(figures.value[w], FIGURE_UNKNOWN);
    }
}

static void clients(void **unused)
{
    static const char list[] =
        "id=1 addr=10.0.0.1:5000 laddr=10.0.0.9:6379 fd=8 name=x idle=10 flags=N\n"
        "id=2 addr=10.0.0.1:5001 laddr=10.0.0.9:6379 name=addr=6.6.6.6:1 age=9 idle=3600 flags=N\n"
        "id=3 addr=[fd00::1]:5001 idle=99999 flags=N\n"
        "id=4 addr=/run/redis.sock:0 idle=0\n"
        "nonsense\n"
        "id=5 idle=\n";
    struct figures figures;

    (void)unused;
    figures_unknown(&figures);
    figures_clients(list, strlen(list), 3600, &figures);
    assert_int_equal(figures.value[WATCH_redis_idle_clients], 2);
    assert_memory_equal(figures.detail[WATCH_redis_idle_clients], "most clients: 10.0.0.1 (2), ", 27);
    for (size_t cut = 0; cut < sizeof list; cut++)
        figures_clients(list, cut, 3600, &figures);
    /* A number ends with the text, whatever lies behind it. */
    figures_unknown(&figures);
    figures_clients("id=1 idle=3600000", strlen("id=1 idle=360"), 3600, &figures);
    assert_int_equal(figures.value[WATCH_redis_idle_clients], 0);
}

/* More addresses than there is room for, and long ones. */
static void many_clients(void **unused)
{
    char *list = malloc(400000);
    struct figures figures;
    size_t used = 0;

    (void)unused;
    assert_non_null(list);
    for (int i = 0; i < 1000; i++)
        used += (size_t)sprintf(list + used, "id=%d addr=%0200d:1 idle=%d\n", i, i, i);
    figures_unknown(&figures);
    figures_clients(list, used, 900, &figures);
    assert_int_equal(figures.value[WATCH_redis_idle_clients], 100);
    assert_true(strlen(figures.detail[WATCH_redis_idle_clients]) < sizeof figures.detail[0]);
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_as_figures),
        cmocka_unit_test(what_is_missing_is_unknown),
        cmocka_unit_test(clients),
        cmocka_unit_test(many_clients),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
