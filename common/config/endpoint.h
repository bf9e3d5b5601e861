/*
 * endpoint.h - where to listen, as text: ipc:///path, or tcp://host:port.  Pure.
 *
 * A tcp host is an address ("127.0.0.1", "[::1]"), "*" (every IPv4 address; "[::]" is every address of
 * either kind), or the name of an interface.  Host names are not listened on: they may mean several
 * addresses, and today's answer is not tomorrow's.  "localhost" is 127.0.0.1, without asking anybody.
 */
#ifndef SPENDD_CONFIG_ENDPOINT_H
#define SPENDD_CONFIG_ENDPOINT_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define SOCKET_PATH_MAX 107 /* sun_path without its NUL */

enum endpoint_kind { ENDPOINT_IPC, ENDPOINT_TCP4, ENDPOINT_TCP6, ENDPOINT_INTERFACE };

struct endpoint {
    enum endpoint_kind kind;
    char path[SOCKET_PATH_MAX + 1]; /* ENDPOINT_IPC: the file, ENDPOINT_INTERFACE: its name */
    struct in_addr ip4;
    struct in6_addr ip6;
    uint16_t port; /* not 0 */
    bool loopback; /* reached from this machine alone, whoever configures it */
};

/* -1: it is none; `err` says why. */
int endpoint_read(const char *text, struct endpoint *endpoint, struct err *err) MUST_CHECK;

/* The same for HTTP, where no scheme stands before it: address:port. */
int endpoint_read_http(const char *text, struct endpoint *endpoint, struct err *err) MUST_CHECK;

bool endpoint_is_tcp(const struct endpoint *endpoint);

/* Only this machine talks to these addresses.  An IPv4 address in IPv6's clothes is what it is. */
bool endpoint_ip4_loopback(struct in_addr address);
bool endpoint_ip6_loopback(const struct in6_addr *address);

#endif
