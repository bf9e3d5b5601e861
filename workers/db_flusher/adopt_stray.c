/*
 * adopt_stray.c - litellm.events = full: the pods are told to push nothing (disable_spend_updates), for their
 * events are what is counted.  An element with something in it means that one of them still pushes: nobody
 * counts that, and if somebody did, it would be counted twice.  Said as a metric and in the log.
 *
 * Only looks, at the heads of the lists; empty elements are no sign of anything.  Owns nothing but its due time.
 * If we die on any line: the next one looks.
 */
#include "workers/db_flusher/adopt.h"

#include "common/base/log.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_MS 5000
#define HEADS "9" /* index of the last element that is looked at */

struct stray {
    struct claim list[CLAIMS_MOST]; /* their names */
    size_t lists, awaited;
    int64_t seen;
    mono_t due;
    bool said;
};

static void on_heads(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct claim *list = arg;
    struct flusher *f = list->owner;
    struct stray *stray = f->stray;

    (void)reason; /* not answered: nothing new is known */
    for (size_t i = 0; reply != NULL && reply->kind == REDIS_ARRAY && i < reply->items; i++)
        stray->seen += !adopt_element_empty(list->list, reply->item[i].text, reply->item[i].length);
    if (--stray->awaited > 0)
        return;
    stats_set(harness_stats(f->harness), METRIC_litellm_stray_elements, stray->seen);
    if (stray->seen > 0 && !stray->said)
        log_error("litellm_stray_elements", "seen=%lld reason=\"litellm.events is full, and a pod still pushes: "
                  "set disable_spend_updates there; nobody counts these\"", (long long)stray->seen);
    stray->said = stray->seen > 0;
}

void adopt_look_stray(struct flusher *f)
{
    struct stray *stray = f->stray;

    if (strcmp(f->settings->litellm_events, "full") != 0 || f->leaving || !redis_up(f->redis))
        return;
    if (stray == NULL) {
        stray = f->stray = calloc(1, sizeof *stray);
        if (stray == NULL)
            return; /* looked for another time */
        stray->lists = claims_init(stray->list, f->settings, f);
        stray->due = mono_now();
    }
    if (stray->awaited > 0 || !mono_reached(mono_now(), stray->due))
        return;
    stray->due = mono_after_ms(mono_now(), LOOK_MS);
    stray->seen = 0;
    stray->awaited = stray->lists;
    for (size_t i = 0; i < stray->lists; i++) {
        const char *words[] = {"LRANGE", stray->list[i].list_key, "0", HEADS};

        redis_command(f->redis, 4, words, NULL, on_heads, &stray->list[i]);
    }
}
