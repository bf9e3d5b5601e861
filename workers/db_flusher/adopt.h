/*
 * adopt.h - LiteLLM's Redis lists, adopted: this flusher holds the pod locks and counts what pods push.
 *
 * A turn of it comes between two flushes, and is a chain of questions like theirs:
 *
 *   claim every list -> replica -> (nothing there: done) -> connect, schema, target -> attempt -> settle
 */
#ifndef SPENDD_DB_FLUSHER_ADOPT_H
#define SPENDD_DB_FLUSHER_ADOPT_H

#include "workers/db_flusher/adopt_parts.h"
#include "workers/db_flusher/flusher.h"
#include "workers/db_flusher/give_back.h"
#include "workers/db_flusher/pod_lock.h"

struct adopt {
    struct pod_locks *locks;
    struct claim claim[CLAIMS_MOST];
    size_t claims;
    struct adopt_parts parts;
    struct give_back *give_back;
    int64_t elements, bytes; /* of the next claims, at the most: halved when a flush was too much */
    size_t awaited;          /* answers of Redis that are still to come */
    bool lost;               /* one of them did not come */
    bool too_much;           /* the claims that are there go back, to be made smaller */
    bool mine;               /* this turn is the adoption's: goes on behind the database */
    bool yielded;            /* a flush comes first */
    bool given_back, released; /* while leaving: done, or tried */
    int64_t replicas;        /* of Redis, when last asked; -1: unknown */
    size_t lengths_awaited;  /* answers to adopt_look_lengths */
    mono_t replicas_due, due, purge_due, said, lengths_due;
};

struct adopt *adopt_open(struct flusher *f); /* NULL: not wanted */
void adopt_close(struct flusher *f);

void adopt_begin_turn(struct flusher *f);
bool adopt_due(struct flusher *f);
void adopt_turn(struct flusher *f);
bool adopt_holds(const struct flusher *f);  /* the pod locks: the connection is kept for the next turn */
bool adopt_mine(const struct flusher *f);   /* the database is ready for the adoption, not for the queue */
void adopt_apply(struct flusher *f);        /* then this */
int64_t adopt_pause(const struct flusher *f, int64_t ms); /* so long at the most until the next turn */
void adopt_ready(struct flusher *f);        /* the database was usable: from now on the lists are wanted */
void adopt_says(const struct flusher *f, char *text, size_t size); /* for the status; "": nothing */

void adopt_watch(struct flusher *f); /* each second */
void adopt_look_stray(struct flusher *f); /* the same (adopt_stray.c) */

/* adopt_lengths.c */
void adopt_note_lengths(struct flusher *f); /* what the claims say is left, as figures */
void adopt_look_lengths(struct flusher *f); /* each second: asks, now and then, also while nothing is claimed */

/* The process is about to leave: true: there is something to do first, and hold_leave comes again. */
bool adopt_leave(struct flusher *f);

/* adopt_outcome.c */
void adopt_outcome(void *flusher, const struct flush_report *report); /* flush_fn */
void adopt_settle(struct flusher *f); /* every claim of which PostgreSQL has said something */
void adopt_end(struct flusher *f);    /* the turn ends; the next one comes in time */

#endif
