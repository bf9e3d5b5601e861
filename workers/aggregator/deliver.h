/*
 * deliver.h - the lane's side of the conversation with redis_writer (common/bus/channels.def).
 */
#ifndef SPENDD_AGGREGATOR_DELIVER_H
#define SPENDD_AGGREGATOR_DELIVER_H

#include "common/bus/bus.h"
#include "common/msg/msg.h"
#include "workers/aggregator/lane.h"

struct deliver {
    struct lane *lane;
    struct bus_socket *batches;
    uint64_t me;     /* this life of the aggregator */
    uint64_t writer; /* 0: none seen yet */
    char generation[40];
    uint32_t round; /* counts (writer, generation) */
    uint32_t credit, flying;
    size_t cursor;       /* segments before it need no look */
    uint32_t epochs_told;
    bool greeted;
};

void deliver_init(struct deliver *deliver, struct lane *lane, struct bus_socket *batches);
/* A message from the receipts channel. */
void deliver_heard(struct deliver *deliver, const struct msg *msg, int64_t now_ms);
/* Says and sends what is due and possible. */
void deliver_pump(struct deliver *deliver);
/* Everything sealed that can be read is in Redis under the present generation, or applied? */
bool deliver_finished(const struct deliver *deliver);

#endif
