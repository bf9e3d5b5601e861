/*
 * flush_commit.c - the flush adds its sums, keeps its dead letters, commits, and counts what it did.
 *
 * If we die on any line before COMMIT: nothing happened.  During it: all or nothing, and the ledger,
 * read under the lock by whoever comes next, says which.
 */
#include "workers/db_flusher/flush_steps.h"

#include <string.h>

/* Foreign writers that hold rows in another order, all the time, would win every deadlock against us.
 * After some lost ones we queue for the tables first: who is in finishes, who comes waits, and since
 * we hold no row of these tables yet, nobody waits for us in return. */
bool step_ask_lock_tables(struct flush *flush)
{
    return flush->ask.lock_tables && flush->ordered > 0 &&
           flush_query(flush, flush->layout->lock_tables, 0, NULL);
}

bool step_ask_merge0(struct flush *flush)
{
    if (flush->ordered == 0)
        return false;
    flush_query(flush, flush->layout->table[0].merge, 0, NULL);
    if (flush->ask.meanwhile && !flush->ask.trial)
        flush->ask.meanwhile(flush->ask.meanwhile_arg);
    return true;
}

bool step_ask_merge1(struct flush *flush)
{
    return flush->ordered > 0 && flush_query(flush, flush->layout->table[1].merge, 0, NULL);
}

int step_take_merge(struct flush *flush, const struct pg_answer *answer)
{
    flush->report.rows += answer->affected;
    return 0;
}

bool step_ask_dead(struct flush *flush)
{
    return flush->dead_rows > 0 &&
           flush_query(flush, "INSERT INTO @.dead_letter (day, event_id, digest, class, reason, record, "
                        "epoch, seq, n) SELECT day, event_id, digest, class, reason, record, epoch, "
                        "seq, n FROM pg_temp.spendd_dead ON CONFLICT DO NOTHING", 0, NULL);
}

int step_take_dead(struct flush *flush, const struct pg_answer *answer)
{
    flush->report.dead = answer->affected;
    return 0;
}

bool step_ask_commit(struct flush *flush)
{
    return flush_query(flush, flush->ask.trial ? "ROLLBACK" : "COMMIT", 0, NULL);
}

void flush_count_fates(struct flush *flush)
{
    const struct load *load = flush->ask.load;
    struct flush_report *report = &flush->report;

    for (size_t i = 0; i < load->batches; i++) {
        report->applied += load_batch_active(&load->batch[i]);
        report->skipped += load->batch[i].applied || load->batch[i].again;
    }
    for (size_t i = 0; i < load->events; i++) {
        uint8_t fate = load->event[i].fate;

        if (!load_event_active(load, &load->event[i]))
            continue;
        report->counted += fate == FATE_COUNT;
        report->known += fate == FATE_KNOWN || fate == FATE_REPEAT;
        report->conflicts += fate == FATE_CONFLICT || fate == FATE_CLASH;
        report->poison += fate == FATE_POISON;
    }
}

/* COMMIT of a failed transaction succeeds, with the tag ROLLBACK. */
int step_take_commit(struct flush *flush, const struct pg_answer *answer)
{
    if (flush->ask.trial) {
        flush->report.result = FLUSH_TRIED;
        return 0;
    }
    if (strcmp(answer->tag, "COMMIT") != 0)
        return flush_stop(flush, FLUSH_STAND_DOWN, "COMMIT rolled back");
    flush->report.result = FLUSH_COMMITTED;
    flush_count_fates(flush);
    return 0;
}

