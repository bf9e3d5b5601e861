/*
 * ingest.c - messages in, records for the spool out, and the answers that wait for the disk.
 *
 * Owns two groups: one collects while the other is with the disk.  A message is read whole before
 * anything of it counts; one that is broken leaves no trace (its records are cut off, its ids leave
 * the window).  Its answer is made at once and kept in the group until the group is durable.  A
 * repeat whose first copy is in a group that is not durable waits in the collecting group, which
 * never settles before it; if a group fails, the one behind it fails too, so no answer ever rests on
 * a record that was lost.  Both groups are bounded: when they are full the sockets are not read.
 *
 * If we die on any line: whoever waits for an answer gets none and sends again.
 */
#include "workers/aggregator/ingest_parts.h"

#include "common/base/log.h"
#include "common/batch/batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_MOST 64
#define REPLIES_MOST (8 * 1024 * 1024)

unsigned char *bytes_room(struct bytes *bytes, size_t more)
{
    if (bytes->size - bytes->used < more) {
        size_t size = bytes->size * 2 + more;
        unsigned char *grown = realloc(bytes->data, size);

        if (grown == NULL)
            bug("out of memory for %zu bytes of a group", size);
        bytes->data = grown;
        bytes->size = size;
    }
    return bytes->data + bytes->used;
}

struct group *ingest_collecting(struct ingest *ingest)
{
    return &ingest->groups[ingest->collecting];
}

static void forget_ids(struct ingest *ingest, struct group *group, size_t from)
{
#ifndef MUTANT_NAK_KEEPS_ID /* tests/mutants: refused ids stay known, their retry is a "duplicate" */
    for (size_t at = from; at < group->ids.used; at += sizeof(struct id_hash)) {
        struct id_hash id;

        memcpy(&id, group->ids.data + at, sizeof id);
        window_remove(ingest->window, id);
    }
#endif
    group->ids.used = from;
}

/* Nothing of the message in hand has happened. */
static void retract(struct ingest *ingest)
{
    struct group *group = ingest_collecting(ingest);

    forget_ids(ingest, group, ingest->ids_mark);
    group->records.used = ingest->records_mark;
    ingest->accepted = ingest->duplicate = ingest->rejected = 0;
    ingest->waits = ingest->held.any = false;
    json_clear(ingest->json);
    json_array(ingest->json);
}

static void begin(struct ingest *ingest)
{
    struct group *group = ingest_collecting(ingest);

    ingest->records_mark = group->records.used;
    ingest->ids_mark = group->ids.used;
    retract(ingest);
}

/* Is the event that is held a new one?  Asked one event late: a look into the window is a miss in every
 * cache, and its memory comes while the next event is read. */
static void settle_held(struct ingest *ingest)
{
    struct group *group = ingest_collecting(ingest);
    struct id_hash id = ingest->held.id;

    if (!ingest->held.any)
        return;
    ingest->held.any = false;
    switch (window_take(ingest->window, id, ingest->second, group->ticket)) {
    case WINDOW_PENDING:
#ifndef MUTANT_DUP_ACK_EARLY /* tests/mutants: a repeat is acked before its first copy is durable */
        ingest->waits = true;
#endif
        /* fall through */
    case WINDOW_KNOWN:
        group->records.used = ingest->held.record;
        ingest->duplicate++;
        return;
    case WINDOW_NEW:
        break;
    }
    memcpy(bytes_room(&group->ids, sizeof id), &id, sizeof id);
    group->ids.used += sizeof id;
    ingest->accepted++;
    ingest->waits = true;
}

static void on_event(void *arg, uint32_t index, const struct event *event)
{
    struct ingest *ingest = arg;
    struct group *group = ingest_collecting(ingest);
    size_t bytes;
    unsigned char *to;

    settle_held(ingest);
    ingest->held = (struct held){true, index, window_event(ingest->window, event), group->records.used};
    window_expect(ingest->window, ingest->held.id);
    to = bytes_room(&group->records, RECORD_HEADER_BYTES + 1 + event_encoded_bytes(event));
    to[RECORD_HEADER_BYTES] = RECORD_EVENT;
    bytes = 1 + event_encode(event, to + RECORD_HEADER_BYTES + 1);
    record_frame(to, bytes);
    group->records.used += RECORD_HEADER_BYTES + bytes;
}

static void on_refused(void *arg, uint32_t index, const char *reason, const char *bytes,
                       size_t length)
{
    struct ingest *ingest = arg;

    if (ingest->held.any && index == ingest->held.index) {
        /* It was read, and its line broke behind it. */
        ingest->held.any = false;
        ingest_collecting(ingest)->records.used = ingest->held.record;
    }
    settle_held(ingest);
    if (ingest->from_unacked)
        bury(ingest, reason, bytes, length);
    if (++ingest->rejected > REJECTED_LISTED)
        return;
    json_object(ingest->json);
    json_key(ingest->json, "index");
    json_number(ingest->json, index);
    json_key(ingest->json, "error");
    json_string(ingest->json, reason);
    json_end(ingest->json);
}

static void on_again(void *arg)
{
    retract(arg);
}

static int read_message(struct ingest *ingest, const struct bus_frame *payload, struct err *err)
{
    const struct event_sink sink = {ingest, on_event, on_refused, on_again};
    wall_t now = wall_now();

    ingest->second = (uint32_t)(now.micros / 1000000);
    begin(ingest);
    ingest->message_bytes = payload->bytes;
    if (payload->bytes > (size_t)ingest->settings->ingest_max_message_bytes)
        return err_set(err, "message larger than %lld bytes",
                       (long long)ingest->settings->ingest_max_message_bytes);
    if (event_read(ingest->reader, payload->data, payload->bytes, now, &sink, err) == 0) {
        settle_held(ingest);
        json_end(ingest->json);
        return 0;
    }
    retract(ingest);
    return -1;
}

/* The message counts now. */
static void count(struct ingest *ingest)
{
    const struct event_notes *notes = event_read_notes(ingest->reader);
    struct group *group = ingest_collecting(ingest);

    group->events += ingest->accepted;
    group->records_count += ingest->accepted + (ingest->from_unacked ? ingest->rejected : 0);
    stats_add(ingest->stats, METRIC_ingest_messages_total, 1);
    stats_add(ingest->stats, METRIC_ingest_bytes_total, (int64_t)ingest->message_bytes);
    stats_add(ingest->stats, METRIC_events_duplicate_total, ingest->duplicate);
    stats_add(ingest->stats, METRIC_events_rejected_total, ingest->rejected);
    stats_add(ingest->stats, METRIC_fields_unknown_total, notes->unknown_fields);
    stats_add(ingest->stats, METRIC_labels_shortened_total, notes->shortened_labels);
    stats_add(ingest->stats, METRIC_events_defaulted_day_total, notes->defaulted_days);
}

static bool is_word(const struct bus_frame *frame)
{
    return frame->bytes == 2 && memcmp(frame->data, "E1", 2) == 0;
}

static bool id_good(const struct bus_frame *id)
{
    return id->bytes >= 1 && id->bytes <= ID_MOST;
}

/* Outside the protocol; answered where an id can be found behind an E1. */
static void malformed(struct ingest *ingest, const struct bus_frame *frames, size_t count_frames)
{
    stats_add(ingest->stats, METRIC_frames_malformed_total, 1);
    if (count_frames > BUS_FRAMES_MAX)
        count_frames = BUS_FRAMES_MAX;
    for (size_t i = 1; i + 1 < count_frames && i <= ECHO_MOST + 1; i++)
        if (is_word(&frames[i]) && id_good(&frames[i + 1])) {
            answer_refuse(ingest, frames, i, &frames[i + 1], "frames must end in E1, id, payload", false);
            return;
        }
}

/* Nothing would be written for them (litellm.events): refused for now, so that who sends keeps them until
 * somebody has decided.  Those from the unacked socket, which cannot be told, become dead letters. */
static bool switched_off(const struct ingest *ingest)
{
    return strcmp(ingest->settings->database_layout, "litellm") == 0 &&
           strcmp(ingest->settings->litellm_events, "off") == 0;
}

/* `frames` end in E1, id, payload behind `heads` others. */
static void take(struct ingest *ingest, const struct bus_frame *frames, size_t heads)
{
    const struct bus_frame *id = &frames[heads + 1];
    struct err err;

    if (ingest->refusing != NULL) {
        answer_refuse(ingest, frames, heads, id, ingest->refusing, true);
        return;
    }
    if (switched_off(ingest)) {
        answer_refuse(ingest, frames, heads, id, "no events are taken: litellm.events is off", true);
        return;
    }
    ingest->from_unacked = false;
    if (read_message(ingest, &frames[heads + 2], &err) != 0) {
        answer_refuse(ingest, frames, heads, id, err.text, false);
        return;
    }
    count(ingest);
    answer_accept(ingest, frames, heads, id);
}

static void acked(struct ingest *ingest, const struct bus_frame *frames, size_t frame_count)
{
    size_t heads = frame_count - 3;

    if (frame_count < 4 || heads > ECHO_MOST + 1 || !is_word(&frames[heads]) || !id_good(&frames[heads + 1]))
        malformed(ingest, frames, frame_count);
    else
        take(ingest, frames, heads);
}

void ingest_acked(void *arg, struct bus_socket *socket, const struct bus_frame *frames,
                  size_t frame_count)
{
    struct ingest *ingest = arg;

    (void)socket;
    ingest->posted = false;
    acked(ingest, frames, frame_count);
}

void ingest_posted(void *arg, struct bus_socket *socket, const struct bus_frame *frames, size_t frame_count)
{
    struct ingest *ingest = arg;

    (void)socket;
    ingest->posted = true;
    acked(ingest, frames, frame_count);
}

void ingest_unacked(void *arg, struct bus_socket *socket, const struct bus_frame *frames,
                    size_t frame_count)
{
    struct ingest *ingest = arg;
    struct err err;

    (void)socket;
    if (frame_count != 1) {
        stats_add(ingest->stats, METRIC_frames_malformed_total, 1);
        return;
    }
    ingest->from_unacked = true;
    if (read_message(ingest, &frames[0], &err) != 0) {
        stats_add(ingest->stats, METRIC_messages_refused_total, 1);
        bury(ingest, err.text, frames[0].data, frames[0].bytes);
        ingest_collecting(ingest)->records_count++;
        return;
    }
    count(ingest);
    ingest_collecting(ingest)->unacked += ingest->accepted;
    stats_add(ingest->stats, METRIC_events_unacked_total, ingest->accepted);
}

bool ingest_waiting(const struct ingest *ingest)
{
    const struct group *group = &ingest->groups[ingest->collecting];

    return group->records.used > 0 || group->replies.used > 0;
}

bool ingest_crowded(const struct ingest *ingest)
{
    const struct group *group = &ingest->groups[ingest->collecting];

    return group->records.used >= (size_t)ingest->settings->spool_commit_bytes ||
           group->replies.used >= REPLIES_MOST;
}

static void reset(struct ingest *ingest, struct group *group)
{
    group->records.used = group->replies.used = group->ids.used = 0;
    group->events = group->records_count = group->unacked = 0;
    group->ticket = ++ingest->next_ticket;
}

struct group *ingest_swap(struct ingest *ingest)
{
    struct group *full = ingest_collecting(ingest);

    ingest->collecting ^= 1;
    reset(ingest, ingest_collecting(ingest));
    return full;
}

static void fail(struct ingest *ingest, struct group *group)
{
    forget_ids(ingest, group, 0);
    answer_group(ingest, group, false);
    /* Nobody can be told of these: they were never acknowledged, but they are not lost in silence. */
    if (group->unacked > 0) {
        stats_add(ingest->stats, METRIC_events_unacked_lost_total, (int64_t)group->unacked);
        log_error("unacked_lost", "events=%" PRIu64, group->unacked);
    }
}

void ingest_settle(struct ingest *ingest, bool durable)
{
    struct group *group = &ingest->groups[ingest->collecting ^ 1];

    if (durable) {
        window_durable(ingest->window, group->ticket);
        stats_add(ingest->stats, METRIC_events_accepted_total, (int64_t)group->events);
        answer_group(ingest, group, true);
        return;
    }
    fail(ingest, group);
    fail(ingest, ingest_collecting(ingest));
    reset(ingest, ingest_collecting(ingest));
}

void ingest_init(struct ingest *ingest, const struct settings *settings, struct stats_page *stats,
                 struct window *window)
{
    const struct event_rules rules = {settings->ingest_max_event_bytes,
                                      settings->ingest_max_age_days};

    ingest->settings = settings;
    ingest->stats = stats;
    ingest->window = window;
    ingest->reader = event_reader_new(&rules);
    ingest->json = json_out_new(false);
    ingest->answer = json_out_new(false);
    reset(ingest, ingest_collecting(ingest));
}

void ingest_cleanup(struct ingest *ingest)
{
    event_reader_free(&ingest->reader);
    json_out_free(&ingest->json);
    json_out_free(&ingest->answer);
    for (int i = 0; i < 2; i++) {
        free(ingest->groups[i].records.data);
        free(ingest->groups[i].replies.data);
        free(ingest->groups[i].ids.data);
    }
}
