/*
 * deliver.c - the lane's side of the conversation with redis_writer.  See channels.def.
 *
 * A round is one (writer, generation).  A segment that is neither applied nor pushed in the present
 * round is sent, oldest first, `credit` of them unanswered at most; a new round begins all over, so
 * whatever a dying writer, a broken pipe or a Redis that lost its state took with it is sent again.
 * Batches are read from the disk and verified at the moment they are sent; only marks are kept.  One
 * that cannot be read or rescued is left alone for a while: it never stands in the way of the others.
 *
 * If we die on any line: marks are gone, segments are not: the successor sends again, the ledger skips.
 */
#include "workers/aggregator/deliver.h"

#include "common/base/log.h"
#include "workers/aggregator/segment.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void deliver_init(struct deliver *deliver, struct lane *lane, struct bus_socket *batches)
{
    memset(deliver, 0, sizeof *deliver);
    deliver->lane = lane;
    deliver->batches = batches;
    randombytes_buf(&deliver->me, sizeof deliver->me);
}

static int say(struct deliver *deliver, const struct msg *msg, const struct bus_frame *more,
               size_t count)
{
    unsigned char bytes[MSG_BYTES_MAX];
    struct bus_frame frames[3] = {{bytes, msg_encode(msg, bytes)}};

    for (size_t i = 0; i < count; i++)
        frames[i + 1] = more[i];
    return bus_send(deliver->batches, frames, count + 1);
}

/* lane_hello, then each epoch; goes on where the pipe was full. */
static bool greet(struct deliver *deliver)
{
    struct msg msg = {.kind = MSG_lane_hello};

    if (!deliver->greeted) {
        msg.lane_hello.lane = deliver->lane->index;
        msg.lane_hello.aggregator = deliver->me;
        if (say(deliver, &msg, NULL, 0) != 0)
            return false;
        deliver->greeted = true;
        deliver->epochs_told = 0;
    }
    for (; deliver->epochs_told < deliver->lane->epoch_count; deliver->epochs_told++) {
        msg = (struct msg){.kind = MSG_lane_epoch};
        msg.lane_epoch.lane = deliver->lane->index;
        memcpy(msg.lane_epoch.epoch, deliver->lane->epochs[deliver->epochs_told], EPOCH_TEXT);
        if (say(deliver, &msg, NULL, 0) != 0)
            return false;
    }
    return true;
}

/* The envelope's line is laid in front of the records, over the file's header: no second copy of them. */
static int send_batch(struct deliver *deliver, struct sealed *sealed, struct segment *segment)
{
    struct envelope envelope = {.records = segment->records,
                                .body = segment->data + SEGMENT_HEADER_BYTES,
                                .body_bytes = segment->bytes - SEGMENT_HEADER_BYTES};
    char line[ENVELOPE_LINE_MAX];
    struct msg msg = {.kind = MSG_batch};
    unsigned char *whole;
    size_t line_bytes;
    struct bus_frame frame;

    lane_identity_of(deliver->lane, sealed, &envelope.identity);
    envelope.crc = crc32c(0, envelope.body, envelope.body_bytes);
    line_bytes = envelope_line(&envelope, line);
    whole = segment->data + SEGMENT_HEADER_BYTES - line_bytes;
    memcpy(whole, line, line_bytes);
    msg.batch.lane = deliver->lane->index;
    memcpy(msg.batch.epoch, envelope.identity.epoch, EPOCH_TEXT);
    msg.batch.seq = envelope.identity.seq;
    msg.batch.records = envelope.records;
    msg.batch.crc = envelope.crc;
    frame = (struct bus_frame){whole, line_bytes + envelope.body_bytes};
    if (say(deliver, &msg, &frame, 1) != 0)
        return -1;
    sealed->sent = deliver->round;
    deliver->flying++;
    return 0;
}

/* One segment; -1: no more in this turn. */
static int send_segment(struct deliver *deliver, struct sealed *sealed)
{
    const struct settings *s = deliver->lane->settings;
    struct segment segment;
    struct identity identity;
    char name[SEGMENT_NAME];
    struct err err;
    int result, read;

    lane_identity_of(deliver->lane, sealed, &identity);
    segment_name(&identity, false, name);
    read = segment_read(deliver->lane->directory, name, &segment, &err);
    /* Somebody's unfinished message may hold all that RLIMIT_DATA allows, for ever: in a new life it is ours. */
    if (read == -2 && sealed->bytes <= s->seal_bytes + s->spool_commit_bytes)
        bug("%s", err.text);
    if (read != 0) {
        log_error("segment_unreadable", "name=%s error=\"%s\"", name, err.text);
        if (faccessat(deliver->lane->directory, name, F_OK, 0) != 0)
            lane_remove(deliver->lane, sealed); /* gone from under us: nothing left to send */
        else
            sealed->hurt = true;
        return 0;
    }
    if (segment_whole(&segment)) {
        result = send_batch(deliver, sealed, &segment);
    } else {
        if (segment_rescue(deliver->lane, sealed, &segment, &err) != 0) {
            log_error("rescue_failed", "name=%s error=\"%s\"", name, err.text);
            sealed->hurt = true;
        }
        result = -1; /* it waited for the disk; the loop turns before the next */
    }
    segment_free(&segment);
    return result;
}

void deliver_pump(struct deliver *deliver)
{
    struct lane *lane = deliver->lane;

    if (!greet(deliver) || deliver->generation[0] == '\0')
        return;
    while (deliver->cursor < lane->count && deliver->flying < deliver->credit) {
        struct sealed *sealed = &lane->sealed[deliver->cursor];

        if (sealed->applied || sealed->hurt || sealed->pushed == deliver->round || sealed->sent == deliver->round) {
            deliver->cursor++;
            continue;
        }
        if (send_segment(deliver, sealed) != 0)
            return;
    }
}

static void heard_hello(struct deliver *deliver, const struct msg_writer_hello *hello)
{
    bool new_writer = hello->writer != deliver->writer;

    deliver->credit = hello->credit;
    if (new_writer)
        deliver->greeted = false;
    if (!new_writer && strcmp(hello->generation, deliver->generation) == 0)
        return;
#ifdef MUTANT_NO_REPUSH /* tests/mutants: what an earlier generation got is taken for pushed */
    if (!new_writer && deliver->generation[0] != '\0') {
        snprintf(deliver->generation, sizeof deliver->generation, "%s", hello->generation);
        return;
    }
#endif
    deliver->writer = hello->writer;
    snprintf(deliver->generation, sizeof deliver->generation, "%s", hello->generation);
    deliver->round++;
    deliver->flying = 0;
    deliver->cursor = 0;
    log_info("delivery_round", "writer=%016llx generation=%s credit=%u",
             (unsigned long long)hello->writer, hello->generation, hello->credit);
}

static void landed(struct deliver *deliver, struct sealed *sealed)
{
    if (sealed->sent == deliver->round && deliver->flying > 0)
        deliver->flying--;
    sealed->sent = 0;
}

static void heard_pushed(struct deliver *deliver, const struct msg_pushed *pushed)
{
    struct sealed *sealed = lane_find(deliver->lane, pushed->epoch, pushed->seq);

    if (strcmp(pushed->generation, deliver->generation) != 0)
        return;
    if (sealed == NULL) {
        deliver->flying -= deliver->flying > 0;
        return;
    }
    landed(deliver, sealed);
    sealed->pushed = deliver->round;
#ifdef MUTANT_DELETE_ON_PUSH
    { /* tests/mutants: the segment goes when Redis has it, not when PostgreSQL has. */
        struct identity identity;
        char name[SEGMENT_NAME];

        lane_identity_of(deliver->lane, sealed, &identity);
        segment_name(&identity, sealed->applied, name);
        unlinkat(deliver->lane->directory, name, 0);
        lane_remove(deliver->lane, sealed);
        deliver->cursor = 0;
    }
#endif
}

static void heard_again(struct deliver *deliver, const struct msg_again *again)
{
    struct sealed *sealed = lane_find(deliver->lane, again->epoch, again->seq);

    if (sealed == NULL || sealed->applied)
        return;
    landed(deliver, sealed);
    sealed->pushed = 0;
    deliver->cursor = 0;
}

static void heard_applied(struct deliver *deliver, const struct msg_applied *applied, int64_t now_ms)
{
    struct lane *lane = deliver->lane;
    uint32_t flying = 0;
    unsigned back = lane_applied(lane, applied->epoch, applied->ranges, now_ms);

    for (size_t i = 0; i < lane->count; i++)
        flying += !lane->sealed[i].applied && lane->sealed[i].sent == deliver->round &&
                  deliver->round > 0;
    deliver->flying = flying;
    deliver->cursor = 0;
    if (back > 0)
        log_warn("database_went_back", "epoch=%s segments=%u", applied->epoch, back);
}

/* What a dead writer said may be read after its successor's words: the connections are two.  Only the
 * writer whose hello was heard last counts; before the first hello, anyone. */
static bool from_our_writer(const struct deliver *deliver, uint64_t writer)
{
    return deliver->writer == 0 || deliver->writer == writer;
}

void deliver_heard(struct deliver *deliver, const struct msg *msg, int64_t now_ms)
{
    if (msg->kind == MSG_writer_hello)
        heard_hello(deliver, &msg->writer_hello);
    else if (msg->kind == MSG_pushed && from_our_writer(deliver, msg->pushed.writer))
        heard_pushed(deliver, &msg->pushed);
    else if (msg->kind == MSG_again && from_our_writer(deliver, msg->again.writer))
        heard_again(deliver, &msg->again);
    else if (msg->kind == MSG_applied && from_our_writer(deliver, msg->applied.writer))
        heard_applied(deliver, &msg->applied, now_ms);
}

bool deliver_finished(const struct deliver *deliver)
{
    const struct lane *lane = deliver->lane;

    for (size_t i = 0; i < lane->count; i++)
        if (!lane->sealed[i].applied && !lane->sealed[i].hurt &&
            (deliver->round == 0 || lane->sealed[i].pushed != deliver->round))
            return false;
    return true;
}
