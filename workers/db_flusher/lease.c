/*
 * lease.c - the lock in Redis as a state machine.  See lease.h.
 *
 * The lease is counted from the moment the question was sent, not from the answer: the server's own
 * clock started no earlier, so by our clock it always ends first.  A renewal without an answer leaves
 * the old end standing.  If we die on any line the key in Redis expires by itself.
 */
#include "workers/db_flusher/lease.h"

void lease_init(struct lease *lease, int64_t ttl_ms)
{
    *lease = (struct lease){.state = LEASE_NONE, .ttl_ms = ttl_ms};
}

void lease_asked(struct lease *lease, mono_t now)
{
    lease->asked = now;
    if (lease->state == LEASE_NONE)
        lease->state = LEASE_ASKED;
}

void lease_granted(struct lease *lease)
{
    lease->state = LEASE_HELD;
    lease->until = mono_after_ms(lease->asked, lease->ttl_ms);
}

bool lease_refused(struct lease *lease)
{
    bool had = lease->state == LEASE_HELD;

    lease->state = LEASE_NONE;
    return had;
}

bool lease_unanswered(struct lease *lease, mono_t now)
{
    if (lease->state == LEASE_ASKED) {
        lease->state = LEASE_NONE;
        return false;
    }
    if (lease->state != LEASE_HELD || !mono_reached(now, lease->until))
        return false;
    lease->state = LEASE_NONE;
    return true;
}

bool lease_held(const struct lease *lease, mono_t now)
{
    return lease->state == LEASE_HELD && !mono_reached(now, lease->until);
}

void lease_given_up(struct lease *lease)
{
    lease->state = LEASE_NONE;
}
