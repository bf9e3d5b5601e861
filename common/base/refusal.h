/*
 * refusal.h - what it means when a store refuses: the words that Redis and PostgreSQL share.
 *
 * Each store has a table, refusals.def in its room, and code classifies by that table alone; the
 * table is the documentation.  A row of it:
 *
 *   REFUSAL(name, "match", class, connection, first_ms, metric, "means")
 *     name        one word: log lines, metrics, tests
 *     match       how the refusal's code or text begins; "": the door itself finds it (no socket,
 *                 deadline, certificate)
 *     class       enum refusal_class without its prefix
 *     connection  STAY (it is good, the answer says all) or LEAVE (of no use: close, begin again)
 *     first_ms    longest first pause; doubles each time up to the cap of its class; 0: no pause
 *     metric      counts it, once for each time
 *     means       a sentence for the log: what it means and, where a human must act, what to do
 */
#ifndef SPENDD_BASE_REFUSAL_H
#define SPENDD_BASE_REFUSAL_H

#include "common/base/clock.h"

#include <stddef.h>
#include <stdint.h>

enum refusal_class {
    REFUSAL_NORMAL,       /* everyday life: no warning, no growing pause */
    REFUSAL_RETRY_SOON,   /* passes by itself within seconds */
    REFUSAL_RETRY_SLOWLY, /* something is scarce and others are trying too */
    REFUSAL_STAND_DOWN,   /* not this server, or not now: let go of what is held, ask for it again */
    REFUSAL_OPERATOR,     /* a human must act; tried again slowly, for ever */
};

enum refusal_connection { STAY, LEAVE };

struct refusal {
    const char *name, *match;
    enum refusal_class class;
    enum refusal_connection connection;
    int first_ms;
    int metric; /* enum metric */
    const char *means;
};

const char *refusal_class_name(enum refusal_class class);

/* The row with the longest match that `text` begins with; NULL: none. */
const struct refusal *refusal_find(const struct refusal *table, size_t rows, const char *text);

/* How long to wait before trying again: full jitter, from 0 to a limit that doubles with `attempts` up
 * to soon_max_ms, or to slow_max_ms for RETRY_SLOWLY and OPERATOR.  `dice`: 32 random bits.  Pure. */
int64_t refusal_pause_ms(const struct refusal *refusal, unsigned attempts, int64_t soon_max_ms,
                         int64_t slow_max_ms, uint32_t dice);

/* What was said last, so that a refusal that repeats itself is not said each time. */
struct refusal_voice {
    const struct refusal *last;
    mono_t said, window;
    unsigned lines, unsaid; /* lines: within the window */
};

/* For who decides (a worker, never a door): one log line by the refusal's class, NORMAL at debug,
 * OPERATOR as error.  At once when it is another one than before, then each ten seconds with how many
 * were not said; ten lines in ten seconds at most.  `event` as for log.h, such as "redis_refused". */
void refusal_tell(struct refusal_voice *voice, const char *event, const char *what,
                  const struct refusal *refusal, const char *why, mono_t now);

/* It works again: the next refusal is said at once. */
void refusal_over(struct refusal_voice *voice);

#endif
