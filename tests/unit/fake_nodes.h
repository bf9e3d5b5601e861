/*
 * fake_nodes.h - nodes of a cluster, or Sentinels, that say what they are told to say; for unit tests.
 */
#ifndef SPENDD_TESTS_FAKE_NODES_H
#define SPENDD_TESTS_FAKE_NODES_H

#include <sys/types.h>

#define FAKE_NODES 3

struct fake_nodes {
    int listener[FAKE_NODES], port[FAKE_NODES], dead_port; /* nobody listens at dead_port */
    pid_t pid[FAKE_NODES];                                 /* 0: takes connections, and is silent */
};

/* What a node answers to a command that begins so; "+OK" to any other.  '@' and a letter stand for a
 * node's port, '@x' for dead_port.  `asking`: behind ASKING, where that makes a difference.  The last
 * line is all NULL. */
struct fake_line {
    const char *command, *reply, *asking;
};

void fake_nodes_init(struct fake_nodes *nodes);
void fake_node_start(struct fake_nodes *nodes, int node, const struct fake_line *lines);
void fake_nodes_cleanup(struct fake_nodes *nodes);

#endif
