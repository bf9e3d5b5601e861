/*
 * flush_events.c - the flush puts in the log's rows and the arbiter's keys, and looks which of them were
 * there before.
 *
 * Fewer went in than came: those whose stored origin is not their own were counted before.  They get
 * their fate in the load; where that is news the attempt is rolled back and made again without them.
 * So the sums are never corrected afterwards.  If we die on any line: rolled back.
 */
#include "workers/db_flusher/flush_steps.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* Nearly always nothing in a flush was counted before.  Then a plain INSERT does it, for half of what ON
 * CONFLICT takes (that looks each key up first, then puts the row in on trial).  A key that is there ends
 * the attempt, and the next one is made with ON CONFLICT. */
static const char *on_conflict(const struct flush *flush, const char *clause)
{
#ifdef MUTANT_NO_EVENT_CHECK /* tests/mutants: what was counted before stays in the sums */
    return clause;
#endif
    return flush->ask.look_early || flush->ask.load->repeats ? clause : "";
}

bool step_repeats(struct flush *flush, const char *sqlstate)
{
    if (strcmp(sqlstate, "23505") != 0 || flush->ask.look_early || flush->ask.load->repeats)
        return false; /* not about our key */
    flush->ask.load->repeats = true;
    flush_stop(flush, FLUSH_AGAIN, "events are known");
    return true;
}

bool step_ask_insert_log(struct flush *flush)
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
    text_put(sql, " FROM pg_temp.spendd_log");
    text_put(sql, on_conflict(flush, " ON CONFLICT (day, event_id) DO NOTHING"));
    pg_query(flush->pg, sql->data, 0, NULL, flush_deadline_ms(flush), flush_answered, flush);
    return true;
}

int step_take_insert(struct flush *flush, const struct pg_answer *answer)
{
    flush->report.rows += answer->affected;
    flush->short_log |= answer->affected != flush->log_rows;
#ifdef MUTANT_NO_EVENT_CHECK
    flush->short_log = false;
#endif
    return 0;
}

bool step_ask_insert_seen(struct flush *flush)
{
    if (flush->seen_rows == 0)
        return false;
    text_clear(&flush->sql);
    text_sql(&flush->sql, "INSERT INTO @.seen (day, id, digest, epoch, seq, n) SELECT arb, id, digest, epoch, "
             "seq, n FROM pg_temp.spendd_id WHERE put ORDER BY arb, id", schema_quoted(flush->schema));
    text_put(&flush->sql, on_conflict(flush, " ON CONFLICT (day, id) DO NOTHING"));
    pg_query(flush->pg, flush->sql.data, 0, NULL, flush_deadline_ms(flush), flush_answered, flush);
    return true;
}

int step_take_insert_seen(struct flush *flush, const struct pg_answer *answer)
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
bool step_ask_look_early(struct flush *flush)
{
    return (flush->ask.look_early || flush->ask.load->repeats) && flush->log_rows > 0 &&
           flush_query(flush, LOOK_LOG, 0, NULL);
}

bool step_ask_look(struct flush *flush)
{
    if (flush->short_log && flush->log_rows > 0)
        return flush_query(flush, flush->id_rows > 0 ? LOOK_LOG " UNION ALL " LOOK_IDS : LOOK_LOG, 0, NULL);
#ifdef MUTANT_NO_EVENT_CHECK
    return false;
#endif
    /* All went in, and nothing else may know them: there is nothing to be found. */
    if (!flush->short_log && !flush->deep && flush->id_rows == flush->seen_rows)
        return false;
    return flush->id_rows > 0 && flush_query(flush, LOOK_IDS, 0, NULL);
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
            return flush_stop(flush, FLUSH_STAND_DOWN, "an event was found that was not sent up");
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

int step_take_look_early(struct flush *flush, const struct pg_answer *answer)
{
    uint8_t *found = calloc(flush->ask.load->events + 1, 1);
    int changed = found ? take_found(flush, answer, found) : flush_stop(flush, FLUSH_LOST, "out of memory");

    free(found);
    if (changed > 0)
        return flush_stop(flush, FLUSH_AGAIN, "events are known");
    return changed;
}

int step_take_look(struct flush *flush, const struct pg_answer *answer)
{
    struct load *load = flush->ask.load;
    uint8_t *found = calloc(load->events + 1, 1);
    int changed = found ? take_found(flush, answer, found) : flush_stop(flush, FLUSH_LOST, "out of memory");

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
        return flush_stop(flush, FLUSH_AGAIN, "events are known");
    if (changed == 0 && flush->short_log)
        return flush_stop(flush, FLUSH_STAND_DOWN, "rows neither went in nor are they found: a trigger, a "
                                             "rule or row security swallows them");
    return changed;
}
