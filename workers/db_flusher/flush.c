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

#include "common/base/log.h"
#include "workers/db_flusher/flush_parts.h"
#include "common/pg/schema.h"
#include "common/batch/ranges.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct step {
    const char *name;
    bool (*ask)(struct flush *flush); /* sends; false: nothing to do here */
    int (*take)(struct flush *flush, const struct pg_answer *answer); /* -1: the report says why */
    bool data; /* a refusal of class 22, 23 or 54 is about the events */
};

static void next(struct flush *flush);
static void on_answer(void *arg, const struct pg_answer *answer);

static int stop(struct flush *flush, enum flush_result result, const char *why)
{
    flush->report.result = result;
    snprintf(flush->report.text, sizeof flush->report.text, "%s", why);
    return -1;
}

static int64_t deadline_ms(const struct flush *flush)
{
    return flush->ask.statement_ms + flush->settings->database_socket_timeout_ms;
}

static bool query(struct flush *flush, const char *sql, int count, const char *const *values)
{
    text_clear(&flush->sql);
    text_sql(&flush->sql, sql, schema_quoted(flush->schema));
    pg_query(flush->pg, flush->sql.data, count, values, deadline_ms(flush), on_answer, flush);
    return true;
}

static bool copy(struct flush *flush, const char *sql, bool (*row)(struct flush *))
{
    flush->row = row;
    flush->at = flush->given = 0;
    flush->sent_rows = 0;
    text_clear(&flush->rows);
    pg_copy(flush->pg, sql, deadline_ms(flush), rows_give, on_answer, flush);
    return true;
}

/* What arrived must be what was made. */
static int take_copy(struct flush *flush, const struct pg_answer *answer)
{
    if (flush->rows.failed)
        return stop(flush, FLUSH_TOO_LONG, "out of memory");
    if (answer->affected != flush->sent_rows)
        return stop(flush, FLUSH_STAND_DOWN, "COPY took another number of rows than was sent");
    return 0;
}

/* --- begin, hints --------------------------------------------------------------------------------- */

static bool ask_begin(struct flush *flush)
{
    struct text *sql = &flush->sql;
    const char *schema = schema_quoted(flush->schema);

    text_clear(sql);
    text_format(sql, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
                     "SET LOCAL statement_timeout = %lld; SET LOCAL lock_timeout = %lld; "
                     "SET LOCAL idle_in_transaction_session_timeout = %lld; ",
                (long long)flush->ask.statement_ms, (long long)flush->settings->database_lock_ms,
                (long long)flush->settings->database_socket_timeout_ms);
    /* Look-ups go by index, however little is known about fresh temporary tables. */
    text_put(sql, "SET LOCAL jit = off; SET LOCAL enable_hashjoin = off; "
                  "SET LOCAL enable_mergejoin = off; SET LOCAL DateStyle = ISO; "
                  "SET LOCAL TimeZone = 'UTC'; SET LOCAL bytea_output = hex; "
                  "SET LOCAL tcp_keepalives_idle = 15; SET LOCAL tcp_keepalives_interval = 5; "
                  "SET LOCAL tcp_keepalives_count = 3; ");
    text_format(sql, "SET LOCAL tcp_user_timeout = %lld; ",
                (long long)flush->settings->database_socket_timeout_ms);
    text_put(sql, "SELECT set_config('synchronous_commit', 'on', true) "
                  "WHERE current_setting('synchronous_commit') IN ('off', 'local'); ");
    text_sql(sql, "CREATE TEMP TABLE spendd_log (LIKE @.spend_log, i int) ON COMMIT DROP; ", schema);
    text_put(sql, "CREATE TEMP TABLE spendd_id (i int, day date, arb date, id uuid, "
                  "event_id text COLLATE \"C\", epoch uuid, seq bigint, n int, digest bigint, "
                  "put boolean) ON COMMIT DROP; "
                  "CREATE TEMP TABLE spendd_dead (day date, event_id bytea, digest bytea, class text, "
                  "reason text, record bytea, epoch uuid, seq bigint, n int) ON COMMIT DROP; ");
    for (int i = 0; i < LAYOUT_TABLES; i++) {
        text_sql(sql, flush->layout->table[i].create, schema);
        text_put(sql, i + 1 < LAYOUT_TABLES ? "; " : "");
    }
    if (sql->failed)
        pg_disconnect(flush->pg);
    pg_query(flush->pg, sql->data, 0, NULL, deadline_ms(flush), on_answer, flush);
    return true;
}

static void list_epochs(struct flush *flush)
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
            return stop(flush, FLUSH_STAND_DOWN, "a ledger row that was not asked for");
        }
        epoch->version = strtoll(pg_value(answer, row, 1), NULL, 10);
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

        if (batch->kind == BATCH_CORRUPT)
            continue;
        epoch = load_epoch(load, batch->identity.epoch);
        have = epoch->applied ? ranges_have(epoch->applied, batch->identity.seq) : 0;
        if (have < 0)
            return stop(flush, FLUSH_STAND_DOWN, "the ledger holds something that is no multirange");
        changed += batch->applied != (have == 1);
        batch->applied = have == 1;
    }
    return changed;
}

/* Without locks: only a hint, so that what is applied already is not sent up in vain. */
static bool ask_hint(struct flush *flush)
{
    const char *values[] = {flush->epochs.data};

    return query(flush, "SELECT epoch::text, version::text, applied::text FROM @.ledger "
                        "WHERE shard = 0 AND epoch = ANY ($1::uuid[])", 1, values);
}

static int take_hint(struct flush *flush, const struct pg_answer *answer)
{
    return take_rows(flush, answer) < 0 || compare_batches(flush) < 0 ? -1 : 0;
}

#define CHECK_SQL                                                                                  \
    "SELECT version, install, EXISTS (SELECT FROM @.dead_letter WHERE class = 'poison'), "         \
    "CASE WHEN $1 THEN EXISTS (SELECT FROM @.seen WHERE day > '-infinity' LIMIT 1) "               \
    "ELSE EXISTS (SELECT FROM @.spend_log LIMIT 1) END FROM @.schema_version"

static bool ask_check(struct flush *flush)
{
    const char *values[] = {flush->settings->spend_log_enabled ? "t" : "f"};

    return query(flush, CHECK_SQL, 1, values);
}

static int take_check(struct flush *flush, const struct pg_answer *answer, bool *deep)
{
    if (answer->rows != 1 || strcmp(pg_value(answer, 0, 1), schema_install(flush->schema)) != 0)
        return stop(flush, FLUSH_STAND_DOWN, "the schema was replaced by another one");
    if (atoi(pg_value(answer, 0, 0)) > SCHEMA_VERSION_MOST)
        return stop(flush, FLUSH_STAND_DOWN, "the schema is newer than this build");
    *deep = pg_value(answer, 0, 2)[0] == 't' ||
            (flush->settings->dedupe_database && pg_value(answer, 0, 3)[0] == 't');
    return 0;
}

static int take_check_hint(struct flush *flush, const struct pg_answer *answer)
{
    return take_check(flush, answer, &flush->deep);
}

/* --- rows go up ------------------------------------------------------------------------------------- */

static bool ask_copy_log(struct flush *flush)
{
    flush->log_rows = 0;
    if (load_plan(flush->ask.load) || rows_order(flush)) {
        flush->rows.failed = true;
        pg_disconnect(flush->pg); /* answered LOST: tried again */
        return query(flush, "SELECT", 0, NULL);
    }
    if (!flush->settings->spend_log_enabled || flush->ordered == 0)
        return false;
    return copy(flush, "COPY pg_temp.spendd_log FROM STDIN", rows_log);
}

static int take_copy_log(struct flush *flush, const struct pg_answer *answer)
{
    flush->log_rows = answer->affected;
    return take_copy(flush, answer);
}

static bool ask_copy_ids(struct flush *flush)
{
    flush->seen_rows = flush->id_rows = 0;
    return copy(flush, "COPY pg_temp.spendd_id FROM STDIN", rows_ids);
}

static int take_copy_ids(struct flush *flush, const struct pg_answer *answer)
{
    flush->id_rows = answer->affected;
    return take_copy(flush, answer);
}

static bool ask_copy_dead(struct flush *flush)
{
    return copy(flush, "COPY pg_temp.spendd_dead FROM STDIN", rows_dead);
}

static int take_copy_dead(struct flush *flush, const struct pg_answer *answer)
{
    flush->dead_rows = answer->affected;
    return take_copy(flush, answer);
}

static bool ask_copy_table0(struct flush *flush)
{
    if (flush->ordered == 0)
        return false;
    if (rows_sums(flush)) {
        pg_disconnect(flush->pg); /* no memory: nothing was done, tried again with less */
        return query(flush, "SELECT", 0, NULL);
    }
    flush->report.sums = (int64_t)(flush->tally[0].used + flush->tally[1].used);
    return copy(flush, flush->layout->table[0].copy, rows_table0);
}

static bool ask_copy_table1(struct flush *flush)
{
    return flush->ordered > 0 && copy(flush, flush->layout->table[1].copy, rows_table1);
}

/* --- locks, ledger ---------------------------------------------------------------------------------- */

static bool ask_lock(struct flush *flush)
{
    return query(flush, flush->ask.nowait
                            ? "SELECT shard FROM @.shard WHERE shard = 0 FOR UPDATE NOWAIT"
                            : "SELECT shard FROM @.shard WHERE shard = 0 FOR UPDATE", 0, NULL);
}

static int take_lock(struct flush *flush, const struct pg_answer *answer)
{
    if (answer->rows != 1)
        return stop(flush, FLUSH_STAND_DOWN, "the row of shard 0 is missing");
    log_debug("flush_started", "batches=%zu events=%zu trial=%d", flush->ask.load->batches,
              flush->ask.load->events, flush->ask.trial);
    return 0;
}

/* Under the lock: if something came up that the rows were not sent up for, again. */
static int take_check_locked(struct flush *flush, const struct pg_answer *answer)
{
    bool deep;

    if (take_check(flush, answer, &deep))
        return -1;
    if (deep && !flush->deep)
        return stop(flush, FLUSH_AGAIN, "another arbiter came into use");
    return 0;
}

static bool ask_make_ledger(struct flush *flush)
{
    const char *values[] = {flush->epochs.data};

    return query(flush, "INSERT INTO @.ledger (epoch, shard) SELECT e, 0 FROM unnest($1::uuid[]) e "
                        "ORDER BY e ON CONFLICT DO NOTHING", 1, values);
}

static bool ask_read_ledger(struct flush *flush)
{
    const char *values[] = {flush->epochs.data};

    return query(flush, "SELECT epoch::text, version::text, applied::text FROM @.ledger "
                        "WHERE shard = 0 AND epoch = ANY ($1::uuid[]) ORDER BY epoch FOR UPDATE",
                 1, values);
}

static int take_ledger(struct flush *flush, const struct pg_answer *answer)
{
    struct load *load = flush->ask.load;
    int rows = take_rows(flush, answer), changed;

    if (rows < 0)
        return -1;
    if ((size_t)rows != load->epochs)
        return stop(flush, FLUSH_STAND_DOWN, "a ledger row is missing although it was just made");
    for (size_t i = 0; i < load->epochs; i++)
        flush->report.went_back |= load->epoch[i].published > load->epoch[i].version;
    changed = compare_batches(flush);
    if (changed > 0)
        return stop(flush, FLUSH_AGAIN, "the ledger says otherwise");
    return changed;
}

/* --- events ------------------------------------------------------------------------------------------ */

static bool ask_insert_log(struct flush *flush)
{
    struct text *sql = &flush->sql;

    flush->short_log = false;
    if (flush->log_rows == 0)
        return false;
    text_clear(sql);
    text_sql(sql, "INSERT INTO @.spend_log (", schema_quoted(flush->schema));
    text_put(sql, rows_log_columns);
    text_put(sql, ") SELECT ");
    text_put(sql, rows_log_columns);
    /* The rows came up in the order of the key and are read as they lie. */
    text_put(sql, " FROM pg_temp.spendd_log ON CONFLICT (day, event_id) DO NOTHING");
    pg_query(flush->pg, sql->data, 0, NULL, deadline_ms(flush), on_answer, flush);
    return true;
}

static int take_insert(struct flush *flush, const struct pg_answer *answer)
{
    flush->report.rows += answer->affected;
    flush->short_log |= answer->affected != flush->log_rows;
#ifdef MUTANT_NO_EVENT_CHECK /* tests/mutants: what was counted before stays in the sums */
    flush->short_log = false;
#endif
    return 0;
}

static bool ask_insert_seen(struct flush *flush)
{
    if (flush->seen_rows == 0)
        return false;
    return query(flush, "INSERT INTO @.seen (day, id, digest, epoch, seq, n) "
                        "SELECT arb, id, digest, epoch, seq, n FROM pg_temp.spendd_id WHERE put "
                        "ORDER BY arb, id ON CONFLICT (day, id) DO NOTHING", 0, NULL);
}

static int take_insert_seen(struct flush *flush, const struct pg_answer *answer)
{
    flush->report.rows += answer->affected;
    flush->short_log |= answer->affected != flush->seen_rows;
#ifdef MUTANT_NO_EVENT_CHECK
    flush->short_log = false;
#endif
    return 0;
}

#define OTHER_ORIGIN(table) "(" table ".epoch, " table ".seq, " table ".n) IS DISTINCT FROM (t.epoch, t.seq, t.n)"
#define LOOK_LOG                                                                                   \
    "SELECT t.i, l.spend::text, l.api_key, l.model, NULL FROM pg_temp.spendd_log t "               \
    "JOIN @.spend_log l ON l.day = t.day AND l.event_id = t.event_id WHERE " OTHER_ORIGIN("l")
#define LOOK_IDS                                                                                   \
    "SELECT t.i, NULL, NULL, NULL, s.digest::text FROM pg_temp.spendd_id t "                       \
    "JOIN @.seen s ON s.day = t.arb AND s.id = t.id WHERE " OTHER_ORIGIN("s")                      \
    " UNION ALL SELECT t.i, l.spend::text, l.api_key, l.model, NULL FROM pg_temp.spendd_id t "     \
    "JOIN @.spend_log l ON l.day = t.day AND l.event_id = t.event_id WHERE " OTHER_ORIGIN("l")     \
    " UNION ALL SELECT t.i, NULL, NULL, NULL, NULL FROM pg_temp.spendd_id t "                      \
    "JOIN @.dead_letter d ON d.class = 'poison' AND d.day = t.arb "                                \
    "AND d.event_id = convert_to(t.event_id, 'UTF8')"

/* Before the locks, where repeats are likely: what is known already need not be rolled back. */
static bool ask_look_early(struct flush *flush)
{
    return flush->ask.look_early && flush->log_rows > 0 && query(flush, LOOK_LOG, 0, NULL);
}

static bool ask_look(struct flush *flush)
{
    if (flush->short_log && flush->log_rows > 0)
        return query(flush, LOOK_LOG " UNION ALL " LOOK_IDS, 0, NULL);
#ifdef MUTANT_NO_EVENT_CHECK
    return false;
#endif
    return flush->id_rows > 0 && query(flush, LOOK_IDS, 0, NULL);
}

static struct slice slice_of(const struct pg_answer *answer, int row, int column)
{
    const char *text = pg_value(answer, row, column);

    return (struct slice){text, text ? (uint32_t)pg_length(answer, row, column) : 0};
}

/* The same contents as the copy that is there?  A poison id is spent whatever it held. */
static enum fate fate_of(const struct load_event *event, const struct pg_answer *answer, int row)
{
    struct slice spend = slice_of(answer, row, 1), digest_text = slice_of(answer, row, 4);
    unsigned char digest[8];
    struct err err;
    int64_t number;

    if (spend.data) {
        if (money_parse(spend.data, spend.length, &number, &err))
            return FATE_CONFLICT;
        load_digest(slice_of(answer, row, 2), slice_of(answer, row, 3), number, digest);
    } else if (digest_text.data) {
        number = strtoll(digest_text.data, NULL, 10);
        memcpy(digest, &number, sizeof digest);
    } else {
        return FATE_KNOWN;
    }
    return memcmp(digest, event->digest, sizeof digest) ? FATE_CONFLICT : FATE_KNOWN;
}

/* Gives what was found its fate; counts what differs from the hypothesis. */
static int take_found(struct flush *flush, const struct pg_answer *answer, uint8_t *found)
{
    struct load *load = flush->ask.load;
    int changed = 0;

    for (int row = 0; row < answer->rows; row++) {
        size_t i = (size_t)strtoull(pg_value(answer, row, 0), NULL, 10);
        struct load_event *event;
        enum fate fate;

        if (i >= load->events)
            return stop(flush, FLUSH_STAND_DOWN, "an event was found that was not sent up");
        event = &load->event[i];
        fate = fate_of(event, answer, row);
        if (found[i] || event->fate == fate) {
            found[i] = 1;
            continue;
        }
        found[i] = 1;
        event->fate = fate;
        changed++;
    }
    return changed;
}

static int take_look_early(struct flush *flush, const struct pg_answer *answer)
{
    uint8_t *found = calloc(flush->ask.load->events + 1, 1);
    int changed = found ? take_found(flush, answer, found) : stop(flush, FLUSH_LOST, "out of memory");

    free(found);
    if (changed > 0)
        return stop(flush, FLUSH_AGAIN, "events are known");
    return changed;
}

static int take_look(struct flush *flush, const struct pg_answer *answer)
{
    struct load *load = flush->ask.load;
    uint8_t *found = calloc(load->events + 1, 1);
    int changed = found ? take_found(flush, answer, found) : stop(flush, FLUSH_LOST, "out of memory");

    for (size_t i = 0; changed >= 0 && i < load->events; i++) {
        struct load_event *event = &load->event[i];

        if (found[i] || (event->fate != FATE_KNOWN && event->fate != FATE_CONFLICT) ||
            !load_event_active(load, event))
            continue;
        event->fate = FATE_COUNT; /* it was there and is gone: a database that went back */
        changed++;
    }
    free(found);
    if (changed > 0)
        return stop(flush, FLUSH_AGAIN, "events are known");
    if (changed == 0 && flush->short_log)
        return stop(flush, FLUSH_STAND_DOWN, "rows neither went in nor are they found: a trigger, a "
                                             "rule or row security swallows them");
    return changed;
}

/* --- sums, dead letters, ledger, commit ------------------------------------------------------------------ */

static bool ask_merge0(struct flush *flush)
{
    return flush->ordered > 0 && query(flush, flush->layout->table[0].merge, 0, NULL);
}

static bool ask_merge1(struct flush *flush)
{
    return flush->ordered > 0 && query(flush, flush->layout->table[1].merge, 0, NULL);
}

static int take_merge(struct flush *flush, const struct pg_answer *answer)
{
    flush->report.rows += answer->affected;
    return 0;
}

static bool ask_dead(struct flush *flush)
{
    return flush->dead_rows > 0 &&
           query(flush, "INSERT INTO @.dead_letter (day, event_id, digest, class, reason, record, "
                        "epoch, seq, n) SELECT day, event_id, digest, class, reason, record, epoch, "
                        "seq, n FROM pg_temp.spendd_dead ON CONFLICT DO NOTHING", 0, NULL);
}

static int take_dead(struct flush *flush, const struct pg_answer *answer)
{
    flush->report.dead = answer->affected;
    return 0;
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

static bool ask_advance(struct flush *flush)
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
    return query(flush, "UPDATE @.ledger l SET applied = l.applied + a.r::int8multirange, "
                        "version = l.version + a.k, updated_at = now() "
                        "FROM unnest($1::uuid[], $2::text[], $3::bigint[]) a (e, r, k) "
                        "WHERE l.shard = 0 AND l.epoch = a.e "
                        "RETURNING l.epoch::text, l.version::text, l.applied::text", 3, values);
}

static int take_advance(struct flush *flush, const struct pg_answer *answer)
{
    int rows = take_rows(flush, answer);

    if (rows >= 0 && (size_t)rows != flush->ask.load->epochs)
        return stop(flush, FLUSH_STAND_DOWN, "a locked ledger row was not there to be advanced");
    return rows < 0 ? -1 : 0;
}

static bool ask_commit(struct flush *flush)
{
    return query(flush, flush->ask.trial ? "ROLLBACK" : "COMMIT", 0, NULL);
}

static void count_fates(struct flush *flush)
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
static int take_commit(struct flush *flush, const struct pg_answer *answer)
{
    if (flush->ask.trial) {
        flush->report.result = FLUSH_TRIED;
        return 0;
    }
    if (strcmp(answer->tag, "COMMIT") != 0)
        return stop(flush, FLUSH_STAND_DOWN, "COMMIT rolled back");
    flush->report.result = FLUSH_COMMITTED;
    count_fates(flush);
    return 0;
}

static const struct step steps[] = {
    {"begin", ask_begin, NULL, false},
    {"hint", ask_hint, take_hint, false},
    {"check_hint", ask_check, take_check_hint, false},
    {"copy_log", ask_copy_log, take_copy_log, true},
    {"copy_ids", ask_copy_ids, take_copy_ids, true},
    {"look_early", ask_look_early, take_look_early, false},
    {"copy_dead", ask_copy_dead, take_copy_dead, false},
    {"copy_sums_0", ask_copy_table0, take_copy, true},
    {"copy_sums_1", ask_copy_table1, take_copy, true},
    {"lock", ask_lock, take_lock, false},
    {"check", ask_check, take_check_locked, false},
    {"make_ledger", ask_make_ledger, NULL, false},
    {"read_ledger", ask_read_ledger, take_ledger, false},
    {"insert_log", ask_insert_log, take_insert, true},
    {"insert_seen", ask_insert_seen, take_insert_seen, true},
    {"look", ask_look, take_look, false},
    {"merge_0", ask_merge0, take_merge, true},
    {"merge_1", ask_merge1, take_merge, true},
    {"dead", ask_dead, take_dead, false},
    {"advance", ask_advance, take_advance, false},
    {"commit", ask_commit, take_commit, false},
#ifdef MUTANT_LEDGER_OUTSIDE
    {"advance_late", ask_advance, take_advance, false},
#endif
};

/* --- the walk ------------------------------------------------------------------------------------------ */

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
        pg_query(flush->pg, "ROLLBACK", 0, NULL, deadline_ms(flush), on_rollback, flush);
    else
        finish(flush);
}

static enum flush_result refusal(const char *state, bool data)
{
    static const struct {
        const char *prefix;
        enum flush_result result;
    } table[] = {
        {"40", FLUSH_DEADLOCK},  {"55P03", FLUSH_TIMEOUT}, {"57014", FLUSH_TOO_LONG},
        {"53200", FLUSH_TOO_LONG}, {"57P", FLUSH_LOST},    {"08", FLUSH_LOST},
        {"53300", FLUSH_LOST},   {"25P03", FLUSH_LOST},
    };

    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (strncmp(state, table[i].prefix, strlen(table[i].prefix)) == 0)
            return table[i].result;
    if (data && (strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 ||
                 strncmp(state, "54", 2) == 0))
        return FLUSH_DATA;
    return FLUSH_STAND_DOWN;
}

static void on_answer(void *arg, const struct pg_answer *answer)
{
    struct flush *flush = arg;
    const struct step *step = &steps[flush->step];
    bool committing = step->ask == ask_commit && !flush->ask.trial;
    char why[256];

    if (answer->outcome == PG_LOST) {
        bool slow = strncmp(answer->text, "deadline", 8) == 0;

        stop(flush, committing ? FLUSH_AMBIGUOUS : slow ? FLUSH_TOO_LONG : FLUSH_LOST, answer->text);
#ifdef MUTANT_ASSUME_COMMITTED /* tests/mutants: an answer that did not come is taken for a yes */
        if (committing) {
            flush->report.result = FLUSH_COMMITTED;
            count_fates(flush);
        }
#endif
        finish(flush);
        return;
    }
    if (answer->outcome == PG_REFUSED) {
        snprintf(why, sizeof why, "%s: %.200s (%s)", step->name, answer->text, answer->sqlstate);
        stop(flush, refusal(answer->sqlstate, step->data), why);
        give_up(flush);
        return;
    }
    if (step->take && step->take(flush, answer)) {
        give_up(flush);
        return;
    }
    flush->step++;
    next(flush);
}

static void next(struct flush *flush)
{
    while (flush->step < COUNT_OF(steps) && !steps[flush->step].ask(flush))
        flush->step++;
    if (flush->step == COUNT_OF(steps))
        finish(flush);
}

void flush_run(struct flush *flush, const struct flush_ask *ask, flush_fn *done, void *arg)
{
    flush->ask = *ask;
    flush->done = done;
    flush->arg = arg;
    flush->report = (struct flush_report){.result = FLUSH_STAND_DOWN};
    flush->step = 0;
    list_epochs(flush);
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
    for (int i = 0; i < LAYOUT_TABLES; i++) {
        uint64_t seed;

        randombytes_buf(&seed, sizeof seed);
        tally_init(&flush->tally[i], seed);
    }
    return flush;
}

void flush_close(struct flush **flush)
{
    struct flush *it = *flush;

    *flush = NULL;
    if (!it)
        return;
    for (int i = 0; i < LAYOUT_TABLES; i++)
        tally_free(&it->tally[i]);
    text_free(&it->sql);
    text_free(&it->epochs);
    text_free(&it->ranges);
    text_free(&it->counts);
    text_free(&it->rows);
    free(it->order);
    free(it);
}
