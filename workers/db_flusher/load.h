/*
 * load.h - what one flush took from the queue: its batches, their events, and what is to become of
 * each.  The envelopes are copied once and borrowed from there.  Pure but for hashing.
 *
 * The fates are a hypothesis that the transaction proves under its locks: sums are made here without
 * the events that are known already; where the database finds another set, the attempt is rolled back
 * and made again with what was learnt.  So PostgreSQL never has to subtract.
 */
#ifndef SPENDD_DB_FLUSHER_LOAD_H
#define SPENDD_DB_FLUSHER_LOAD_H

#include "common/base/attr.h"
#include "common/batch/batch.h"
#include "common/event/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fate {
    FATE_COUNT,    /* goes in */
    FATE_REPEAT,   /* a copy of an earlier one in this flush */
    FATE_KNOWN,    /* the database has it: looked up again under the lock */
    FATE_CONFLICT, /* the database has that id with other contents: dead letter; looked up again too */
    FATE_CLASH,    /* the same within this flush: dead letter */
    FATE_POISON,   /* refused for its data: dead letter */
    FATE_OFF       /* events write nothing: dead letter */
};

struct load_event {
    const unsigned char *body; /* of the record, in the envelope */
    uint32_t bytes, batch, n;  /* n: number of the record in its batch */
    struct slice key;          /* event_id, within the body */
    int64_t received;          /* wall time of its arrival, microseconds */
    day_t day;                 /* of the log row */
    bool timed;                /* start_time was given: `day` is the arbiter's day too */
    uint8_t fate;
    unsigned char id[16];     /* first half of SHA-256 of the event key: the same everywhere, for ever */
    unsigned char digest[8];  /* of spend, api_key, model: what makes a repeat a conflict */
};

/* LETTER: one event out of the dead letters, under its batch's identity.  NAMELESS: of records that never
 * were events, for their dead letters. */
enum batch_kind { BATCH_WHOLE, BATCH_CORRUPT, BATCH_LETTER, BATCH_NAMELESS };

struct load_batch {
    enum batch_kind kind;
    struct identity identity;
    const unsigned char *data; /* the envelope */
    size_t bytes;
    char sha1[41];   /* of a corrupt one: how the script finds it */
    bool again;      /* the same identity came before in this flush */
    bool applied;    /* the ledger has it (hypothesis until the row is locked); of a letter: it is gone */
    int64_t letter;  /* BATCH_LETTER: its id in dead_letter */
    size_t first, events;
};

/* A record that cannot be counted, for good reasons known without the database. */
struct load_dead {
    const char *class;
    char reason[120];
    const unsigned char *record;
    size_t bytes, at; /* at: while the record's place may still move */
    uint32_t batch, n;
    char key[96]; /* of a record that is no event: where it comes from, so that two alike are two */
};

struct load_epoch {
    char epoch[EPOCH_TEXT];
    int64_t published, version; /* in Redis before the transaction, of the ledger row as last read; -1: none */
    char *applied;     /* its ranges, as last read; owned */
    bool old;          /* its last batch is longer ago than any spool keeps applied segments */
};

struct load {
    char generation[64]; /* of the queue, under which all of it was read */
    unsigned char *bytes; /* all envelopes, one behind the other */
    size_t bytes_used, bytes_room;
    struct load_batch *batch;
    size_t batches, batch_room;
    struct load_event *event;
    size_t events, event_room;
    struct load_dead *dead;
    size_t deads, dead_room;
    struct load_epoch *epoch;
    size_t epochs, epoch_room;
    bool repeats;   /* a key of it was in the arbiter: it is put in as carefully as that needs */
    int64_t oldest; /* arrival of the oldest event; 0: none */
};

void load_clear(struct load *load); /* keeps the memory, and the generation */
void load_free(struct load *load);

/* Room for all envelopes must be made before the first is added: events point into it. */
int load_reserve(struct load *load, size_t bytes) MUST_CHECK;

enum load_added { LOAD_ADDED, LOAD_NEWER, LOAD_NO_MEMORY };
enum load_added load_add(struct load *load, const void *envelope, size_t bytes) MUST_CHECK;

/* A dead letter, to be counted after all.  Room for its bytes must have been reserved.  1: this build
 * cannot decode it; -1: out of memory. */
int load_add_letter(struct load *load, int64_t letter, const struct identity *identity, uint32_t n,
                    const void *record, size_t bytes) MUST_CHECK;
int load_add_nameless(struct load *load) MUST_CHECK; /* a BATCH_NAMELESS; -1: out of memory */
struct load_dead *load_add_dead(struct load *load, const char *class, const char *reason); /* NULL: the same */

/* Finds repeats among the events of batches that are not applied yet.  -1: out of memory. */
int load_plan(struct load *load) MUST_CHECK;
bool load_batch_active(const struct load_batch *batch); /* is it to be applied now? */
bool load_batch_anonymous(const struct load_batch *batch); /* has it no identity to be counted under? */
bool load_event_active(const struct load *load, const struct load_event *event);

struct load_epoch *load_epoch(struct load *load, const char *epoch); /* NULL: none */
int load_note_epoch(struct load *load, const char *epoch) MUST_CHECK; /* -1: out of memory */
void load_digest(struct slice api_key, struct slice model, int64_t spend, unsigned char to[8]);
void load_sha1(const void *data, size_t bytes, char hex[41]);

#endif
