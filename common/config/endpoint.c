/*
 * endpoint.c - where to listen, as text.  See endpoint.h.
 *
 * Whether an address is loopback is decided from the address, never from how the text begins:
 * "127.0.0.1.example.com" is a name.  Pure.  If we die on any line nothing outside has changed.
 */
#include "common/config/endpoint.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IPC "ipc://"
#define TCP "tcp://"

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

bool endpoint_is_tcp(const struct endpoint *endpoint)
{
    return endpoint->kind != ENDPOINT_IPC;
}

bool endpoint_ip4_loopback(struct in_addr address)
{
    return (ntohl(address.s_addr) >> 24) == 127;
}

bool endpoint_ip6_loopback(const struct in6_addr *address)
{
    struct in_addr mapped;

    if (!IN6_IS_ADDR_V4MAPPED(address))
        return IN6_IS_ADDR_LOOPBACK(address);
    memcpy(&mapped, &address->s6_addr[12], sizeof mapped);
    return endpoint_ip4_loopback(mapped);
}

static int read_ipc(const char *path, struct endpoint *endpoint, struct err *err)
{
    size_t bytes = strlen(path);

    if (bytes > SOCKET_PATH_MAX)
        return err_set(err, "the path of a socket has %zu bytes, the most is %d", bytes, SOCKET_PATH_MAX);
    if (path[0] != '/')
        return err_set(err, "\"" IPC "%s\" must be an absolute path", path);
    memcpy(endpoint->path, path, bytes + 1);
    endpoint->kind = ENDPOINT_IPC;
    endpoint->loopback = true;
    return 0;
}

static int read_port(const char *text, uint16_t *port, struct err *err)
{
    size_t digits = strspn(text, "0123456789");
    long number = digits > 0 && digits <= 5 && text[digits] == '\0' ? strtol(text, NULL, 10) : 0;

    if (number < 1 || number > 65535)
        return err_set(err, "\"%s\" is no port (1 to 65535)", text);
    *port = (uint16_t)number;
    return 0;
}

static int read_host(const char *host, bool bracketed, struct endpoint *endpoint, struct err *err)
{
    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (bracketed) {
        endpoint->kind = ENDPOINT_TCP6;
        if (inet_pton(AF_INET6, host, &endpoint->ip6) != 1)
            return err_set(err, "[%s] is no IPv6 address", host);
        endpoint->loopback = endpoint_ip6_loopback(&endpoint->ip6);
        return 0;
    }
    endpoint->kind = ENDPOINT_TCP4;
    if (strcmp(host, "*") == 0)
        return 0; /* ip4 is INADDR_ANY already */
    if (inet_pton(AF_INET, host, &endpoint->ip4) == 1) {
        endpoint->loopback = endpoint_ip4_loopback(endpoint->ip4);
        return 0;
    }
    if (strlen(host) >= IFNAMSIZ || strpbrk(host, "/[]: ") != NULL || host[0] == '\0')
        return err_set(err, "\"%s\" is neither an address nor the name of an interface (an IPv6 address "
                       "stands in brackets; a host name cannot be listened on)", host);
    endpoint->kind = ENDPOINT_INTERFACE;
    memcpy(endpoint->path, host, strlen(host) + 1);
    return 0;
}

int endpoint_read(const char *text, struct endpoint *endpoint, struct err *err)
{
    const char *host = text + strlen(TCP), *colon = strrchr(text, ':');
    char copy[64];
    size_t bytes;
    bool bracketed;

    memset(endpoint, 0, sizeof *endpoint);
    if (begins(text, IPC))
        return read_ipc(text + strlen(IPC), endpoint, err);
    if (!begins(text, TCP))
        return err_set(err, "\"%s\" must begin with ipc:// or tcp://", text);
    if (colon < host)
        return err_set(err, "\"%s\" has no port: write tcp://address:port", text);
    bytes = (size_t)(colon - host);
    bracketed = bytes >= 2 && host[0] == '[' && colon[-1] == ']';
    host += bracketed;
    bytes -= bracketed ? 2 : 0;
    if (bytes >= sizeof copy)
        return err_set(err, "\"%.200s\" is neither an address nor the name of an interface", text);
    memcpy(copy, host, bytes);
    copy[bytes] = '\0';
    if (read_port(colon + 1, &endpoint->port, err) < 0)
        return -1;
    return read_host(copy, bracketed, endpoint, err);
}

int endpoint_read_http(const char *text, struct endpoint *endpoint, struct err *err)
{
    char url[160];

    memset(endpoint, 0, sizeof *endpoint);
    if (strstr(text, "://") != NULL || strchr(text, ':') == NULL)
        return err_set(err, "\"%s\" must be address:port, or off", text);
    if ((size_t)snprintf(url, sizeof url, TCP "%s", text) >= sizeof url)
        return err_set(err, "\"%.100s...\" is too long", text);
    return endpoint_read(url, endpoint, err);
}
