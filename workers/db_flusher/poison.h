/*
 * poison.h - which events does PostgreSQL refuse?  Bisection over 0..count-1 by trials that the caller
 * carries out (each a whole transaction, rolled back).  Pure.
 *
 * A trial holds everything found good so far and one range more, so that sums which only overflow
 * together are found too.  The first trial is the synthetic good event: refused, it is the schema.
 */
#ifndef SPENDD_DB_FLUSHER_POISON_H
#define SPENDD_DB_FLUSHER_POISON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum poison_state {
    POISON_SYNTHETIC, /* try the synthetic event alone */
    POISON_TRY,       /* try poison_included */
    POISON_DONE,      /* what is bad is known: poison_bad */
    POISON_SCHEMA     /* too many, or the good one refused: it is not the data */
};

enum poison_verdict { VERDICT_UNKNOWN, VERDICT_GOOD, VERDICT_BAD };

#define POISON_STACK 64

struct poison {
    enum poison_state state;
    uint8_t *verdict; /* by event; the caller's memory, `count` of them */
    size_t count;
    struct range {
        size_t from, to;
    } stack[POISON_STACK]; /* still to try; the top is under trial */
    size_t depth;
    size_t bad, most_bad;
    size_t trials, most_trials;
};

/* `verdict` is set to unknown throughout. */
void poison_begin(struct poison *poison, uint8_t *verdict, size_t count, size_t most_bad);

/* The trial asked for went in, or was refused for its data. */
void poison_trial(struct poison *poison, bool refused);

/* Does the trial hold this event? */
bool poison_included(const struct poison *poison, size_t event);

#endif
