/*
 * gather.c - one errand for every aggregator.  See gather.h.
 *
 * Owns one ask for each lane.  The first that fails ends it: what one lane holds cannot be known without
 * it.  If we die on any line, the aggregators see their asker leave.
 */
#include "workers/control/gather.h"

#include "common/errand/errand.h"
#include "common/json/json_tree.h"

#include <stdio.h>
#include <stdlib.h>

#define LANES_MAX 16

struct part {
    struct gather *gather;
    struct errand_ask *ask;
};

struct gather {
    struct part part[LANES_MAX];
    unsigned waiting;
    int64_t segments, bytes;
    gather_fn *done;
    void *arg;
};

void gather_drop(struct gather **gather)
{
    if (*gather == NULL)
        return;
    for (unsigned i = 0; i < LANES_MAX; i++)
        errand_ask_drop(&(*gather)->part[i].ask);
    free(*gather);
    *gather = NULL;
}

static void finish(struct gather *gather, const char *why)
{
    gather_fn *done = gather->done;
    void *arg = gather->arg;
    int64_t segments = gather->segments, bytes = gather->bytes;

    gather_drop(&gather);
    done(arg, segments, bytes, why);
}

static void on_answer(void *arg, int status, const char *json, size_t length)
{
    struct part *part = arg;
    struct gather *gather = part->gather;
    const struct json_tree *error;
    struct json_tree *tree;
    struct err err;

    if (status == ERRAND_ITEM)
        return;
    part->ask = NULL; /* it was the last answer */
    tree = json_tree_read(json, length, &err);
    error = json_member(tree, "error");
    gather->segments += json_integer(json_member(tree, "segments"), 0);
    gather->bytes += json_integer(json_member(tree, "open_bytes"), 0);
    if (status != 200)
        finish(gather, error != NULL && error->text != NULL ? error->text : "an aggregator failed");
    else if (--gather->waiting == 0)
        finish(gather, NULL);
    json_tree_free(&tree);
}

struct gather *gather_ask(struct control *control, size_t count, const char *const *words,
                          gather_fn *done, void *arg, struct err *err)
{
    unsigned lanes = (unsigned)harness_settings(control->harness)->aggregator_processes;
    struct gather *gather = calloc(1, sizeof *gather);

    if (gather == NULL)
        bug("out of memory");
    gather->done = done;
    gather->arg = arg;
    for (unsigned lane = 0; lane < lanes && lane < LANES_MAX; lane++) {
        struct part *part = &gather->part[lane];

        part->gather = gather;
        part->ask = errand_ask(control->harness, "aggregator", lane, count, words, err);
        if (part->ask == NULL) {
            gather_drop(&gather);
            return NULL;
        }
        errand_ask_answer(part->ask, on_answer, part);
        gather->waiting++;
    }
    return gather;
}
