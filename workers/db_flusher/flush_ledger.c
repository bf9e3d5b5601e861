/*
 * flush_ledger.c - the flush reads the ledger and advances it: which batches are applied.
 *
 * Read once without locks, as a hint; then its rows are made, locked and read again: that answer
 * counts.  Advanced in the same transaction as the sums.  If we die on any line before COMMIT the
 * ledger is as it was, and so are the sums.
 */
#include "workers/db_flusher/flush_steps.h"

#include "common/batch/ranges.h"

#include <stdlib.h>
#include <string.h>

void flush_list_epochs(struct flush *flush)
{
    struct load *load = flush->ask.load;

    text_clear(&flush->epochs);
    text_put(&flush->epochs, "{");
    for (size_t i = 0; i < load->epochs; i++)
        text_format(&flush->epochs, "%s%s", i ? "," : "", load->epoch[i].epoch);
    text_put(&flush->epochs, "}");
}

/* Takes rows (epoch, version, applied) into the load.  Returns how many, -1: stopped. */
static int take_rows(struct flush *flush, const struct pg_answer *answer)
{
    for (int row = 0; row < answer->rows; row++) {
        struct load_epoch *epoch = load_epoch(flush->ask.load, pg_value(answer, row, 0));
        char *applied = strdup(pg_value(answer, row, 2));

        if (!epoch || !applied) {
            free(applied);
            return flush_stop(flush, FLUSH_STAND_DOWN, "a ledger row that was not asked for");
        }
        epoch->version = strtoll(pg_value(answer, row, 1), NULL, 10);
        epoch->old = answer->columns > 3 && pg_value(answer, row, 3)[0] == 't';
        free(epoch->applied);
        epoch->applied = applied;
    }
    return answer->rows;
}

/* Sets `applied` of each batch by the rows just read.  Returns how many changed, -1: stopped. */
static int compare_batches(struct flush *flush)
{
    struct load *load = flush->ask.load;
    int changed = 0;

    for (size_t i = 0; i < load->batches; i++) {
        struct load_batch *batch = &load->batch[i];
        const struct load_epoch *epoch;
        int have;

        if (batch->kind != BATCH_WHOLE)
            continue;
        epoch = load_epoch(load, batch->identity.epoch);
        have = epoch->applied ? ranges_have(epoch->applied, batch->identity.seq) : 0;
        if (have < 0)
            return flush_stop(flush, FLUSH_STAND_DOWN, "the ledger holds something that is no multirange");
        changed += batch->applied != (have == 1);
        batch->applied = have == 1;
    }
    return changed;
}

/* Without locks: only a hint, so that what is applied already is not sent up in vain. */
bool step_ask_hint(struct flush *flush)
{
    const char *values[] = {flush->epochs.data};

    return flush_query(flush, "SELECT epoch::text, version::text, applied::text FROM @.ledger "
                        "WHERE shard = 0 AND epoch = ANY ($1::uuid[])", 1, values);
}

int step_take_hint(struct flush *flush, const struct pg_answer *answer)
{
    return take_rows(flush, answer) < 0 || compare_batches(flush) < 0 ? -1 : 0;
}

bool step_ask_make_ledger(struct flush *flush)
{
    const char *values[] = {flush->epochs.data};

    return flush_query(flush, "INSERT INTO @.ledger (epoch, shard) SELECT e, 0 FROM unnest($1::uuid[]) e "
                        "ORDER BY e ON CONFLICT DO NOTHING", 1, values);
}

bool step_ask_read_ledger(struct flush *flush)
{
    const char *values[] = {flush->epochs.data};

    return flush_query(flush, "SELECT epoch::text, version::text, applied::text, "
                        "updated_at < now() - interval '8 days' FROM @.ledger "
                        "WHERE shard = 0 AND epoch = ANY ($1::uuid[]) ORDER BY epoch FOR UPDATE",
                 1, values);
}

int step_take_ledger(struct flush *flush, const struct pg_answer *answer)
{
    struct load *load = flush->ask.load;
    int rows = take_rows(flush, answer), changed;

    if (rows < 0)
        return -1;
    if ((size_t)rows != load->epochs)
        return flush_stop(flush, FLUSH_STAND_DOWN, "a ledger row is missing although it was just made");
    for (size_t i = 0; i < load->epochs; i++)
        flush->report.went_back |= load->epoch[i].published > load->epoch[i].version;
    changed = compare_batches(flush);
    if (changed > 0)
        return flush_stop(flush, FLUSH_AGAIN, "the ledger says otherwise");
    return changed;
}

/* One multirange per epoch, of the batches that this transaction applies. */
static bool list_ranges(struct flush *flush)
{
    const struct load *load = flush->ask.load;
    int64_t all = 0;

    text_clear(&flush->ranges);
    text_clear(&flush->counts);
    for (size_t e = 0; e < load->epochs; e++) {
        int64_t count = 0;

        text_put(&flush->ranges, e ? ",\"{" : "{\"{");
        for (size_t i = 0; i < load->batches; i++) {
            const struct load_batch *batch = &load->batch[i];
            long long seq = (long long)batch->identity.seq;

            if (!load_batch_active(batch) ||
                strcmp(batch->identity.epoch, load->epoch[e].epoch) != 0)
                continue;
            text_format(&flush->ranges, "%s[%lld,%lld)", count++ ? "," : "", seq, seq + 1);
        }
        text_put(&flush->ranges, "}\"");
        text_format(&flush->counts, "%s%lld", e ? "," : "{", (long long)count);
        all += count;
    }
    text_put(&flush->ranges, "}");
    text_put(&flush->counts, "}");
    return all > 0;
}

bool step_ask_advance(struct flush *flush)
{
    const char *values[3];

    if (flush->ask.trial || !list_ranges(flush))
        return false;
#ifdef MUTANT_LEDGER_OUTSIDE /* tests/mutants: the ledger after the commit, in a transaction of its own */
    if (!flush->report.applied)
        return false;
#endif
    values[0] = flush->epochs.data;
    values[1] = flush->ranges.data;
    values[2] = flush->counts.data;
    return flush_query(flush, "UPDATE @.ledger l SET applied = l.applied + a.r::int8multirange, "
                        "version = l.version + a.k, updated_at = now() "
                        "FROM unnest($1::uuid[], $2::text[], $3::bigint[]) a (e, r, k) "
                        "WHERE l.shard = 0 AND l.epoch = a.e "
                        "RETURNING l.epoch::text, l.version::text, l.applied::text", 3, values);
}

int step_take_advance(struct flush *flush, const struct pg_answer *answer)
{
    int rows = take_rows(flush, answer);

    if (rows >= 0 && (size_t)rows != flush->ask.load->epochs)
        return flush_stop(flush, FLUSH_STAND_DOWN, "a locked ledger row was not there to be advanced");
    return rows < 0 ? -1 : 0;
}

