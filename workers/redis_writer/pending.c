/*
 * pending.c - batches that are in Redis and not yet known to be applied.
 *
 * A batch is asked for again (tests/model) when
 *   - two looks in a row found its ticket popped, or a batch pushed later applied, and itself
 *     not: the list can vanish alone; two, because ranges and counts of one look are read at one moment, but
 *     a batch may be applied under its former push;
 *   - or repush_ms after its push, doubling to 15 times that, provided that anything was popped
 *     since: while nobody drains the queue (PostgreSQL is down for hours), it stands there, and
 *     copies of it would only fill the queue.
 * To push again is always safe: the ledger knows the batch.  Not to push again is what loses: so
 * every doubt is for pushing.  A batch is forgotten when it is applied, when a generation begins
 * (its lane sends everything again), or when its lane does not answer PENDING_ASKS_MAX times.
 *
 * Pure; bounded by PENDING_MAX.  If the process dies, all this is forgotten, and the next writer is
 * sent everything that is not applied.
 */
#include "workers/redis_writer/pending.h"

#include "common/batch/ranges.h"

#include <stdlib.h>
#include <string.h>

#define REPUSH_TIMES_MAX 15

void pending_cleanup(struct pending *pending)
{
    free(pending->batch);
    *pending = (struct pending){0};
}

void pending_forget(struct pending *pending)
{
    pending->count = 0;
    pending->newest_applied = 0;
}

bool pending_full(const struct pending *pending)
{
    return pending->count >= PENDING_MAX;
}

static int64_t wait_ms(int64_t repush_ms, uint8_t asks)
{
    int64_t times = asks >= 4 ? REPUSH_TIMES_MAX : 1 << asks;

    return repush_ms * times;
}

static struct pending_batch *find(const struct pending *pending, const struct identity *identity)
{
    for (size_t i = pending->count; i-- > 0;)
        if (identity_equal(&pending->batch[i].identity, identity))
            return &pending->batch[i];
    return NULL;
}

static int grow(struct pending *pending)
{
    size_t size = pending->size == 0 ? 256 : pending->size * 2;
    struct pending_batch *batch;

    if (pending->count < pending->size)
        return 0;
    batch = realloc(pending->batch, size * sizeof *batch);
    if (batch == NULL)
        return -1;
    pending->batch = batch;
    pending->size = size;
    return 0;
}

int pending_pushed(struct pending *pending, const struct pending_batch *pushed, mono_t now,
                   int64_t repush_ms)
{
    struct pending_batch *batch = find(pending, &pushed->identity);

    if (batch == NULL) {
        if (grow(pending) != 0)
            return -1;
        batch = &pending->batch[pending->count++];
        *batch = *pushed;
        batch->asks = 0;
    }
    batch->lane = pushed->lane;
    batch->ticket = pushed->ticket;
    batch->popped = pushed->popped;
    batch->suspected = false;
    batch->applied = false;
    batch->due = mono_after_ms(now, wait_ms(repush_ms, batch->asks));
    return 0;
}

bool pending_went_back(const struct pending *pending, int64_t pushed)
{
    for (size_t i = 0; i < pending->count; i++)
        if (pending->batch[i].ticket > pushed)
            return true;
    return false;
}

/* Takes out what is applied, keeping the order. */
static size_t settle(struct pending *pending)
{
    size_t kept = 0, before = pending->count;

    for (size_t i = 0; i < before; i++)
        if (!pending->batch[i].applied)
            pending->batch[kept++] = pending->batch[i];
    pending->count = kept;
    return before - kept;
}

size_t pending_applied(struct pending *pending, const char *epoch, const char *ranges)
{
    for (size_t i = 0; i < pending->count; i++) {
        struct pending_batch *batch = &pending->batch[i];

        if (strcmp(batch->identity.epoch, epoch) != 0 || ranges_have(ranges, batch->identity.seq) != 1)
            continue;
        batch->applied = true;
        if (batch->ticket > pending->newest_applied)
            pending->newest_applied = batch->ticket;
    }
    return settle(pending);
}

void pending_hurry(struct pending *pending, mono_t now, int64_t repush_ms)
{
    for (size_t i = 0; i < pending->count; i++) {
        struct pending_batch *batch = &pending->batch[i];
        mono_t due = mono_after_ms(now, wait_ms(repush_ms, batch->asks));

        if (due.micros < batch->due.micros)
            batch->due = due;
    }
}

void pending_sweep(struct pending *pending, int64_t popped, mono_t now, int64_t repush_ms,
                   pending_again_fn *again, void *arg)
{
#ifdef MUTANT_NO_REPUSH /* tests/mutants: what was pushed is believed to arrive */
    (void)pending, (void)popped, (void)now, (void)repush_ms, (void)again, (void)arg;
    return;
#else
    for (size_t i = 0; i < pending->count; i++) {
        struct pending_batch *batch = &pending->batch[i];
        bool doubt = batch->ticket <= popped || batch->ticket < pending->newest_applied;
        bool ask = mono_reached(now, batch->due) && popped != batch->popped;

        /* Asked for already: its due time says when to ask once more. */
        if (doubt && batch->suspected && batch->asks == 0)
            ask = true;
        batch->suspected = doubt;
        if (!ask || !again(arg, batch))
            continue;
        batch->asks++;
        batch->popped = popped;
        batch->due = mono_after_ms(now, wait_ms(repush_ms, batch->asks));
        batch->applied = batch->asks >= PENDING_ASKS_MAX; /* forgotten: settle takes it out */
    }
    settle(pending);
#endif
}
