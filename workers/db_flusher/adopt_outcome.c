/*
 * adopt_outcome.c - what follows from an attempt to count claims: they leave Redis, go back to their lists
 * to be made smaller, or wait for the next turn.
 *
 * Only what PostgreSQL has committed is acted on.  If we die between COMMIT and here: whoever finds the claim
 * reads its id's state, and does the same.
 */
#include "workers/db_flusher/adopt.h"

#include "common/base/log.h"

#define PURGE_MS 3600000
#define STATEMENT_MOST_MS 3600000
#define BYTES_LEAST 4096

/* --- out of Redis ---------------------------------------------------------------------------------- */

static void on_settled(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct claim *claim = arg;
    struct flusher *f = claim->owner;

    if (redis_said(reply, "ok")) {
        flusher_count(f, METRIC_litellm_claims_returned_total, claim->flush.known == CLAIM_RETURNED);
        if (claim->empty && claim->flush.known == CLAIM_NEW)
            flusher_count(f, METRIC_litellm_elements_empty_total, (int64_t)claim->elements);
        claim_forget(claim);
    } else if (redis_said(reply, "gone")) {
        claim_forget(claim); /* another one was faster */
    } else {
        f->adopt->lost = true;
    }
    if (--f->adopt->awaited > 0)
        return;
    if (f->adopt->lost) {
        f->adopt->yielded = true;
        turn_redis_failed(f, "unclaim", reply, reason);
    } else {
        adopt_end(f);
    }
}

void adopt_settle(struct flusher *f)
{
    struct adopt *adopt = f->adopt;

    adopt->lost = false;
    adopt->awaited = 1; /* until all are asked */
    for (size_t i = 0; i < adopt->claims; i++) {
        struct claim *claim = &adopt->claim[i];

        if (!claim_there(claim) || (claim->flush.known == CLAIM_NEW && !claim->empty))
            continue;
        adopt->awaited++;
        claim_settle(claim, f->redis, on_settled, claim);
    }
    if (--adopt->awaited == 0)
        adopt_end(f);
}

/* --- after COMMIT ---------------------------------------------------------------------------------- */

static void count_empty(struct flusher *f, const struct claim *claim)
{
    int64_t empty = 0;

    for (size_t i = 0; i < claim->elements; i++)
        empty += adopt_element_empty(claim->list, claim->bytes + claim->element[i].at, claim->element[i].length);
    flusher_count(f, METRIC_litellm_elements_empty_total, empty);
}

static void committed(struct flusher *f, const struct flush_report *report)
{
    struct adopt *adopt = f->adopt;

    outcome_went_in(f, report);
    flusher_count(f, METRIC_litellm_elements_counted_total, adopt->parts.elements);
    flusher_count(f, METRIC_litellm_elements_dead_total, adopt->parts.dead_elements);
    flusher_count(f, METRIC_litellm_entries_dead_total, adopt->parts.dead_entries);
    for (size_t i = 0; i < adopt->claims; i++) {
        struct claim *claim = &adopt->claim[i];

        if (!claim_there(claim) || claim->empty)
            continue;
        flusher_count(f, METRIC_litellm_claims_discarded_total, claim->flush.known == CLAIM_APPLIED);
        if (claim->flush.known != CLAIM_NEW)
            continue;
        flusher_count(f, METRIC_litellm_claims_applied_total, 1);
        count_empty(f, claim);
        claim->flush.known = CLAIM_APPLIED;
    }
    if (adopt->parts.dead_elements + adopt->parts.dead_entries > 0)
        log_warn("elements_dead", "elements=%lld entries=%lld reason=\"could not be counted: see dead ls\"",
                 (long long)adopt->parts.dead_elements, (long long)adopt->parts.dead_entries);
    if (mono_reached(mono_now(), adopt->purge_due))
        adopt->purge_due = mono_after_ms(mono_now(), PURGE_MS);
    adopt->elements = 2 * adopt->elements < f->settings->litellm_claim_elements
                          ? 2 * adopt->elements : f->settings->litellm_claim_elements;
    adopt->bytes = 2 * adopt->bytes < f->settings->litellm_claim_bytes ? 2 * adopt->bytes
                                                                       : f->settings->litellm_claim_bytes;
    adopt_settle(f);
}

/* A claim is counted whole or not at all: one that is too much goes back to its list, and is made smaller.
 * What cannot be smaller gets more time. */
static void less(struct flusher *f, enum pg_refusal refusal)
{
    struct adopt *adopt = f->adopt;

    if (adopt->elements <= 1) {
        if (refusal == PG_REFUSED_statement_timeout && f->statement_ms < STATEMENT_MOST_MS)
            f->statement_ms *= 2;
        return;
    }
    adopt->elements /= 2;
    if (adopt->bytes > 2 * BYTES_LEAST)
        adopt->bytes /= 2;
    adopt->too_much = true;
}

void adopt_outcome(void *arg, const struct flush_report *report)
{
    struct flusher *f = arg;

    f->adopt->yielded = true;
    if (report->result == FLUSH_COMMITTED)
        committed(f, report);
    else
        outcome_failed(f, report, less);
}
