/*
 * fence.c - what the operator asks of a lane.  See fence.h.
 *
 *   flush           the open segment is sealed now, whatever its age; then {"segments", "open_bytes"}
 *   flush --wait    the same, and the answer comes when every segment up to that seal is applied
 *   backlog         {"segments", "open_bytes"}: what PostgreSQL does not have, at this moment
 *
 * Everything that was acknowledged before the question lies in a sealed segment or in the open file: the
 * file that is being made by a commit under way holds nothing acknowledged yet.  So the fence is the number
 * of the last segment after one more seal, or at once where nothing is open.  A segment that is rescued
 * keeps its number.  What is applied is what the lane's own marks say (deliver.c), whoever has flushed.
 *
 * Owns the fences, bounded.  If we die on any line, the asker sees us leave and may ask again; that the
 * segment is sealed early harms nobody.
 */
#include "workers/aggregator/fence.h"

#include "common/base/log.h"
#include "common/errand/errand.h"
#include "common/json/json_put.h"

#include <stdlib.h>
#include <string.h>

#define FENCES_MAX 16

struct fence {
    struct errand *errand; /* NULL: free */
    bool wait, sealed;
    uint64_t seals; /* of the spool, when it was asked */
    uint32_t last;  /* number of the last segment before the fence, once sealed */
};

struct fences {
    struct errands *errands;
    struct lane *lane;
    struct spool *spool;
    struct json_out *out;
    struct fence fence[FENCES_MAX];
};

static void answer(struct fences *fences, struct errand **errand, int64_t segments)
{
    const char *json;
    size_t length;

    json_clear(fences->out);
    json_object(fences->out);
    json_put_number(fences->out, "segments", segments);
    json_put_number(fences->out, "open_bytes", fences->lane->open_bytes);
    json_end(fences->out);
    json = json_text(fences->out, &length);
    errand_done(errand, 200, json, length);
}

static int64_t left(const struct fences *fences, const struct fence *fence)
{
    int64_t count = 0;

    for (size_t i = 0; i < fences->lane->count; i++)
        count += !fences->lane->sealed[i].applied && fences->lane->sealed[i].number <= fence->last;
    return count;
}

static void look(struct fences *fences, struct fence *fence)
{
    int64_t segments;

    if (errand_gone(fence->errand)) {
        errand_refuse(&fence->errand, 409, "the asker has left");
        return;
    }
    if (!fence->sealed && (fences->spool->fd < 0 || fences->spool->seals > fence->seals)) {
        fence->sealed = true;
        fence->last = fences->lane->numbered;
    }
    if (!fence->sealed)
        return;
    segments = left(fences, fence);
    if (segments == 0 || !fence->wait)
        answer(fences, &fence->errand, segments);
}

void fences_look(struct fences *fences)
{
    for (size_t i = 0; i < FENCES_MAX; i++)
        if (fences->fence[i].errand != NULL)
            look(fences, &fences->fence[i]);
}

bool fences_seal(const struct fences *fences)
{
    for (size_t i = 0; i < FENCES_MAX; i++)
        if (fences->fence[i].errand != NULL && !fences->fence[i].sealed)
            return true;
    return false;
}

static void begin(struct fences *fences, struct errand *errand, bool wait)
{
    for (size_t i = 0; i < FENCES_MAX; i++) {
        struct fence *fence = &fences->fence[i];

        if (fence->errand != NULL)
            continue;
        *fence = (struct fence){.errand = errand, .wait = wait, .seals = fences->spool->seals};
        look(fences, fence);
        fences->spool->seal_now |= fences_seal(fences);
        return;
    }
    errand_refuse(&errand, 409, "too many fences are waited for, ask again");
}

static void on_errand(void *arg, struct errand *errand)
{
    struct fences *fences = arg;
    bool wait = strcmp(errand_word(errand, 1), "--wait") == 0;

    if (strcmp(errand_word(errand, 0), "flush") == 0 && errand_count(errand) == 1 + (size_t)wait)
        begin(fences, errand, wait);
    else if (strcmp(errand_word(errand, 0), "backlog") == 0)
        answer(fences, &errand, fences->lane->unapplied);
    else
        errand_refuse(&errand, 404, "an aggregator knows no such errand");
}

struct fences *fences_open(struct harness *harness, struct lane *lane, struct spool *spool)
{
    struct fences *fences = calloc(1, sizeof *fences);
    struct err err;

    if (fences == NULL)
        bug("out of memory");
    fences->lane = lane;
    fences->spool = spool;
    fences->out = json_out_new(false);
    fences->errands = errands_open(harness, "aggregator", harness_index(harness), on_errand, fences, &err);
    if (fences->errands == NULL)
        log_warn("errands_refused", "error=\"%s\"", err.text);
    return fences;
}

void fences_close(struct fences **fences)
{
    if (*fences == NULL)
        return;
    errands_close(&(*fences)->errands);
    json_out_free(&(*fences)->out);
    free(*fences);
    *fences = NULL;
}
