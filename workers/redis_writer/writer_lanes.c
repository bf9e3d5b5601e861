/*
 * writer_lanes.c - the two channels to the aggregators: batches in, receipts out.
 *
 * What a lane is told is safe to lose: it says nothing on its own, the next hello or look says it
 * again.  A batch that is dropped here is dropped only where its lane will send it again.
 * If we die on any line: see redis_writer.c.
 */
#include "workers/redis_writer/writer.h"

#include "common/base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_SOON_MS 20 /* epochs are announced one by one: one look for all of them */

static bool tell(struct writer *writer, unsigned lane, const struct msg *msg)
{
    unsigned char bytes[MSG_BYTES_MAX];
    struct bus_frame frame = {bytes, msg_encode(msg, bytes)};

    return bus_send(writer->lane[lane].receipts, &frame, 1) == 0;
}

void lanes_hello(struct writer *writer)
{
    struct msg msg = {.kind = MSG_writer_hello};

    msg.writer_hello.writer = writer->id;
    msg.writer_hello.credit = writer->credit;
    for (unsigned i = 0; i < writer->lanes; i++) {
        const struct lane *lane = &writer->lane[i];

        /* The generation only after what is applied: else it would send what PostgreSQL has. */
        snprintf(msg.writer_hello.generation, sizeof msg.writer_hello.generation, "%s",
                 lane->looked ? writer->announced : "");
        (void)!tell(writer, i, &msg);
    }
}

void lanes_tell_applied(struct writer *writer)
{
    struct msg msg = {.kind = MSG_applied, .applied = {.writer = writer->id}};

    for (size_t i = 0; i < writer->epochs.count; i++) {
        struct epoch *epoch = &writer->epochs.epoch[i];
        char *ranges;

        if (epoch->value == NULL || epoch->told == (1u << writer->lanes) - 1)
            continue;
        msg.applied.version = strtoull(epoch->value, &ranges, 10);
        /* Too many gaps for a message: not told now; the gaps close as batches are applied. */
        if (*ranges != ' ' || strlen(ranges + 1) >= sizeof msg.applied.ranges)
            continue;
        snprintf(msg.applied.epoch, sizeof msg.applied.epoch, "%s", epoch->name);
        strcpy(msg.applied.ranges, ranges + 1);
        for (unsigned lane = 0; lane < writer->lanes; lane++)
            if (!(epoch->told & (1u << lane)) && tell(writer, lane, &msg))
                epoch->told |= 1u << lane;
    }
}

void lanes_hold_ingest(struct writer *writer, int64_t ms)
{
    struct msg msg = {.kind = MSG_hold, .hold = {.ingest_ms = ms > 0 ? ms : 0}};

    if (ms <= 0 && !writer->ingest_held)
        return;
    writer->ingest_held = ms > 0;
    for (unsigned lane = 0; lane < writer->lanes; lane++)
        (void)!tell(writer, lane, &msg); /* said again in a second; what was said runs out */
}

bool lanes_again(void *arg, const struct pending_batch *batch)
{
    struct writer *writer = arg;
    struct msg msg = {.kind = MSG_again, .again = {.writer = writer->id}};

    snprintf(msg.again.epoch, sizeof msg.again.epoch, "%s", batch->identity.epoch);
    msg.again.shard = batch->identity.shard;
    msg.again.seq = batch->identity.seq;
    if (!tell(writer, batch->lane, &msg))
        return false;
    stats_add(writer->stats, METRIC_batches_repushed_total, 1);
    log_debug("push_again", "epoch=%s seq=%" PRIu64, batch->identity.epoch, batch->identity.seq);
    return true;
}

void lanes_pushed(struct writer *writer, const struct msg_batch *batch)
{
    struct msg msg = {.kind = MSG_pushed, .pushed = {.writer = writer->id}};

    snprintf(msg.pushed.epoch, sizeof msg.pushed.epoch, "%s", batch->epoch);
    msg.pushed.shard = batch->shard;
    msg.pushed.seq = batch->seq;
    snprintf(msg.pushed.generation, sizeof msg.pushed.generation, "%s", writer->generation);
    (void)!tell(writer, batch->lane, &msg); /* nobody there: its successor is told nothing of it */
}

void held_drop_first(struct writer *writer)
{
    struct held *held = writer->first;

    writer->first = held->next;
    if (writer->first == NULL)
        writer->last = NULL;
    writer->held--;
    free(held);
}

void held_drop_all(struct writer *writer)
{
    while (writer->first != NULL)
        held_drop_first(writer);
}

static bool is_held(const struct writer *writer, const struct msg_batch *batch)
{
    for (const struct held *held = writer->first; held != NULL; held = held->next)
        if (held->batch.seq == batch->seq && strcmp(held->batch.epoch, batch->epoch) == 0)
            return true;
    return false;
}

static void take_batch(struct writer *writer, const struct msg_batch *batch,
                       const struct bus_frame *envelope)
{
    struct held *held;

    if (batch->lane >= writer->lanes || batch->shard != 0 || envelope->bytes == 0) {
        log_error("batch_refused", "lane=%u shard=%u bytes=%zu", batch->lane, batch->shard,
                  envelope->bytes);
        return;
    }
    if (is_held(writer, batch))
        return;
    held = writer->held < HELD_MAX ? malloc(sizeof *held + envelope->bytes) : NULL;
    if (held == NULL) {
        /* Beyond its credit, or no memory.  Ask for it again when there is room. */
        struct pending_batch later = {.lane = batch->lane, .identity.seq = batch->seq};

        snprintf(later.identity.epoch, sizeof later.identity.epoch, "%s", batch->epoch);
        log_warn("batch_not_held", "lane=%u held=%zu", batch->lane, writer->held);
        if (pending_pushed(&writer->pending, &later, mono_now(), 1000) != 0)
            log_error("no_memory", "lane=%u", batch->lane);
        return;
    }
    held->next = NULL;
    held->batch = *batch;
    held->bytes = envelope->bytes;
    memcpy(held->envelope, envelope->data, envelope->bytes);
    if (writer->first == NULL)
        writer->first = held;
    else
        writer->last->next = held;
    writer->last = held;
    writer->held++;
    if (epochs_add(&writer->epochs, batch->epoch, batch->lane))
        timer_in_ms(writer->poll, LOOK_SOON_MS);
    redis_push_next(writer);
}

static void take_lane(struct writer *writer, const struct msg_lane_hello *hello)
{
    struct lane *lane;

    if (hello->lane >= writer->lanes)
        return;
    lane = &writer->lane[hello->lane];
    if (lane->aggregator != hello->aggregator)
        log_info("lane", "lane=%u", hello->lane);
    lane->aggregator = hello->aggregator;
    lane->looked = false;
    epochs_lane_begins(&writer->epochs, hello->lane);
    timer_in_ms(writer->poll, LOOK_SOON_MS);
}

void lanes_batch(void *arg, struct bus_socket *socket, const struct bus_frame *frames, size_t count)
{
    struct writer *writer = arg;
    struct msg msg;
    struct err err = {"wrong number of frames"};

    (void)socket;
    if (count > 2 || msg_decode(&msg, frames[0].data, frames[0].bytes, &err) != 0) {
        log_error("lane_message_refused", "why=\"%s\"", err.text);
        return;
    }
    if (msg.kind == MSG_batch && count == 2) {
        take_batch(writer, &msg.batch, &frames[1]);
    } else if (msg.kind == MSG_lane_hello) {
        take_lane(writer, &msg.lane_hello);
    } else if (msg.kind == MSG_lane_epoch && msg.lane_epoch.lane < writer->lanes) {
        if (epochs_add(&writer->epochs, msg.lane_epoch.epoch, msg.lane_epoch.lane))
            timer_in_ms(writer->poll, LOOK_SOON_MS);
    } else {
        log_error("lane_message_refused", "kind=%s", msg_name(msg.kind));
    }
}
