/*
 * fuzz_figures.c - what a Redis says of itself (INFO, CLIENT LIST), as figures and as a verdict: no figure is below
 * "unknown", every text ends, and one look after another never makes a counter that went back a figure.
 * links: workers/health_checker/figures.c workers/health_checker/verdict.c
 */
#include "tests/fuzz/fuzz.h"
#include "workers/health_checker/figures.h"
#include "workers/health_checker/verdict.h"

#include <string.h>

static void bounded(const struct figures *figures)
{
    for (size_t i = 0; i < WATCHES; i++) {
        fuzz_claim(figures->value[i] >= FIGURE_UNKNOWN);
        fuzz_claim(memchr(figures->detail[i], '\0', sizeof figures->detail[i]) != NULL);
    }
}

static void as_info(const char *text, size_t bytes)
{
    static struct redis_counts counts; /* of another input, or of ours a moment ago */
    struct verdict verdict = {.passed = false};
    struct figures figures;
    char value[8];

    for (int64_t look = 1; look <= 2; look++) {
        figures_unknown(&figures);
        figures_info(text, bytes, (mono_t){look * 1000}, &counts, &figures);
        bounded(&figures);
    }
    /* The second look saw the same counters. */
    fuzz_claim(figures.value[WATCH_redis_evicted] <= 0 && figures.value[WATCH_redis_rejected] <= 0);
    fuzz_claim(figures.value[WATCH_redis_connections_per_s] <= 0);
    info_value(text, bytes, "role", value, sizeof value);
    fuzz_claim(strlen(value) < sizeof value);
    verdict_redis(text, bytes, &verdict);
    fuzz_claim(memchr(verdict.detail, '\0', sizeof verdict.detail) != NULL);
}

static void as_clients(const char *text, size_t bytes)
{
    struct figures figures;

    figures_unknown(&figures);
    figures_clients(text, bytes, 3600, &figures);
    bounded(&figures);
    fuzz_claim(figures.value[WATCH_redis_idle_clients] >= 0);
    fuzz_claim((size_t)figures.value[WATCH_redis_idle_clients] <= bytes);
}

static void run(const unsigned char *input, size_t bytes)
{
    as_info((const char *)input, bytes);
    as_clients((const char *)input, bytes);
}

static const char *const samples[] = {
    "# Server\r\nredis_version:7.0.15\r\n# Clients\r\nconnected_clients:81\r\nmaxclients:100\r\n"
    "# Memory\r\nused_memory:80\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n# Persistence\r\n"
    "rdb_last_bgsave_status:ok\r\naof_last_write_status:err\r\n"
    "# Stats\r\ntotal_connections_received:1000\r\nrejected_connections:5\r\nevicted_keys:0\r\n"
    "# Replication\r\nrole:slave\r\nmaster_link_status:down\r\nloading:0\r\n",
    "id=1 addr=10.0.0.1:5000 laddr=10.0.0.9:6379 fd=8 name=x age=99 idle=3600 flags=N db=0\n"
    "id=2 addr=[fd00::1]:5001 name=addr=6.6.6.6:1 idle=99999 flags=N\nid=3 addr=/run/redis.sock:0 idle=0",
    "id=4 addr=10.0.0.1:1 idle=7200"};

static size_t seed(unsigned index, unsigned char *to, size_t room)
{
    if (index >= sizeof samples / sizeof samples[0] || room < 1024)
        return 0;
    memcpy(to, samples[index], strlen(samples[index]));
    return strlen(samples[index]);
}

static const char *const words[] = {"connected_clients:", "maxclients:", "maxmemory:", "used_memory:",
                                    "evicted_keys:", "role:", "maxmemory_policy:", "\r\n", "\n", ":",
                                    " addr=", " idle=", "idle=", "addr=",
                                    "9223372036854775807", "99999999999999999999", "-1", "0", "id=9 ", NULL};

const struct fuzz_target fuzz_target = {"figures", seed, run, words};
