/*
 * ingest_parts.h - what ingest.c, answer.c and bury.c share; for them alone.
 */
#ifndef SPENDD_AGGREGATOR_INGEST_PARTS_H
#define SPENDD_AGGREGATOR_INGEST_PARTS_H

#include "workers/aggregator/ingest.h"

#define ECHO_MOST 8
#define REJECTED_LISTED 1000

struct group *ingest_collecting(struct ingest *ingest);
unsigned char *bytes_room(struct bytes *bytes, size_t more); /* behind what is used; never NULL */

/* `head`: the `heads` frames in front of E1, echoed.  N1 at once; `for_now`: it may come again. */
void answer_refuse(struct ingest *ingest, const struct bus_frame *head, size_t heads,
                   const struct bus_frame *id, const char *why, bool for_now);
/* A1 for the message in hand: at once, or kept until its group is durable. */
void answer_accept(struct ingest *ingest, const struct bus_frame *head, size_t heads,
                   const struct bus_frame *id);
/* What was kept in the group: A1 if it is durable, else N1. */
void answer_group(struct ingest *ingest, struct group *group, bool durable);

/* Unacked and wrong: nobody can be told, so it travels as a dead letter, in the same custody. */
void bury(struct ingest *ingest, const char *reason, const char *bytes, size_t length);

#endif
