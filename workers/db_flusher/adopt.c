/*
 * adopt.c - the adoption's turns.  See adopt.h.
 *
 * All lists are claimed together, and counted together in one transaction: no list is counted without the
 * others, and none twice.  The pod locks are wanted from when the database was first usable on: a spendd that
 * cannot write must not keep pods from writing.  Once held they are kept while PostgreSQL is away or the
 * operator pauses the flusher, for what pods pop then they may lose.
 *
 * Owns the claims' copies and the locks.  Invariant: a claim leaves Redis only when PostgreSQL has said what
 * became of its id, or when nothing stands in it.  If we die on any line: the claims stand in Redis, the locks
 * expire, and whoever starts next finds both.
 */
#include "workers/db_flusher/adopt.h"

#include "common/base/log.h"
#include "workers/db_flusher/asked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLICAS_MS 60000
#define SAY_MS 60000

_Static_assert(CLAIMS_MOST <= FLUSH_CLAIMS, "one transaction counts the claims of all lists");

/* --- when ------------------------------------------------------------------------------------------ */

static bool can(const struct flusher *f)
{
    return f->adopt != NULL && !f->draining && !f->gate_closed && !flusher_paused(f) &&
           !asked_to_stand_back(f) && schema_install(f->schema)[0] &&
           pod_locks_held(f->adopt->locks, mono_now());
}

void adopt_begin_turn(struct flusher *f)
{
    if (f->adopt != NULL)
        f->adopt->mine = false;
}

bool adopt_due(struct flusher *f)
{
    bool yields = f->adopt != NULL && f->adopt->yielded;

    if (f->adopt != NULL)
        f->adopt->yielded = false; /* the turn is the flush's now */
    return !yields && can(f) && mono_reached(mono_now(), f->adopt->due);
}

int64_t adopt_pause(const struct flusher *f, int64_t ms)
{
    int64_t left;

    if (!can(f))
        return ms;
    left = mono_ms_between(mono_now(), f->adopt->due);
    return left < ms ? left : ms;
}

void adopt_ready(struct flusher *f)
{
    if (f->adopt != NULL)
        pod_locks_want(f->adopt->locks);
}

static void on_locks(void *arg)
{
    struct flusher *f = arg;

    f->adopt->due = mono_now();
    if (!f->busy && !f->leaving)
        timer_in_ms(f->turn_timer, 0);
}

void adopt_says(const struct flusher *f, char *text, size_t size)
{
    const struct adopt *adopt = f->adopt;

    if (adopt == NULL)
        snprintf(text, size, "%s", "");
    else if (!pod_locks_wanted(adopt->locks))
        snprintf(text, size, "LiteLLM's lists are left to its pods until the database is usable; ");
    else if (pod_locks_held(adopt->locks, mono_now()))
        snprintf(text, size, "adopts LiteLLM's lists; ");
    else
        snprintf(text, size, "LiteLLM's pod locks are held by %.60s; ",
                 pod_locks_holder(adopt->locks)[0] ? pod_locks_holder(adopt->locks) : "nobody yet");
}

void adopt_end(struct flusher *f)
{
    struct adopt *adopt = f->adopt;
    int64_t pause = f->settings->litellm_drain_ms;

    for (size_t i = 0; i < adopt->claims; i++)
        if (adopt->claim[i].left > 0)
            pause = 0;
    adopt->due = mono_after_ms(mono_now(), pause - turn_jitter(pause / 5));
    adopt->yielded = true;
    turn_redis_works(f);
    turn_end(f, 0);
}

void adopt_watch(struct flusher *f)
{
    int64_t oldest = 0, updates = 0, days = 0;

    if (f->adopt == NULL)
        return;
    for (size_t i = 0; i < f->adopt->claims; i++) {
        const struct claim *claim = &f->adopt->claim[i];
        int64_t age = claim_there(claim) ? mono_ms_between(claim->since, mono_now()) : 0;

        oldest = age > oldest ? age : oldest;
        if (claim->list == LITELLM_LIST_spend)
            updates += (int64_t)claim->elements;
        else if (claim->list != LITELLM_LIST_window)
            days += (int64_t)claim->elements;
    }
    stats_set(harness_stats(f->harness), METRIC_litellm_oldest_claim_ms, oldest);
    stats_set(harness_stats(f->harness), METRIC_litellm_update_claimed, updates);
    stats_set(harness_stats(f->harness), METRIC_litellm_daily_claimed, days);
}

/* --- claiming -------------------------------------------------------------------------------------- */

static void on_waited(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    (void)reason; /* the claim is as safe as this Redis, replica or not */
    if (reply == NULL || reply->kind != REDIS_NUMBER || reply->number < 1)
        log_debug("claim_without_replica", "waited_ms=%lld", (long long)f->settings->litellm_replica_wait_ms);
    f->adopt->mine = true;
    database_ensure(f);
}

/* Something was claimed that is worth a transaction.  Its elements exist nowhere but in this Redis. */
static void wait_replica(struct flusher *f, bool fresh)
{
    int64_t ms = f->settings->litellm_replica_wait_ms, most = f->settings->redis_command_ms / 2;
    char text[24];
    const char *argv[] = {"WAIT", "1", text};

    snprintf(text, sizeof text, "%lld", (long long)(ms < most ? ms : most));
    if (fresh && ms > 0 && f->adopt->replicas > 0) {
        redis_command(f->redis, 3, argv, NULL, on_waited, f);
        return;
    }
    f->adopt->mine = true;
    database_ensure(f);
}

static bool all_empty(const struct claim *claim)
{
    for (size_t i = 0; i < claim->elements; i++)
        if (!adopt_element_empty(claim->list, claim->bytes + claim->element[i].at, claim->element[i].length))
            return false;
    return true;
}

static void claimed(struct flusher *f)
{
    struct adopt *adopt = f->adopt;
    bool work = false, fresh = false, any = false;

    adopt_note_lengths(f);
    for (size_t i = 0; i < adopt->claims; i++) {
        struct claim *claim = &adopt->claim[i];

        if (!claim_there(claim))
            continue;
        claim->empty = all_empty(claim);
        any = true;
        work |= !claim->empty && claim->flush.known == CLAIM_NEW;
        fresh |= !claim->empty && !claim->found;
        flusher_count(f, METRIC_litellm_claims_resumed_total, claim->resumed);
    }
    if (!any)
        adopt_end(f);
    else if (work)
        wait_replica(f, fresh);
    else
        adopt_settle(f);
}

static void refused(struct flusher *f, const struct claim *claim, const char *why)
{
    if (!mono_reached(mono_now(), f->adopt->said))
        return;
    f->adopt->said = mono_after_ms(mono_now(), SAY_MS);
    log_error("claim_refused", "list=%s claim=%s reason=\"%s\"", claim->list_key, claim->key, why);
}

static void take(struct flusher *f, struct claim *claim, const struct redis_reply *reply)
{
    if (!redis_said(reply, "ok") || reply->items < 4) {
        claim_forget(claim);
        refused(f, claim, reply->kind == REDIS_ERROR ? reply->text : "an answer of another kind");
        return;
    }
    switch (claim_take(claim, reply)) {
    case CLAIM_TAKEN:
    case CLAIM_NOTHING:
        return;
    case CLAIM_FOREIGN:
        refused(f, claim, "what stands there is no claim of spendd: left alone, and so is its list");
        return;
    case CLAIM_NO_MEMORY:
        f->adopt->lost = true;
        return;
    }
}

static void on_claimed(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct claim *claim = arg;
    struct flusher *f = claim->owner;

    if (reply == NULL)
        f->adopt->lost = true;
    else
        take(f, claim, reply);
    if (--f->adopt->awaited > 0)
        return;
    if (f->adopt->lost) {
        f->adopt->yielded = true;
        turn_redis_failed(f, "claim", NULL, reason != NULL ? reason : "no memory for its answer");
    } else {
        claimed(f);
    }
}

/* ["master", offset, [replica...]] */
static void on_role(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;

    (void)reason; /* it may be forbidden: then nobody is waited for */
    f->adopt->replicas = -1;
    if (reply != NULL && reply->kind == REDIS_ARRAY && reply->items == 3 && reply->item[2].kind == REDIS_ARRAY)
        f->adopt->replicas = (int64_t)reply->item[2].items;
}

static void claim_all(struct flusher *f)
{
    static const char *const role[] = {"ROLE"};
    struct adopt *adopt = f->adopt;

    if (mono_reached(mono_now(), adopt->replicas_due)) {
        adopt->replicas_due = mono_after_ms(mono_now(), REPLICAS_MS);
        redis_command(f->redis, 1, role, NULL, on_role, f);
    }
    adopt->lost = false;
    adopt->awaited = adopt->claims;
    for (size_t i = 0; i < adopt->claims; i++)
        claim_ask(&adopt->claim[i], f->redis, adopt->elements, adopt->bytes, on_claimed, &adopt->claim[i]);
}

void adopt_turn(struct flusher *f)
{
    if (f->adopt->too_much) {
        f->adopt->mine = true;
        database_ensure(f);
    } else {
        claim_all(f);
    }
}

/* --- counting -------------------------------------------------------------------------------------- */

bool adopt_holds(const struct flusher *f)
{
    return f->adopt != NULL && pod_locks_held(f->adopt->locks, mono_now());
}

bool adopt_mine(const struct flusher *f)
{
    return f->adopt != NULL && f->adopt->mine;
}

static int make(void *arg, const struct poison *poison)
{
    struct flusher *f = arg;

    return adopt_parts_make(&f->adopt->parts, poison);
}

static size_t items(void *arg)
{
    struct flusher *f = arg;

    return f->adopt->parts.items;
}

static int refuse(void *arg, size_t item)
{
    struct flusher *f = arg;

    return adopt_parts_refuse(&f->adopt->parts, item);
}

#ifdef MUTANT_CLAIM_DELETED_EARLY
static void ignore(void *arg, const struct redis_reply *reply, const char *reason)
{
    (void)arg, (void)reply, (void)reason;
}
#endif

static void count(struct flusher *f)
{
    struct adopt *adopt = f->adopt;
    struct flush_ask ask = {.load = &adopt->parts.load, .sums = &adopt->parts.sums,
                            .lock_tables = f->deadlocks >= DEADLOCKS_BEFORE_QUEUEING, .statement_ms = f->statement_ms,
                            .source = {make, items, refuse, f}};

    for (size_t i = 0; i < adopt->claims; i++)
        if (claim_there(&adopt->claim[i]) && !adopt->claim[i].empty &&
            adopt->claim[i].flush.known == CLAIM_NEW)
            ask.claim[ask.claims++] = &adopt->claim[i].flush;
#ifdef MUTANT_CLAIM_DELETED_EARLY /* tests/mutants: before anybody has committed it */
    for (size_t i = 0; i < adopt->claims; i++)
        if (claim_there(&adopt->claim[i]))
            claim_settle(&adopt->claim[i], f->redis, ignore, NULL);
#endif
    ask.windows = &adopt->parts.windows;
    ask.purge_claims = mono_reached(mono_now(), adopt->purge_due);
    adopt_parts_begin(&adopt->parts, adopt->claim, adopt->claims);
    attempt_run(f->attempt, &ask, adopt_outcome, f);
}

static void on_given_back(void *arg, enum pg_refusal refusal, const char *why)
{
    struct flusher *f = arg;

    if (why != NULL) {
        f->adopt->yielded = true;
        if (refusal != PG_REFUSED_NOT && turn_refused(f, "give back", refusal, why))
            turn_stand_down(f, refusal, why);
        else
            turn_end_refused(f, refusal);
        return;
    }
    f->adopt->too_much = false;
    f->pg_used = mono_now();
    adopt_settle(f);
}

void adopt_apply(struct flusher *f)
{
    f->adopt->mine = false;
    if (f->adopt->too_much)
        give_back_mark(f->adopt->give_back, f->adopt->claim, f->adopt->claims, on_given_back, f);
    else
        count(f);
}

/* --- life ------------------------------------------------------------------------------------------ */

struct adopt *adopt_open(struct flusher *f)
{
    struct adopt *adopt;

    if (!f->settings->litellm_adopt)
        return NULL;
    adopt = calloc(1, sizeof *adopt);
    if (adopt == NULL)
        bug("out of memory");
    adopt->locks = pod_locks_open(f->harness, f->redis, on_locks, f);
    adopt->claims = claims_init(adopt->claim, f->settings, f);
    adopt_parts_init(&adopt->parts, f->layout);
    adopt->give_back = give_back_open(f->pg, f->settings, f->schema);
    adopt->elements = f->settings->litellm_claim_elements;
    adopt->bytes = f->settings->litellm_claim_bytes;
    adopt->replicas_due = adopt->due = adopt->said = adopt->purge_due = mono_now();
    return adopt;
}

void adopt_close(struct flusher *f)
{
    struct adopt *adopt = f->adopt;

    if (adopt == NULL)
        return;
    pod_locks_close(&adopt->locks);
    give_back_close(&adopt->give_back);
    adopt_parts_free(&adopt->parts);
    claims_free(adopt->claim, adopt->claims);
    free(adopt);
    f->adopt = NULL;
}
