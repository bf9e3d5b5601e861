/*
 * asked_requeue.c - dead letters are counted after all, by the path that counts every event.
 *
 * A page of letters is read, made into a load, and brought in by the same attempt as a flush (attempt.h):
 * one transaction deletes the letters, inserts the log rows, adds the sums (flush_letters.c says why that
 * counts each once).  What is refused again, for its data or because its id was counted with other
 * contents, stays a dead letter.  Not through ingest: there the window would swallow it, and between a
 * delete and an acknowledgement it would be nowhere.
 *
 * The lock in Redis is not taken.  The page is read without any lock, so it is a hypothesis like everything
 * that a flush sends up: the delete under the shard's row proves it.  Two instances that requeue the same
 * letters, or one that flushes the same event meanwhile, meet at that row one after the other, and the
 * second finds the first's rows: letters gone, ids known.
 *
 * If we die on any line: nothing happened, or the whole page did; asking again does what is left.  A page
 * whose COMMIT was not answered is looked at again, never assumed.
 *
 *   items  {"left": [{"id", "why"}]}, one a page, then {"requeued", "known", "left"}
 */
#include "workers/db_flusher/asked.h"

#include "common/base/log.h"
#include "common/json/json_put.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum column { ID = 0, CLASS = 2, REASON = 6, EPOCH, SEQ, N, RECORD };

/* What stays of a page is one item, open in asked->out from the page's reading to its end. */
static void begin_left(struct flusher *f)
{
    json_clear(f->asked->out);
    json_object(f->asked->out);
    json_key(f->asked->out, "left");
    json_array(f->asked->out);
    f->asked->dead.left = 0;
}

static void left(struct flusher *f, int64_t id, const char *why)
{
    struct json_out *out = f->asked->out;

    f->asked->dead.left++;
    json_object(out);
    json_put_number(out, "id", id);
    json_put_text(out, "why", why);
    json_end(out);
}

/* The page is over: what stays is told, and the next one is read in a turn of its own. */
static void end_page(struct flusher *f)
{
    f->asked->dead.kept += f->asked->dead.left;
    json_end(f->asked->out);
    json_end(f->asked->out);
    if (f->asked->dead.left > 0)
        asked_item(f);
    asked_part_done(f);
}

static void finish(struct flusher *f)
{
    struct json_out *out = f->asked->out;
    const struct dead_ask *dead = &f->asked->dead;

    json_clear(out);
    json_object(out);
    json_put_number(out, "requeued", dead->counted);
    json_put_number(out, "known", dead->known);
    json_put_number(out, "left", dead->kept);
    json_end(out);
    log_info("dead_letters_requeued", "counted=%lld known=%lld left=%lld", (long long)dead->counted,
             (long long)dead->known, (long long)dead->kept);
    asked_over(f, 200);
}

static void count_fates(struct flusher *f)
{
    const struct load *load = &f->asked->load;
    struct dead_ask *dead = &f->asked->dead;

    for (size_t i = 0; i < load->events; i++) {
        const struct load_event *event = &load->event[i];
        int64_t id = load->batch[event->batch].letter;

        if (!load_event_active(load, event))
            continue; /* gone: counted or dropped by somebody else */
        if (event->fate == FATE_POISON)
            left(f, id, "refused again by PostgreSQL for its data");
        else if (event->fate == FATE_CONFLICT || event->fate == FATE_CLASH)
            left(f, id, "its id was counted with other contents");
        else if (event->fate == FATE_COUNT)
            dead->counted++;
        else
            dead->known++;
    }
}

static void on_attempt(void *arg, const struct flush_report *report)
{
    struct flusher *f = arg;

    if (report->result == FLUSH_COMMITTED) {
        flusher_count(f, METRIC_events_counted_total, report->counted);
        flusher_count(f, METRIC_events_requeued_total, report->counted + report->known);
        count_fates(f);
        f->asked->dead.again = 0;
        end_page(f);
        return;
    }
    if (report->result != FLUSH_STAND_DOWN && ++f->asked->dead.again <= 3) {
        /* The page is read again: what is gone is done. */
        f->asked->dead.last = f->asked->dead.from;
        f->asked->dead.done -= f->asked->dead.page;
        asked_part_done(f);
        return;
    }
    asked_refuse(f, report->result == FLUSH_STAND_DOWN ? 409 : 500,
                 "%lld were requeued before this: %.250s", (long long)f->asked->dead.counted,
                 report->text);
}

static void attempt(struct flusher *f)
{
    struct flush_ask ask = {.load = &f->asked->load, .statement_ms = f->settings->database_statement_ms};

    if (f->asked->dead.page == 0)
        finish(f);
    else if (f->asked->load.events == 0)
        end_page(f); /* nothing of this page can be counted */
    else
        attempt_run(f->attempt, &ask, on_attempt, f);
}

/* Why this class of letter is not counted by anybody; NULL: it may be. */
static const char *hopeless(const char *class)
{
    if (strcmp(class, "invalid") == 0)
        return "never was a valid event: export it, mend it, send it, then drop it";
    if (strcmp(class, "corrupt") == 0)
        return "damaged in Redis: the spool has the good copy";
    return NULL;
}

static void take_letter(struct flusher *f, const struct pg_answer *answer, int row)
{
    struct load *load = &f->asked->load;
    const char *why = hopeless(pg_value(answer, row, CLASS)), *epoch = pg_value(answer, row, EPOCH);
    int64_t id = strtoll(pg_value(answer, row, ID), NULL, 10);
    size_t length = pg_length(answer, row, RECORD), bytes = 0;
    unsigned char *record = malloc(length / 2 + 1);
    struct identity identity = {.shard = 0};
    int added;

    if (record == NULL)
        bug("out of memory for a dead letter");
    if (why == NULL && (epoch == NULL || pg_value(answer, row, SEQ) == NULL))
        why = "its origin is not known";
    if (why == NULL && sodium_hex2bin(record, length / 2, pg_value(answer, row, RECORD), length, NULL,
                                      &bytes, NULL) != 0)
        why = "its bytes cannot be read";
    if (why == NULL) {
        snprintf(identity.epoch, sizeof identity.epoch, "%s", epoch);
        identity.seq = strtoull(pg_value(answer, row, SEQ), NULL, 10);
        added = load_add_letter(load, id, &identity,
                                (uint32_t)strtoul(pg_value(answer, row, N), NULL, 10), record, bytes);
        if (added < 0)
            bug("out of memory for dead letters");
        if (added > 0)
            why = "this build cannot read it";
    }
    free(record);
    if (why != NULL)
        left(f, id, why);
}

static void take_page(struct flusher *f, const struct pg_answer *answer)
{
    struct dead_ask *dead = &f->asked->dead;
    size_t bytes = 1;

    begin_left(f);
    load_clear(&f->asked->load);
    for (int row = 0; row < answer->rows; row++)
        bytes += pg_length(answer, row, RECORD) / 2;
    if (load_reserve(&f->asked->load, bytes) != 0)
        bug("out of memory for dead letters");
    for (int row = 0; row < answer->rows; row++) {
        take_letter(f, answer, row);
        dead->last = strtoll(pg_value(answer, row, ID), NULL, 10);
    }
    dead->page = answer->rows;
    dead->done += answer->rows;
}

void asked_requeue(struct flusher *f)
{
    struct dead_ask *dead = &f->asked->dead;
    const char *values[6];
    char number[2][24];

    if (flusher_paused(f)) {
        asked_refuse(f, 409, "flush is paused: resume it first");
        return;
    }
    if (!f->layout->takes_events) {
        asked_refuse(f, 409, "litellm.events is off: set what events write first");
        return;
    }
    if (dead->done >= dead->limit) {
        finish(f);
        return;
    }
    f->asked->part = asked_requeue;
    dead->from = dead->last;
    asked_dead_select(f, true);
    asked_dead_values(f, values, number);
    f->asked->take = take_page;
    f->asked->after = attempt;
    asked_query(f, false, f->settings->database_statement_ms, 5, values);
}
