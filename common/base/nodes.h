/*
 * nodes.h - addresses of servers as people write them: "host:port, host:port".  Pure.
 */
#ifndef SPENDD_BASE_NODES_H
#define SPENDD_BASE_NODES_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define NODES_MAX 16
#define NODE_HOST 256
#define NODE_TEXT (NODE_HOST + 8) /* host:port, an IPv6 host in brackets */

struct node {
    char host[NODE_HOST]; /* a name or an address, without brackets; empty: none */
    char port[6];
};

struct nodes {
    struct node node[NODES_MAX];
    size_t count;
};

/* A host and a port that came apart from each other.  -1: not fit to be connected to. */
int node_make(struct node *node, const char *host, size_t host_length, const char *port,
              size_t port_length) MUST_CHECK;

/* host, host:port or [address]:port, with commas and blanks between; nothing at all is no error.
 * What is given twice stands there once. */
int nodes_parse(const char *text, const char *default_port, struct nodes *nodes,
                struct err *err) MUST_CHECK;

bool node_same(const struct node *a, const struct node *b);

/* Adds it unless it is there, or the list is full. */
void nodes_add(struct nodes *nodes, const struct node *node);

/* "host:port"; size >= NODE_TEXT.  Returns `text`. */
char *node_text(const struct node *node, char *text, size_t size);

#endif
