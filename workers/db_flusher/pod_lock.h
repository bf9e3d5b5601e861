/*
 * pod_lock.h - LiteLLM's pod locks, held by us: while they are, no pod pops its lists.
 *
 * Asked for several times a second until won, renewed at a quarter of the lease, given up last of all.
 * They save pods from losing what they pop, and both sides from deadlocks; they do not protect a claim:
 * the claim's row in PostgreSQL does.
 */
#ifndef SPENDD_DB_FLUSHER_POD_LOCK_H
#define SPENDD_DB_FLUSHER_POD_LOCK_H

#include "common/harness/harness.h"
#include "common/litellm/lists.h"
#include "common/redis/redis.h"
#include "workers/db_flusher/lease.h"

#define POD_LOCK_VALUE 160

struct pod_locks;
typedef void pod_locks_fn(void *arg);

struct pod_locks *pod_locks_open(struct harness *harness, struct redis *redis, pod_locks_fn *moved, void *arg);
void pod_locks_close(struct pod_locks **locks);

/* From now on they are wanted; `moved` is called when all are held, and when one is lost. */
void pod_locks_want(struct pod_locks *locks);
bool pod_locks_wanted(const struct pod_locks *locks);
bool pod_locks_held(const struct pod_locks *locks, mono_t now);
const char *pod_locks_holder(const struct pod_locks *locks); /* of one that we have not; "": unknown, or ours */

/* Given up; `done` is called when Redis has answered, or cannot. */
void pod_locks_release(struct pod_locks *locks, pod_locks_fn *done, void *arg);

#endif
