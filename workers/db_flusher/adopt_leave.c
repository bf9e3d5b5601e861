/*
 * adopt_leave.c - the adoption ends: claims go back to their lists, the pod locks are given up last of all.
 *
 * A claim is given back under PostgreSQL's word only; where that cannot be had (it is away, its gate is
 * closed) the claim stays in Redis, and the next start, or `spendd --give-back`, finishes it.
 * If we die on any line: the same.
 */
#include "workers/db_flusher/adopt.h"

static void on_released(void *arg)
{
    hold_leave(arg);
}

static void on_left_settled(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct claim *claim = arg;
    struct flusher *f = claim->owner;

    (void)reason; /* not answered: whoever starts next reads what PostgreSQL says */
    if (redis_said(reply, "ok"))
        flusher_count(f, METRIC_litellm_claims_returned_total, claim->flush.known == CLAIM_RETURNED);
    if (--f->adopt->awaited == 0)
        hold_leave(f);
}

static void on_left_marked(void *arg, enum pg_refusal refusal, const char *why)
{
    struct flusher *f = arg;
    struct adopt *adopt = f->adopt;

    if (why != NULL)
        turn_note_refusal(f, "claims_stay", "give back", refusal, why);
    adopt->awaited = 1; /* until all are asked */
    for (size_t i = 0; i < adopt->claims && why == NULL; i++) {
        if (!claim_there(&adopt->claim[i]))
            continue;
        adopt->awaited++;
        claim_settle(&adopt->claim[i], f->redis, on_left_settled, &adopt->claim[i]);
    }
    if (--adopt->awaited == 0)
        hold_leave(f);
}

static void on_left_connected(void *arg, const struct pg_answer *answer)
{
    struct flusher *f = arg;

    if (answer->outcome == PG_OK)
        give_back_mark(f->adopt->give_back, f->adopt->claim, f->adopt->claims, on_left_marked, f);
    else
        on_left_marked(f, answer->refusal, answer->text);
}

static bool any_claim(const struct adopt *adopt)
{
    for (size_t i = 0; i < adopt->claims; i++)
        if (claim_there(&adopt->claim[i]))
            return true;
    return false;
}

/* Claims first, the locks last: a pod that wins them finds on the lists what it may pop. */
bool adopt_leave(struct flusher *f)
{
    struct adopt *adopt = f->adopt;

    if (adopt == NULL || f->leaving)
        return false;
    f->busy = true;
    timer_stop(f->turn_timer);
    if (!adopt->given_back) {
        adopt->given_back = true;
        if (any_claim(adopt) && !f->gate_closed && schema_install(f->schema)[0]) {
            if (pg_connected(f->pg))
                give_back_mark(adopt->give_back, adopt->claim, adopt->claims, on_left_marked, f);
            else
                pg_connect(f->pg, on_left_connected, f);
            return true;
        }
    }
    if (!adopt->released) {
        adopt->released = true;
        pod_locks_release(adopt->locks, on_released, f);
        return true;
    }
    return false;
}

