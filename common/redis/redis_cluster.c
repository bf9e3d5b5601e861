/*
 * redis_cluster.c - which node of a cluster to connect to next.  See redis_cluster.h.
 *
 * Pure.  A round goes through the owner of our slot, the other nodes that are known, and the start
 * nodes of the settings, until one of them serves the slot or every one was tried; only then is
 * Redis said to be down, and paused for.  Each node that does not serve the slot says who does
 * (MOVED); that is followed at once, but not for ever: while a cluster settles a failover, two nodes
 * may send us back and forth between them.
 *
 * Known nodes are kept besides the start nodes because a daemon outlives its configuration: after a
 * rolling replacement of every node the start nodes may all be gone.
 */
#include "common/redis/redis_cluster.h"

#include <string.h>

#define HOPS_MAX 5

static size_t places(const struct cluster *cluster)
{
    return 1 + cluster->learnt.count + cluster->start.count;
}

/* The owner, then the others; NULL: a place where there is nobody else to try. */
static const struct node *at_place(const struct cluster *cluster, size_t place)
{
    const struct node *node;

    if (place == 0)
        return cluster->owner.host[0] != '\0' ? &cluster->owner : NULL;
    place--;
    node = place < cluster->learnt.count ? &cluster->learnt.node[place]
                                         : &cluster->start.node[place - cluster->learnt.count];
    return node_same(node, &cluster->owner) ? NULL : node;
}

const struct node *cluster_target(const struct cluster *cluster)
{
    if (cluster->redirected)
        return &cluster->owner;
    for (size_t place = cluster->tried; place < places(cluster); place++)
        if (at_place(cluster, place) != NULL)
            return at_place(cluster, place);
    return &cluster->start.node[0];
}

static void begin_round(struct cluster *cluster)
{
    cluster->tried = 0;
    cluster->hops = 0;
    cluster->redirected = false;
}

/* Who was tried by a redirect has no place of his own: who sent us there was counted. */
static bool next_place(struct cluster *cluster)
{
    if (!cluster->redirected)
        while (cluster->tried < places(cluster) && at_place(cluster, cluster->tried++) == NULL)
            ;
    cluster->redirected = false;
    while (cluster->tried < places(cluster) && at_place(cluster, cluster->tried) == NULL)
        cluster->tried++;
    return cluster->tried < places(cluster);
}

void cluster_found(struct cluster *cluster, const struct node *owner)
{
    cluster->owner = *owner;
    begin_round(cluster);
}

bool cluster_moved(struct cluster *cluster, const struct node *owner)
{
    bool more = next_place(cluster);

    cluster->owner = *owner;
    cluster->redirected = cluster->hops < HOPS_MAX;
    cluster->hops++;
    if (cluster->redirected || more)
        return true;
    begin_round(cluster);
    return false;
}

bool cluster_failed(struct cluster *cluster)
{
    if (next_place(cluster))
        return true;
    begin_round(cluster);
    return false;
}
