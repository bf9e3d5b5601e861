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
    unsigned count = 0;

    if (!flush->ask.lock_tables)
        return false;
    text_clear(&flush->sql);
    for (unsigned t = 0; t < flush->layout->tables; t++) {
        if (flush->sums_sent[t] == 0)
            continue;
        text_put(&flush->sql, count++ ? ", " : "LOCK TABLE ");
        text_sql(&flush->sql, flush->layout->table[t].target, schema_quoted(flush->schema));
    }
    if (count == 0)
        return false;
    text_put(&flush->sql, " IN EXCLUSIVE MODE");
    pg_query(flush->pg, flush->sql.data, 0, NULL, flush_deadline_ms(flush), flush_answered, flush);
    return true;
}

/* --- one table after the other ------------------------------------------------------------------- */

bool step_ask_move(struct flush *flush)
{
    const char *move = flush->layout->table[flush->table].move;

    flush->report.moved |= move != NULL;
    return move != NULL && flush_query(flush, move, 0, NULL);
}

bool step_ask_lock_rows(struct flush *flush)
{
    const char *lock = flush->layout->table[flush->table].lock;

    return lock != NULL && flush->sums_sent[flush->table] > 0 && flush_query(flush, lock, 0, NULL);
}

bool step_ask_merge(struct flush *flush)
{
    void (*meanwhile)(void *) = flush->ask.meanwhile;

    if (flush->sums_sent[flush->table] == 0)
        return false;
    flush_query(flush, flush->layout->table[flush->table].merge, 0, NULL);
    flush->ask.meanwhile = NULL;
    if (meanwhile && !flush->ask.trial)
        meanwhile(flush->ask.meanwhile_arg);
    return true;
}

int step_take_merge(struct flush *flush, const struct pg_answer *answer)
{
    flush->report.rows += answer->affected;
    if (flush->layout->table[flush->table].kept)
        flush->report.kept += answer->affected;
    flush->report.missed[flush->table] = flush->sums_sent[flush->table] - answer->affected;
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

