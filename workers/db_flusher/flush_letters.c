/*
 * flush_letters.c - the flush takes dead letters out of their table, in the transaction that counts them.
 *
 * For a load of dead letters only (asked_requeue.c); their batches are in the ledger already, since a
 * letter is written by the transaction that applies its batch.  What the ledger is for a batch, the row is
 * for a letter: it is deleted under the shard's row, and only who deleted it counts the event.  A letter
 * that is not there any more was counted or dropped by somebody else: the attempt is made again without.
 * Before the log rows go in: a poisoned id is spent as long as its letter lies there.
 *
 * If we die on any line: deleting and counting are rolled back together, or committed together.
 */
#include "workers/db_flusher/flush_steps.h"

#include <stdlib.h>

/* Those that leave: counted now, or found to be counted.  The others stay dead. */
static bool leaves(const struct load *load, const struct load_batch *batch)
{
    uint8_t fate;

    if (batch->kind != BATCH_LETTER || !load_batch_active(batch))
        return false; /* a batch of another kind may have no event at all */
    fate = load->event[batch->first].fate;
    return fate == FATE_COUNT || fate == FATE_KNOWN || fate == FATE_REPEAT;
}

bool step_ask_letters(struct flush *flush)
{
    const struct load *load = flush->ask.load;
    struct text ids = {0};
    const char *values[1];
    size_t count = 0;

    for (size_t i = 0; i < load->batches; i++)
        if (leaves(load, &load->batch[i]))
            text_format(&ids, "%s%lld", count++ ? "," : "{", (long long)load->batch[i].letter);
    text_put(&ids, "}");
    if (ids.failed)
        pg_disconnect(flush->pg); /* answered LOST: nothing happened */
    values[0] = ids.failed ? "{}" : ids.data;
    if (count > 0)
        flush_query(flush, "DELETE FROM @.dead_letter WHERE id = ANY ($1::bigint[]) RETURNING id::text",
                    1, values);
    text_free(&ids);
    return count > 0;
}

static bool answered(const struct pg_answer *answer, int64_t letter)
{
    for (int row = 0; row < answer->rows; row++)
        if (strtoll(pg_value(answer, row, 0), NULL, 10) == letter)
            return true;
    return false;
}

int step_take_letters(struct flush *flush, const struct pg_answer *answer)
{
    struct load *load = flush->ask.load;
    bool gone = false;

    for (size_t i = 0; i < load->batches; i++) {
        struct load_batch *batch = &load->batch[i];

        if (!leaves(load, batch) || answered(answer, batch->letter))
            continue;
        batch->applied = gone = true;
    }
    return gone ? flush_stop(flush, FLUSH_AGAIN, "dead letters are gone") : 0;
}
