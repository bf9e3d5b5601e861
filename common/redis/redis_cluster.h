/*
 * redis_cluster.h - which node of a cluster to connect to next.  Pure.
 */
#ifndef SPENDD_REDIS_CLUSTER_H
#define SPENDD_REDIS_CLUSTER_H

#include "common/base/nodes.h"

#include <stdbool.h>

struct cluster {
    struct nodes start;  /* from the settings */
    struct nodes learnt; /* from CLUSTER SLOTS, our slot's first */
    struct node owner;   /* of our slot, as far as we know; host "": nobody knows */
    size_t tried;        /* how many of owner, learnt, start were tried in vain in this round */
    unsigned hops;       /* redirects followed in this round */
    bool redirected;     /* the next attempt follows one */
};

/* Whom to connect to now.  Then exactly one of the three below says what came of it. */
const struct node *cluster_target(const struct cluster *cluster);

/* It serves our slot.  Nodes may be learnt from now on, until this connection is over. */
void cluster_found(struct cluster *cluster, const struct node *owner);

/* It says that `owner` does.  True: connect to the next target at once; false: pause first. */
bool cluster_moved(struct cluster *cluster, const struct node *owner);

/* Nothing came of it.  True: connect to the next target at once; false: all were tried, pause. */
bool cluster_failed(struct cluster *cluster);

#endif
