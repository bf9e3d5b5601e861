/*
 * targets.c - where one connect may try, in order.  See targets.h.
 *
 * libpq would try several hosts by itself, but it waits for each as long as the kernel does, and looks
 * names up blocking: so the lists are ours, and libpq gets one address at a time.  Pure.
 */
#include "common/pg/targets.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* The n-th item of a comma list; the last one stands for those that follow. */
static int item_of(const char *list, size_t n, char *item, size_t size)
{
    size_t length;

    while (n-- > 0 && strchr(list, ','))
        list = strchr(list, ',') + 1;
    length = strcspn(list, ",");
    if (length >= size)
        return -1;
    memcpy(item, list, length);
    item[length] = '\0';
    return 0;
}

static size_t items(const char *list)
{
    size_t count = 1;

    for (; *list; list++)
        count += *list == ',';
    return count;
}

static bool is_numeric(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

bool pg_targets_add(struct pg_targets *targets, const char *host, const char *address,
                    const char *port)
{
    struct pg_target *target = &targets->target[targets->count];

    if (targets->count == TARGETS_MAX || strlen(host) >= sizeof target->host ||
        strlen(address) >= sizeof target->address || strlen(port) >= sizeof target->port)
        return false;
    strcpy(target->host, host);
    strcpy(target->address, address);
    strcpy(target->port, port);
    targets->count++;
    return true;
}

int pg_targets_split(struct pg_targets *targets, const char *hosts, const char *addresses,
                     const char *ports)
{
    size_t many, most;

    hosts = hosts ? hosts : "";
    addresses = addresses ? addresses : "";
    ports = ports ? ports : "";
    most = items(addresses);
    many = items(hosts) > most ? items(hosts) : most;
    targets->count = 0;
    for (size_t n = 0; n < many && n < TARGETS_MAX; n++) {
        char host[TARGET_HOST_BYTES], address[64] = "", port[8];

        if (item_of(hosts, n, host, sizeof host) || item_of(ports, n, port, sizeof port) ||
            (n < most && item_of(addresses, n, address, sizeof address)))
            continue;
        if (!address[0] && is_numeric(host))
            strcpy(address, host); /* shorter than its field: inet_pton took it */
        pg_targets_add(targets, host, address, port);
    }
    return targets->count > 0 ? 0 : -1;
}

bool pg_target_is_name(const struct pg_target *target)
{
    return !target->address[0] && target->host[0] && target->host[0] != '/' &&
           target->host[0] != '@';
}

bool pg_targets_have_names(const struct pg_targets *targets)
{
    for (size_t i = 0; i < targets->count; i++)
        if (pg_target_is_name(&targets->target[i]))
            return true;
    return false;
}

bool pg_targets_equal(const struct pg_targets *one, const struct pg_targets *other)
{
    if (one->count != other->count)
        return false;
    for (size_t i = 0; i < one->count; i++) {
        const struct pg_target *a = &one->target[i], *b = &other->target[i];

        if (strcmp(a->host, b->host) != 0 || strcmp(a->address, b->address) != 0 ||
            strcmp(a->port, b->port) != 0)
            return false;
    }
    return true;
}
