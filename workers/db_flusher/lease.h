/*
 * lease.h - the lock in Redis as a state machine.  Pure: `now` is an argument, Redis is the caller's.
 * The lock is for efficiency; exactness rests on the rows that a flush locks in PostgreSQL.
 *
 *   NONE --asked--> ASKED --granted--> HELD --lost, ran out, given up--> NONE
 */
#ifndef SPENDD_DB_FLUSHER_LEASE_H
#define SPENDD_DB_FLUSHER_LEASE_H

#include "common/base/clock.h"

#include <stdbool.h>

enum lease_state { LEASE_NONE, LEASE_ASKED, LEASE_HELD };

struct lease {
    enum lease_state state;
    int64_t ttl_ms;
    mono_t asked; /* when the question under way (take or renew) was sent: the lease counts from there */
    mono_t until; /* it is ours until then, by our own clock */
};

void lease_init(struct lease *lease, int64_t ttl_ms);
void lease_asked(struct lease *lease, mono_t now);   /* SET NX, or a renewal, goes out */
void lease_granted(struct lease *lease);             /* Redis said ok */
bool lease_refused(struct lease *lease);             /* Redis said held or lost; true: we had it */
bool lease_unanswered(struct lease *lease, mono_t now); /* no answer; true: it ran out */
bool lease_held(const struct lease *lease, mono_t now);
void lease_given_up(struct lease *lease);

#endif
