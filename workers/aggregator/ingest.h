/*
 * ingest.h - messages in, records for the spool out, and the answers that wait for the disk.
 */
#ifndef SPENDD_AGGREGATOR_INGEST_H
#define SPENDD_AGGREGATOR_INGEST_H

#include "common/bus/bus.h"
#include "common/config/settings.h"
#include "common/event/read.h"
#include "common/json/json.h"
#include "common/stats/stats.h"
#include "workers/aggregator/window.h"

struct bytes {
    unsigned char *data;
    size_t used, size;
};

/* The last event of the message in hand: its record is the group's last, the window was not asked yet. */
struct held {
    bool any;
    uint32_t index;
    struct id_hash id;
    size_t record; /* where it begins */
};

/* What becomes durable together, and who waits for it. */
struct group {
    struct bytes records, replies, ids;
    uint64_t events, records_count, unacked;
    uint32_t ticket;
};

struct ingest {
    const struct settings *settings;
    struct stats_page *stats;
    struct window *window;
    struct bus_socket *acked, *unacked;
    struct bus_socket *posts; /* the gateway's; NULL: no HTTP ingest */
    bool posted;              /* the message in hand, or the answer in hand, is the gateway's */
    struct event_reader *reader;
    struct json_out *json, *answer; /* the list of the refused; an answer as a whole */
    struct group groups[2];
    unsigned collecting; /* index of the one that fills; the other is with the disk, or empty */
    uint32_t next_ticket;
    const char *refusing; /* why new messages are refused for now; NULL: they are taken */
    /* The message in hand. */
    bool from_unacked;
    uint32_t accepted, duplicate, rejected, second;
    size_t message_bytes; /* of the message under way */
    bool waits; /* for the group: it added records, or repeats one that is not durable */
    size_t records_mark, ids_mark;
    struct held held;
};

void ingest_init(struct ingest *ingest, const struct settings *settings, struct stats_page *stats,
                 struct window *window);
void ingest_cleanup(struct ingest *ingest);
bus_message_fn ingest_acked, ingest_unacked, ingest_posted; /* arg: the struct ingest */

bool ingest_waiting(const struct ingest *ingest); /* does anything collect? */
bool ingest_crowded(const struct ingest *ingest); /* stop reading until the group has gone */
/* The collected group goes to the disk and another begins to collect. */
struct group *ingest_swap(struct ingest *ingest);
/* The group that was with the disk is durable, or failed: then the one that collects fails too. */
void ingest_settle(struct ingest *ingest, bool durable);

#endif
