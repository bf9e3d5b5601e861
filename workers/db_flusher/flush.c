/*
 * flush.c - one attempt to bring a load into PostgreSQL.  See flush.h.
 *
 * THE joint of exactly once.  One transaction; the table `steps` is its order:
 *   rows go up first (COPY into temporary tables: nothing is locked while the server reads from us, for
 *   no timeout of PostgreSQL ends a session that waits for its client inside COPY);
 *   then the shard's row, then the ledger's rows, each by a statement of its own that ends in a Sync;
 *   then the log rows and arbiter keys go in, and the set of those that did not is compared with what
 *   the sums were made without: equal, or everything is rolled back and made again;
 *   then the sums, the dead letters, the ledger, COMMIT.
 *
 * If we die on any line before COMMIT: nothing happened, the batches are still in the queue and in the
 * spool.  During COMMIT: all of it or nothing of it, and the ledger row, read under the lock by whoever
 * comes next, says which.  After it: the next one finds the batches applied, publishes and removes them.
 */
#include "workers/db_flusher/flush.h"
#include "workers/db_flusher/flush_steps.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct step {
    const char *name;
    bool (*ask)(struct flush *flush); /* sends; false: nothing to do here */
    int (*take)(struct flush *flush, const struct pg_answer *answer); /* -1: the report says why */
    bool data; /* a refusal of class 22, 23 or 54 is about the events */
    bool (*refused)(struct flush *flush, const char *sqlstate); /* NULL, or true: the report says it */
    bool each; /* done for each table of the layout */
};

static void next(struct flush *flush);

int flush_stop(struct flush *flush, enum flush_result result, const char *why)
{
    flush->report.result = result;
    snprintf(flush->report.text, sizeof flush->report.text, "%s", why);
    return -1;
}

int64_t flush_deadline_ms(const struct flush *flush)
{
    return flush->ask.statement_ms + flush->settings->database_socket_timeout_ms;
}

bool flush_query(struct flush *flush, const char *sql, int count, const char *const *values)
{
    text_clear(&flush->sql);
    text_sql(&flush->sql, sql, schema_quoted(flush->schema));
    pg_query(flush->pg, flush->sql.data, count, values, flush_deadline_ms(flush), flush_answered, flush);
    return true;
}


static const struct step steps[] = {
    {"begin", step_ask_begin, NULL, false, NULL, false},
    {"hint", step_ask_hint, step_take_hint, false, NULL, false},
    {"check_hint", step_ask_check, step_take_check_hint, false, NULL, false},
    {"copy_log", step_ask_copy_log, step_take_copy_log, true, NULL, false},
    {"copy_ids", step_ask_copy_ids, step_take_copy_ids, true, NULL, false},
    {"look_early", step_ask_look_early, step_take_look_early, false, NULL, false},
    {"copy_dead", step_ask_copy_dead, step_take_copy_dead, false, NULL, false},
    {"copy_logs", step_ask_copy_logs, step_take_copy_logs, true, NULL, false},
    {"sums", step_ask_sums, NULL, false, NULL, false},
    {"copy_sums", step_ask_copy_sums, step_take_copy_sums, true, NULL, true},
    {"windows_there", step_ask_windows_there, step_take_windows_there, false, NULL, false},
    {"lock", step_ask_lock, step_take_lock, false, NULL, false},
    {"claims", step_ask_claims, step_take_claims, false, NULL, false},
    {"check", step_ask_check, step_take_check_locked, false, NULL, false},
    {"make_ledger", step_ask_make_ledger, NULL, false, NULL, false},
    {"read_ledger", step_ask_read_ledger, step_take_ledger, false, NULL, false},
    {"letters", step_ask_letters, step_take_letters, false, NULL, false},
    {"insert_log", step_ask_insert_log, step_take_insert, true, step_repeats, false},
    {"insert_seen", step_ask_insert_seen, step_take_insert_seen, true, step_repeats, false},
    {"look", step_ask_look, step_take_look, false, NULL, false},
    {"put_logs", step_ask_put_logs, step_take_put_logs, true, NULL, false},
    {"put_others", step_ask_put_others, step_take_put_others, true, NULL, false},
    {"lock_tables", step_ask_lock_tables, NULL, false, NULL, false},
    {"move", step_ask_move, NULL, false, NULL, true},
    {"lock_rows", step_ask_lock_rows, NULL, false, NULL, true},
    {"merge", step_ask_merge, step_take_merge, true, NULL, true},
    {"windows", step_ask_windows, step_take_windows, true, NULL, false},
    {"dead", step_ask_dead, step_take_dead, false, NULL, false},
    {"advance", step_ask_advance, step_take_advance, false, NULL, false},
    {"may_purge", step_ask_may_purge, step_take_may_purge, false, NULL, false},
    {"purge_claims", step_ask_purge_claims, NULL, false, NULL, false},
    {"commit", step_ask_commit, step_take_commit, false, NULL, false},
#ifdef MUTANT_LEDGER_OUTSIDE
    {"advance_late", step_ask_advance, step_take_advance, false, NULL, false},
#endif
};

static void finish(struct flush *flush)
{
    flush->report.step = flush->step < COUNT_OF(steps) ? steps[flush->step].name : "end";
    flush->done(flush->arg, &flush->report);
}

static void on_rollback(void *arg, const struct pg_answer *answer)
{
    (void)answer; /* lost or done: either way nothing of it stays */
    finish(arg);
}

static void give_up(struct flush *flush)
{
    if (pg_connected(flush->pg))
        pg_query(flush->pg, "ROLLBACK", 0, NULL, flush_deadline_ms(flush), on_rollback, flush);
    else
        finish(flush);
}

/* By the table alone; one thing only the step knows: whether it carried events. */
static enum flush_result result_of(const struct pg_answer *answer, const struct step *step)
{
    if (answer->refusal == PG_REFUSED_data && step->data)
        return FLUSH_DATA;
    return pg_refusal_row(answer->refusal)->class < REFUSAL_STAND_DOWN ? FLUSH_REFUSED
                                                                        : FLUSH_STAND_DOWN;
}

void flush_answered(void *arg, const struct pg_answer *answer)
{
    struct flush *flush = arg;
    const struct step *step = &steps[flush->step];
    bool committing = step->ask == step_ask_commit && !flush->ask.trial;
    char why[256];

    flush->report.refusal = answer->refusal;
    if (answer->outcome == PG_LOST) {
        flush_stop(flush, committing ? FLUSH_AMBIGUOUS : FLUSH_REFUSED, answer->text);
#ifdef MUTANT_ASSUME_COMMITTED /* tests/mutants: an answer that did not come is taken for a yes */
        if (committing) {
            flush->report.result = FLUSH_COMMITTED;
            flush_count_fates(flush);
        }
#endif
        finish(flush);
        return;
    }
    if (answer->outcome == PG_REFUSED) {
        snprintf(why, sizeof why, "%s: %.200s (%s)", step->name, answer->text, answer->sqlstate);
        if (flush->rows.failed)
            flush_stop(flush, FLUSH_TOO_LONG, "out of memory");
        else if (!step->refused || !step->refused(flush, answer->sqlstate))
            flush_stop(flush, result_of(answer, step), why);
        if (committing && pg_refusal_row(answer->refusal)->connection == LEAVE)
            flush->report.result = FLUSH_AMBIGUOUS; /* "terminated" can follow what is committed */
        give_up(flush);
        return;
    }
    if (step->take && step->take(flush, answer)) {
        give_up(flush);
        return;
    }
    flush->table++;
    next(flush);
}

/* The next question: of this step for its next table, or of a later one. */
static void next(struct flush *flush)
{
    for (; flush->step < COUNT_OF(steps); flush->step++, flush->table = 0)
        for (unsigned n = steps[flush->step].each ? flush->layout->tables : 1; flush->table < n; flush->table++)
            if (steps[flush->step].ask(flush))
                return;
    finish(flush);
}

void flush_run(struct flush *flush, const struct flush_ask *ask, flush_fn *done, void *arg)
{
    flush->ask = *ask;
    flush->done = done;
    flush->arg = arg;
    flush->report = (struct flush_report){.result = FLUSH_STAND_DOWN,
                                           .refusal = PG_REFUSED_NOT};
    flush->step = flush->table = 0;
    for (size_t i = 0; !flush->layout->takes_events && i < ask->load->events; i++)
        if (ask->load->event[i].fate == FATE_COUNT)
            ask->load->event[i].fate = FATE_OFF;
    text_clear(&flush->rows);
    flush_list_epochs(flush);
    next(flush);
}

struct flush *flush_open(struct pg *pg, const struct settings *settings, const struct layout *layout,
                         const struct schema *schema, struct err *err)
{
    struct flush *flush = calloc(1, sizeof *flush);

    if (!flush) {
        err_set(err, "out of memory");
        return NULL;
    }
    flush->pg = pg;
    flush->settings = settings;
    flush->layout = layout;
    flush->schema = schema;
    sums_init(&flush->own, layout);
    return flush;
}

void flush_close(struct flush **flush)
{
    struct flush *it = *flush;

    *flush = NULL;
    if (!it)
        return;
    sums_free(&it->own);
    text_free(&it->sql);
    text_free(&it->epochs);
    text_free(&it->ranges);
    text_free(&it->counts);
    text_free(&it->rows);
    free(it->order);
    free(it);
}
