/*
 * pod_lock.c - see pod_lock.h.
 *
 * Owns two leases and the timer that keeps them.  The value of a lock is JSON text, as LiteLLM writes its own:
 * a pod that decodes it finds a string that is not its own, says who holds the lock, and goes on pushing.
 * Invariant: a lease counts from when its question was sent, so it ends here before it ends in Redis.
 * If we die on any line: the locks expire by themselves, and pods pop again what we have not claimed.
 */
#include "workers/db_flusher/pod_lock.h"

#include "common/base/log.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PER_LEASE 4 /* renewals */

static const enum metric gauges[LITELLM_LOCKS] = {METRIC_litellm_lock_held, METRIC_litellm_tag_lock_held};

struct pod_lock {
    struct pod_locks *locks;
    unsigned index;
    char key[LITELLM_KEY];
    char holder[POD_LOCK_VALUE]; /* who else has it, when last asked */
    struct lease lease;
    bool asked; /* an answer is to come */
    mono_t due; /* of the next question */
};

struct pod_locks {
    struct harness *harness;
    struct redis *redis;
    pod_locks_fn *moved, *released;
    void *arg, *released_arg;
    struct timer *timer;
    char value[POD_LOCK_VALUE];
    struct pod_lock lock[LITELLM_LOCKS];
    bool wanted, leaving;
    unsigned left; /* answers to the release that are still to come */
};

/* --- asking ---------------------------------------------------------------------------------------- */

static void run(struct pod_lock *lock, enum redis_script script, redis_reply_fn *f)
{
    const struct settings *s = harness_settings(lock->locks->harness);
    const char *argv[] = {lock->key, lock->locks->value, NULL};
    char ttl[24];

    snprintf(ttl, sizeof ttl, "%lld", (long long)s->litellm_lock_ttl_ms);
    argv[2] = ttl;
    redis_script(lock->locks->redis, script, script == REDIS_unlock ? 2 : 3, argv, NULL, f, lock);
}

static void next_timer(struct pod_locks *locks)
{
    mono_t next = mono_never();

    for (unsigned i = 0; i < LITELLM_LOCKS; i++)
        if (!locks->lock[i].asked && locks->lock[i].due.micros < next.micros)
            next = locks->lock[i].due;
    if (locks->leaving || !locks->wanted || next.micros == mono_never().micros)
        timer_stop(locks->timer);
    else
        timer_at(locks->timer, next);
}

static void note(struct pod_lock *lock, bool had)
{
    struct pod_locks *locks = lock->locks;
    bool has = lock->lease.state == LEASE_HELD;

    if (had == has)
        return;
    stats_set(harness_stats(locks->harness), gauges[lock->index], has);
    if (has) {
        lock->holder[0] = '\0';
        log_info("pod_lock_taken", "key=%s", lock->key);
    } else {
        stats_add(harness_stats(locks->harness), METRIC_litellm_locks_lost_total, 1);
        log_warn("pod_lock_lost", "key=%s", lock->key);
    }
    if (!has || pod_locks_held(locks, mono_now()))
        locks->moved(locks->arg);
}

static void note_holder(struct pod_lock *lock, const struct redis_reply *reply)
{
    char holder[POD_LOCK_VALUE] = "";

    if (redis_said(reply, "held") && reply->items > 1 && reply->item[1].text)
        snprintf(holder, sizeof holder, "%.*s", (int)reply->item[1].length, reply->item[1].text);
    if (strcmp(holder, lock->holder) != 0 && holder[0] != '\0')
        log_debug("pod_lock_waits", "key=%s holder=%s", lock->key, holder);
    memcpy(lock->holder, holder, sizeof holder);
}

static void on_answer(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct pod_lock *lock = arg;
    const struct settings *s = harness_settings(lock->locks->harness);
    bool had = lock->lease.state == LEASE_HELD;

    (void)reason;
    lock->asked = false;
    if (lock->locks->leaving)
        return;
    if (redis_said(reply, "ok"))
        lease_granted(&lock->lease);
    else if (redis_said(reply, "held") || redis_said(reply, "lost"))
        (void)lease_refused(&lock->lease);
    else
        (void)lease_unanswered(&lock->lease, mono_now());
    note_holder(lock, reply);
    note(lock, had);
    lock->due = mono_after_ms(mono_now(), lock->lease.state == LEASE_HELD && redis_said(reply, "ok")
                                              ? s->litellm_lock_ttl_ms / PER_LEASE
                                              : s->litellm_lock_poll_ms);
    next_timer(lock->locks);
}

/* A lock that is not ours is asked for with SET NX; one that is, with compare-and-expire. */
static void on_timer(void *arg)
{
    struct pod_locks *locks = arg;
    mono_t now = mono_now();

    for (unsigned i = 0; i < LITELLM_LOCKS; i++) {
        struct pod_lock *lock = &locks->lock[i];

        if (lock->asked || !mono_reached(now, lock->due))
            continue;
        lock->asked = true;
        lease_asked(&lock->lease, now);
        run(lock, lock->lease.state == LEASE_HELD ? REDIS_renewlock : REDIS_lock, on_answer);
    }
    next_timer(locks);
}

/* --- life ------------------------------------------------------------------------------------------ */

/* "spendd:<instance>:<random>", quotes included; of the instance what needs no escape. */
static void make_value(char value[POD_LOCK_VALUE], const char *instance)
{
    char random[REDIS_FRESH], name[97];
    size_t used = 0;

    redis_fresh(random);
    for (; *instance && used < sizeof name - 1; instance++)
        name[used++] = isalnum((unsigned char)*instance) || strchr("-._", *instance) ? *instance : '_';
    name[used] = '\0';
    snprintf(value, POD_LOCK_VALUE, "\"spendd:%s:%s\"", name, random);
}

struct pod_locks *pod_locks_open(struct harness *harness, struct redis *redis, pod_locks_fn *moved, void *arg)
{
    const struct settings *s = harness_settings(harness);
    struct pod_locks *locks = calloc(1, sizeof *locks);

    if (!locks)
        bug("out of memory");
    locks->harness = harness;
    locks->redis = redis;
    locks->moved = moved;
    locks->arg = arg;
    locks->timer = harness_timer(harness, on_timer, locks);
    make_value(locks->value, s->instance);
    for (unsigned i = 0; i < LITELLM_LOCKS; i++) {
        struct pod_lock *lock = &locks->lock[i];

        lock->locks = locks;
        lock->index = i;
        litellm_lock_key(i, s->litellm_lock_namespace, lock->key);
        lease_init(&lock->lease, s->litellm_lock_ttl_ms);
        lock->due = mono_now();
        stats_set(harness_stats(harness), gauges[i], 0); /* a predecessor may have died with it */
    }
    return locks;
}

void pod_locks_close(struct pod_locks **locks)
{
    if (*locks == NULL)
        return;
    harness_untimer(&(*locks)->timer);
    free(*locks);
    *locks = NULL;
}

void pod_locks_want(struct pod_locks *locks)
{
    if (locks->wanted || locks->leaving)
        return;
    locks->wanted = true;
    timer_in_ms(locks->timer, 0);
}

bool pod_locks_wanted(const struct pod_locks *locks)
{
    return locks->wanted;
}

bool pod_locks_held(const struct pod_locks *locks, mono_t now)
{
    for (unsigned i = 0; i < LITELLM_LOCKS; i++)
        if (!lease_held(&locks->lock[i].lease, now))
            return false;
    return true;
}

const char *pod_locks_holder(const struct pod_locks *locks)
{
    for (unsigned i = 0; i < LITELLM_LOCKS; i++)
        if (locks->lock[i].holder[0] != '\0')
            return locks->lock[i].holder;
    return "";
}

static void on_released(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct pod_lock *lock = arg;
    struct pod_locks *locks = lock->locks;

    (void)reply; /* lost, or not to be reached: then it expires */
    (void)reason;
    if (--locks->left == 0)
        locks->released(locks->released_arg);
}

void pod_locks_release(struct pod_locks *locks, pod_locks_fn *done, void *arg)
{
    locks->leaving = true;
    locks->released = done;
    locks->released_arg = arg;
    timer_stop(locks->timer);
    for (unsigned i = 0; i < LITELLM_LOCKS; i++) {
        stats_set(harness_stats(locks->harness), gauges[i], 0);
        locks->left++; /* all before the first answer */
    }
    for (unsigned i = 0; i < LITELLM_LOCKS; i++) {
        lease_given_up(&locks->lock[i].lease);
        run(&locks->lock[i], REDIS_unlock, on_released);
    }
}
