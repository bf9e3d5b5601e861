/*
 * adopt_lengths.c - how much stands in LiteLLM's lists: the figures that its users watch for growth.
 *
 * Each claim tells what it leaves behind; whoever claims nothing (PostgreSQL is away, the operator pauses it, another
 * one holds the pod locks) asks for the lengths now and then, for these are the hours in which lists grow.
 *
 * Only looks.  Owns nothing but what is awaited and its due time.  If we die on any line: the next one looks.
 */
#include "workers/db_flusher/adopt.h"

#define LOOK_MS 5000

void adopt_note_lengths(struct flusher *f)
{
    int64_t left[LITELLM_LISTS] = {0};

    for (size_t i = 0; i < f->adopt->claims; i++)
        left[f->adopt->claim[i].list] += f->adopt->claim[i].left;
    for (int list = 0; list < LITELLM_LISTS; list++)
        stats_set(harness_stats(f->harness), litellm_list_metric((enum litellm_list)list), left[list]);
}

static void on_length(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct claim *claim = arg;
    struct flusher *f = claim->owner;

    (void)reason; /* not answered: nothing new is known */
    if (reply != NULL && reply->kind == REDIS_NUMBER && reply->number >= 0)
        claim->left = reply->number;
    if (--f->adopt->lengths_awaited == 0)
        adopt_note_lengths(f);
}

void adopt_look_lengths(struct flusher *f)
{
    struct adopt *adopt = f->adopt;

    if (adopt == NULL || f->leaving || adopt->lengths_awaited > 0 || !redis_up(f->redis) ||
        !mono_reached(mono_now(), adopt->lengths_due))
        return;
    adopt->lengths_due = mono_after_ms(mono_now(), LOOK_MS);
    adopt->lengths_awaited = adopt->claims;
    for (size_t i = 0; i < adopt->claims; i++) {
        const char *words[] = {"LLEN", adopt->claim[i].list_key};

        redis_command(f->redis, 2, words, NULL, on_length, &adopt->claim[i]);
    }
}
