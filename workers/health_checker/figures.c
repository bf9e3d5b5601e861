/*
 * figures.c - INFO and CLIENT LIST of Redis as figures.  See figures.h.
 *
 * A counter that went back (Redis was started anew) says nothing about what was since: unknown, and a new
 * beginning.  Of CLIENT LIST the addresses are counted in a table of bounded size; what does not fit is counted
 * together.  Pure.
 */
#include "workers/health_checker/figures.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESSES_MAX 64
#define ADDRESSES_SHOWN 3

void figures_unknown(struct figures *figures)
{
    memset(figures, 0, sizeof *figures);
    for (size_t i = 0; i < WATCHES; i++)
        figures->value[i] = FIGURE_UNKNOWN;
}

int64_t figures_percent(int64_t part, int64_t whole)
{
    if (part < 0 || whole <= 0 || part > INT64_MAX / 100)
        return FIGURE_UNKNOWN;
    return part * 100 / whole;
}

/* --- INFO ----------------------------------------------------------------------------------------- */

void info_value(const char *info, size_t length, const char *name, char *value, size_t size)
{
    const char *end = info + length, *line = info;
    size_t name_length = strlen(name);

    value[0] = '\0';
    while (line < end) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t line_length = (size_t)((stop ? stop : end) - line);

        if (line_length > name_length && memcmp(line, name, name_length) == 0 &&
            line[name_length] == ':') {
            size_t have = line_length - name_length - 1;

            have = have < size - 1 ? have : size - 1;
            memcpy(value, line + name_length + 1, have);
            value[have] = '\0';
            value[strcspn(value, "\r")] = '\0';
            return;
        }
        line += line_length + 1;
    }
}

static int64_t number(const char *text)
{
    char *end;
    long long value = strtoll(text, &end, 10);

    return end != text && *end == '\0' && value >= 0 && value < INT64_MAX ? value : FIGURE_UNKNOWN;
}

int64_t info_number(const char *info, size_t length, const char *name)
{
    char value[32];

    info_value(info, length, name, value, sizeof value);
    return number(value);
}

bool info_evicts(const char *policy, const char *bound)
{
    return strncmp(policy, "allkeys", 7) == 0 && strcmp(bound, "0") != 0;
}

/* What was added since the last look. */
static int64_t since(const struct redis_counts *counts, int64_t before, int64_t now)
{
    return counts->seen && before >= 0 && now >= before ? now - before : FIGURE_UNKNOWN;
}

static void figures_counts(const struct redis_counts *now, struct redis_counts *before, struct figures *figures)
{
    int64_t opened = since(before, before->connections, now->connections);
    int64_t ms = mono_ms_between(before->at, now->at);

    figures->value[WATCH_redis_rejected] = since(before, before->rejected, now->rejected);
    figures->value[WATCH_redis_evicted] = since(before, before->evicted, now->evicted);
    if (opened >= 0 && opened < INT64_MAX / 1000)
        figures->value[WATCH_redis_connections_per_s] = opened * 1000 / (ms > 0 ? ms : 1);
    *before = *now;
}

/* 1 if one of them says something else than ok; unknown if none says anything. */
static int64_t failing(const char *info, size_t length, char detail[120])
{
    static const char *const names[] = {"rdb_last_bgsave_status", "aof_last_write_status",
                                        "aof_last_bgrewrite_status"};
    int64_t found = FIGURE_UNKNOWN;
    char value[32];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        info_value(info, length, names[i], value, sizeof value);
        if (value[0] == '\0')
            continue;
        if (strcmp(value, "ok") != 0) {
            snprintf(detail, 120, "%s is %s", names[i], value);
            return 1;
        }
        found = 0;
    }
    return found;
}

static void figures_words(const char *info, size_t length, struct figures *figures)
{
    char role[32], policy[32], bound[32];

    info_value(info, length, "role", role, sizeof role);
    info_value(info, length, "maxmemory_policy", policy, sizeof policy);
    info_value(info, length, "maxmemory", bound, sizeof bound);
    if (role[0] != '\0')
        figures->value[WATCH_redis_replica] = strcmp(role, "slave") == 0;
    if (policy[0] != '\0' && bound[0] != '\0') {
        figures->value[WATCH_redis_eviction_policy] = info_evicts(policy, bound);
        snprintf(figures->detail[WATCH_redis_eviction_policy], 120, "maxmemory-policy %s", policy);
    }
}

/* Without a bound nothing can reach it. */
static int64_t memory_percent(const char *info, size_t length)
{
    int64_t most = info_number(info, length, "maxmemory");

    return most == 0 ? 0 : figures_percent(info_number(info, length, "used_memory"), most);
}

void figures_info(const char *info, size_t length, mono_t now, struct redis_counts *counts,
                  struct figures *figures)
{
    const struct redis_counts seen = {
        .seen = true,
        .at = now,
        .rejected = info_number(info, length, "rejected_connections"),
        .evicted = info_number(info, length, "evicted_keys"),
        .connections = info_number(info, length, "total_connections_received"),
    };
    int64_t clients = info_number(info, length, "connected_clients");
    int64_t most = info_number(info, length, "maxclients");

    figures->value[WATCH_redis_clients_percent] = figures_percent(clients, most);
    if (clients >= 0 && most > 0)
        snprintf(figures->detail[WATCH_redis_clients_percent], 120, "%" PRId64 " of %" PRId64, clients, most);
    figures->value[WATCH_redis_memory_percent] = memory_percent(info, length);
    figures->value[WATCH_redis_persistence] =
        failing(info, length, figures->detail[WATCH_redis_persistence]);
    figures_words(info, length, figures);
    figures_counts(&seen, counts, figures);
}

/* --- CLIENT LIST: "id=3 addr=10.0.0.1:5000 laddr=... idle=12 ...\n" ---------------------------------- */

struct address {
    char host[48];
    unsigned clients;
};

struct addresses {
    unsigned count, others;
    struct address of[ADDRESSES_MAX];
};

/* The value behind " name=" in a line; its length. */
static size_t field(const char *line, size_t length, const char *name, const char **value)
{
    size_t bytes = strlen(name);

    for (size_t at = 0; at + bytes < length; at++) {
        const char *end;

        if (memcmp(line + at, name, bytes) != 0 || (at > 0 && line[at - 1] != ' '))
            continue;
        *value = line + at + bytes;
        end = memchr(*value, ' ', length - at - bytes);
        return end != NULL ? (size_t)(end - *value) : length - at - bytes;
    }
    return 0;
}

/* FIGURE_UNKNOWN: the line does not say. */
static int64_t idle_of(const char *line, size_t length)
{
    const char *value;
    size_t bytes = field(line, length, "idle=", &value);
    char text[24];

    if (bytes == 0 || bytes >= sizeof text)
        return FIGURE_UNKNOWN;
    memcpy(text, value, bytes);
    text[bytes] = '\0';
    return number(text);
}

static void add_address(struct addresses *addresses, const char *host, size_t bytes)
{
    struct address *address;

    bytes = bytes < sizeof address->host - 1 ? bytes : sizeof address->host - 1;
    for (unsigned i = 0; i < addresses->count; i++) {
        address = &addresses->of[i];
        if (strlen(address->host) == bytes && memcmp(address->host, host, bytes) == 0) {
            address->clients++;
            return;
        }
    }
    if (addresses->count == ADDRESSES_MAX) {
        addresses->others++;
        return;
    }
    address = &addresses->of[addresses->count++];
    memcpy(address->host, host, bytes);
    address->host[bytes] = '\0';
    address->clients = 1;
}

static int more_clients(const void *a, const void *b)
{
    unsigned one = ((const struct address *)a)->clients, other = ((const struct address *)b)->clients;

    return (one < other) - (one > other);
}

static void say_addresses(struct addresses *addresses, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "most clients:");

    qsort(addresses->of, addresses->count, sizeof addresses->of[0], more_clients);
    for (unsigned i = 0; i < addresses->count && i < ADDRESSES_SHOWN && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s %s (%u)", i > 0 ? "," : "",
                                 addresses->of[i].host, addresses->of[i].clients);
}

void figures_clients(const char *list, size_t length, int64_t idle_s, struct figures *figures)
{
    const char *end = list + length, *line = list;
    struct addresses addresses = {0};
    int64_t idle = 0;

    while (line < end) {
        const char *stop = memchr(line, '\n', (size_t)(end - line)), *value = NULL;
        size_t bytes = (size_t)((stop ? stop : end) - line);
        size_t have = field(line, bytes, "addr=", &value);
        const char *port = have > 0 ? memrchr(value, ':', have) : NULL;

        if (have > 0)
            add_address(&addresses, value, port != NULL ? (size_t)(port - value) : have);
        if (idle_of(line, bytes) >= idle_s)
            idle++;
        line += bytes + 1;
    }
    figures->value[WATCH_redis_idle_clients] = idle;
    say_addresses(&addresses, figures->detail[WATCH_redis_idle_clients],
                  sizeof figures->detail[WATCH_redis_idle_clients]);
}
