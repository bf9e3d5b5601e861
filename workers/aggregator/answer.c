/*
 * answer.c - the answers of ingest: A1 and N1, sent at once or kept in a group.  See ingest_parts.h.
 *
 * Owns the layout of kept answers in a group's bytes, nothing else.  An answer that cannot be sent is
 * dropped and counted, never waited for.
 * If we die on any line: whoever waits for an answer gets none and sends again.
 */
#include "workers/aggregator/ingest_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POSTED 0x80000000u /* the answer is for the gateway */

/* `head`: everything in front of E1.  A peer that has left, or that let
 * REPLIES_HIGH_WATER answers pile up unread, gets nothing: kept answers of one deaf peer would have no
 * bound.  Its event is durable; it asks again and hears "duplicate". */
static void answer(struct ingest *ingest, const struct bus_frame *head, size_t heads,
                   const char *word, const struct bus_frame *id, const char *json, size_t bytes)
{
    struct bus_frame frames[ECHO_MOST + 4];
    struct bus_socket *socket = ingest->posted ? ingest->posts : ingest->acked;

    for (size_t i = 0; i < heads; i++)
        frames[i] = head[i];
    frames[heads] = (struct bus_frame){word, 2};
    frames[heads + 1] = *id;
    frames[heads + 2] = (struct bus_frame){json, bytes};
    if (socket == NULL || bus_send(socket, frames, heads + 3) != 0)
        stats_add(ingest->stats, METRIC_answers_dropped_total, 1);
}

void answer_refuse(struct ingest *ingest, const struct bus_frame *head, size_t heads,
                   const struct bus_frame *id, const char *why, bool for_now)
{
    struct json_out *out = ingest->answer;
    const char *text;
    size_t bytes;

    json_clear(out);
    json_object(out);
    json_key(out, "error");
    json_string(out, why);
    if (for_now) {
        json_key(out, "retry_after_ms");
        json_number(out, ingest->settings->ingest_retry_after_ms);
    }
    json_end(out);
    text = json_text(out, &bytes);
    stats_add(ingest->stats,
              for_now ? METRIC_messages_backpressure_total : METRIC_messages_refused_total, 1);
    answer(ingest, head, heads, "N1", id, text, bytes);
}

static void put_frame(struct bytes *to, const void *data, size_t bytes)
{
    uint32_t length = (uint32_t)bytes;

    memcpy(bytes_room(to, 4 + bytes), &length, 4);
    if (bytes > 0)
        memcpy(to->data + to->used + 4, data, bytes);
    to->used += 4 + bytes;
}

/* An answer in a group: u32 frames in front (and POSTED), those, the id, the JSON; each with its length. */
static void keep_answer(struct ingest *ingest, const struct bus_frame *head, size_t heads,
                        const struct bus_frame *id, const char *json, size_t bytes)
{
    struct bytes *replies = &ingest_collecting(ingest)->replies;
    uint32_t number = (uint32_t)heads | (ingest->posted ? POSTED : 0);

    memcpy(bytes_room(replies, 4), &number, 4);
    replies->used += 4;
    for (size_t i = 0; i < heads; i++)
        put_frame(replies, head[i].data, head[i].bytes);
    put_frame(replies, id->data, id->bytes);
    put_frame(replies, json, bytes);
}

static void take_frame(const unsigned char **at, struct bus_frame *frame)
{
    uint32_t length;

    memcpy(&length, *at, 4);
    *frame = (struct bus_frame){*at + 4, length};
    *at += 4 + length;
}

void answer_group(struct ingest *ingest, struct group *group, bool durable)
{
    const unsigned char *at = group->replies.data, *end = at + group->replies.used;
    struct bus_frame head[ECHO_MOST + 1], id, json;
    uint32_t heads;

    while (at < end) {
        memcpy(&heads, at, 4);
        ingest->posted = (heads & POSTED) != 0;
        heads &= ~POSTED;
        at += 4;
        for (uint32_t i = 0; i < heads; i++)
            take_frame(&at, &head[i]);
        take_frame(&at, &id);
        take_frame(&at, &json);
        if (durable)
            answer(ingest, head, heads, "A1", &id, json.data, json.bytes);
        else
            answer_refuse(ingest, head, heads, &id, "the spool could not be written", true);
    }
    group->replies.used = 0;
}

/* {"accepted": n, "duplicate": n, "rejected": [...]} */
static const char *accept_text(struct ingest *ingest, size_t *bytes)
{
    struct json_out *out = ingest->answer;
    size_t listed;
    const char *list = json_text(ingest->json, &listed);

    json_clear(out);
    json_object(out);
    json_key(out, "accepted");
    json_number(out, ingest->accepted);
    json_key(out, "duplicate");
    json_number(out, ingest->duplicate);
    json_key(out, "rejected");
    json_raw(out, list, listed);
    if (ingest->rejected > REJECTED_LISTED) {
        json_key(out, "rejected_more");
        json_number(out, ingest->rejected - REJECTED_LISTED);
    }
    json_end(out);
    return json_text(out, bytes);
}

void answer_accept(struct ingest *ingest, const struct bus_frame *head, size_t heads,
                   const struct bus_frame *id)
{
    size_t bytes;
    const char *text = accept_text(ingest, &bytes);
    /* HTTP has a status for it, and it never waits for the disk. */
    bool nothing = ingest->posted && ingest->accepted + ingest->duplicate == 0;

#ifdef MUTANT_ACK_BEFORE_SYNC
    ingest->waits = false; /* tests/mutants: acknowledged as soon as it is appended */
#endif
    if (ingest->waits)
        keep_answer(ingest, head, heads, id, text, bytes);
    else
        answer(ingest, head, heads, nothing ? "A0" : "A1", id, text, bytes);
}
