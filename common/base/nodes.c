/*
 * nodes.c - addresses of servers as people write them.  See nodes.h.
 *
 * Pure.  In base, because the configuration checks what the doors will read.  The same rules serve
 * for addresses that a server names to us, which are untrusted: a host is made of the characters of
 * names and addresses alone, a port is 1 to 65535, and lists are bounded.
 */
#include "common/base/nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_CHARACTERS                                                                            \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:%" /* IPv6 zones: fe80::1%eth0 */
#define SEPARATORS ", \t"

struct span {
    const char *from;
    size_t length;
};

static bool good_port(struct span port)
{
    char digits[6];

    if (port.length == 0 || port.length >= sizeof digits)
        return false;
    memcpy(digits, port.from, port.length);
    digits[port.length] = '\0';
    return strspn(digits, "0123456789") == port.length && atoi(digits) > 0 && atoi(digits) <= 65535;
}

int node_make(struct node *node, const char *host, size_t host_length, const char *port,
              size_t port_length)
{
    if (host_length == 0 || host_length >= NODE_HOST || !good_port((struct span){port, port_length}))
        return -1;
    snprintf(node->host, sizeof node->host, "%.*s", (int)host_length, host);
    snprintf(node->port, sizeof node->port, "%.*s", (int)port_length, port);
    return strspn(node->host, HOST_CHARACTERS) == host_length ? 0 : -1;
}

static int parse_one(struct span text, const char *default_port, struct node *node)
{
    struct span host = text, port = {default_port, strlen(default_port)};
    const char *colon = memrchr(text.from, ':', text.length);
    const char *end = text.from + text.length;

    if (text.from[0] == '[') {
        const char *close = memchr(text.from, ']', text.length);

        if (close == NULL || (close + 1 < end && close[1] != ':'))
            return -1;
        colon = close + 1 < end ? close + 1 : NULL;
        host = (struct span){text.from + 1, (size_t)(close - text.from - 1)};
    } else if (colon != NULL) {
        host.length = (size_t)(colon - text.from);
        if (memchr(host.from, ':', host.length) != NULL)
            return -1; /* an IPv6 address without brackets: where does the port begin? */
    }
    if (colon != NULL)
        port = (struct span){colon + 1, (size_t)(end - colon - 1)};
    return node_make(node, host.from, host.length, port.from, port.length);
}

int nodes_parse(const char *text, const char *default_port, struct nodes *nodes, struct err *err)
{
    nodes->count = 0;
    for (text += strspn(text, SEPARATORS); *text != '\0'; text += strspn(text, SEPARATORS)) {
        struct span one = {text, strcspn(text, SEPARATORS)};
        struct node node;

        if (parse_one(one, default_port, &node) != 0)
            return err_set(err, "\"%.*s\" is not host:port",
                           (int)(one.length < 200 ? one.length : 200), one.from);
        if (nodes->count == NODES_MAX)
            return err_set(err, "more than %d addresses", NODES_MAX);
        nodes_add(nodes, &node);
        text += one.length;
    }
    return 0;
}

bool node_same(const struct node *a, const struct node *b)
{
    return strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}

void nodes_add(struct nodes *nodes, const struct node *node)
{
    for (size_t i = 0; i < nodes->count; i++)
        if (node_same(&nodes->node[i], node))
            return;
    if (nodes->count < NODES_MAX)
        nodes->node[nodes->count++] = *node;
}

char *node_text(const struct node *node, char *text, size_t size)
{
    bool brackets = strchr(node->host, ':') != NULL;

    snprintf(text, size, "%s%s%s:%s", brackets ? "[" : "", node->host, brackets ? "]" : "", node->port);
    return text;
}
