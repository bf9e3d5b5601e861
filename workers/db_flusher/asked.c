/*
 * asked.c - errands wait here for their turn, and end here.  See asked.h.
 *
 * The flusher has one connection, so an errand is done where a flush would be, a part at a time, and a
 * flush comes between two parts while the lock is ours.  The lock in Redis is not needed for an errand: it
 * only says who looks at the queue.  What protects is the row of the shard in PostgreSQL, which every
 * transaction that writes takes first: another instance's flush waits for us at that row, or we for it,
 * and each then reads what the other has committed.
 *
 * If we die on any line: the transaction under way is rolled back or committed as a whole, the asker is
 * told that we left, and asking again finds what is left to do.
 */
#include "workers/db_flusher/asked.h"

#include "common/admin/words.h"
#include "common/base/log.h"
#include "common/json/json_put.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAND_BACK_MS 30000
#define STAND_BACK_MOST_MS 3600000

/* --- how an errand goes on and ends --------------------------------------------------------------- */

void asked_item(struct flusher *f)
{
    size_t length;
    const char *json = json_text(f->asked->out, &length);

    errand_item(f->asked->errand, json, length);
}

static void next_turn(struct flusher *f)
{
    f->asked->yielded = true;
    turn_end(f, 0);
}

static void on_room(void *arg)
{
    struct flusher *f = arg;

    if (!f->busy && !f->leaving)
        timer_in_ms(f->turn_timer, 0);
}

void asked_part_done(struct flusher *f)
{
    if (errand_full(f->asked->errand))
        errand_when_room(f->asked->errand, on_room, f);
    next_turn(f);
}

void asked_over(struct flusher *f, int status)
{
    size_t length;
    const char *json = json_text(f->asked->out, &length);

    f->pg_used = mono_now();
    errand_done(&f->asked->errand, status, json, length);
    f->asked->part = NULL;
    next_turn(f);
}

void asked_refuse(struct flusher *f, int status, const char *format, ...)
{
    char why[400];
    va_list ap;

    va_start(ap, format);
    vsnprintf(why, sizeof why, format, ap);
    va_end(ap);
    json_clear(f->asked->out);
    json_object(f->asked->out);
    json_put_text(f->asked->out, "error", why);
    json_end(f->asked->out);
    asked_over(f, status);
}

/* --- a statement in its transaction --------------------------------------------------------------- */

static void on_rolled_back(void *arg, const struct pg_answer *answer)
{
    struct flusher *f = arg;

    (void)answer;
    asked_refuse(f, 500, "%s", f->asked->failed);
}

static void failed(struct flusher *f, const struct pg_answer *answer)
{
    bool refused = answer->outcome == PG_REFUSED;

    snprintf(f->asked->failed, sizeof f->asked->failed, "PostgreSQL: %.200s%s%s", answer->text,
             refused ? " " : "", refused ? answer->sqlstate : "");
    log_warn("errand_failed", "reason=\"%s\"", f->asked->failed);
    if (refused && pg_connected(f->pg))
        pg_query(f->pg, "ROLLBACK", 0, NULL, f->settings->database_socket_timeout_ms, on_rolled_back, f);
    else
        on_rolled_back(f, NULL);
}

static void on_committed(void *arg, const struct pg_answer *answer)
{
    struct flusher *f = arg;

    if (answer->outcome != PG_OK)
        failed(f, answer);
    else if (strcmp(answer->tag, "COMMIT") != 0)
        asked_refuse(f, 500, "PostgreSQL rolled back");
    else
        f->asked->after(f);
}

static void on_answer(void *arg, const struct pg_answer *answer)
{
    struct flusher *f = arg;

    if (answer->outcome != PG_OK) {
        failed(f, answer);
        return;
    }
    f->asked->take(f, answer);
    pg_query(f->pg, "COMMIT", 0, NULL, f->settings->database_socket_timeout_ms, on_committed, f);
}

/* The parameters live in the caller's frame: they wait here until the transaction has begun. */
struct held_query {
    struct flusher *f;
    int64_t deadline_ms;
    int count;
    char *value[8];
};

static void on_begun(void *arg, const struct pg_answer *answer)
{
    struct held_query *held = arg;
    struct flusher *f = held->f;

    if (answer->outcome == PG_OK)
        pg_query(f->pg, f->asked->sql.data, held->count, (const char *const *)held->value,
                 held->deadline_ms, on_answer, f);
    for (int i = 0; i < held->count; i++)
        free(held->value[i]);
    free(held);
    if (answer->outcome != PG_OK)
        failed(f, answer);
}

void asked_query(struct flusher *f, bool write, int64_t statement_ms, int count,
                 const char *const *values)
{
    struct held_query *held = calloc(1, sizeof *held);
    struct text begin = {0};

    if (held == NULL)
        bug("out of memory");
    *held = (struct held_query){.f = f, .count = count};
    held->deadline_ms = statement_ms + f->settings->database_socket_timeout_ms;
    for (int i = 0; i < count; i++)
        if ((held->value[i] = strdup(values[i])) == NULL)
            bug("out of memory");
    text_format(&begin, "BEGIN ISOLATION LEVEL READ COMMITTED%s; SET LOCAL statement_timeout = %lld; "
                "SET LOCAL lock_timeout = %lld; SET LOCAL idle_in_transaction_session_timeout = %lld; "
                "SET LOCAL DateStyle = ISO; SET LOCAL TimeZone = 'UTC'; SET LOCAL jit = off",
                write ? "" : " READ ONLY", (long long)statement_ms,
                (long long)f->settings->database_lock_ms,
                (long long)f->settings->database_socket_timeout_ms);
    if (write)
        text_sql(&begin, "; SELECT set_config('synchronous_commit', 'on', true) WHERE "
                 "current_setting('synchronous_commit') IN ('off', 'local'); "
                 "SELECT FROM @.shard WHERE shard = 0 FOR UPDATE", schema_quoted(f->schema));
    if (begin.failed || f->asked->sql.failed)
        bug("out of memory");
    pg_query(f->pg, begin.data, 0, NULL, held->deadline_ms, on_begun, held);
    text_free(&begin);
}

/* --- step-down ------------------------------------------------------------------------------------ */

bool asked_to_stand_back(const struct flusher *f)
{
    return !mono_reached(mono_now(), f->asked->stepped_down);
}

static void step_down(struct flusher *f, struct errand *errand)
{
    const char *words[ERRAND_WORDS_MAX], *time = NULL;
    const struct words_option options[] = {{"--for", &time, NULL}};
    struct json_out *out;
    int64_t ms = STAND_BACK_MS;
    const char *json, *plain[ERRAND_WORDS_MAX];
    size_t length, count = 0;
    struct err err = {""};

    for (size_t i = 1; i < errand_count(errand); i++)
        words[i - 1] = errand_word(errand, i);
    if (words_read(errand_count(errand) - 1, words, options, 1, plain, &count, &err) != 0 || count > 0 ||
        (time != NULL && duration_read(time, &ms, &err) != 0)) {
        errand_refuse(&errand, 400, "%s", err.text[0] != '\0' ? err.text : "step-down [--for T]");
        return;
    }
    if (ms > STAND_BACK_MOST_MS) {
        errand_refuse(&errand, 400, "at most an hour: pause flush is for longer");
        return;
    }
    if (!lease_held(&f->lease, mono_now())) {
        errand_refuse(&errand, 409, "this instance does not hold the lock");
        return;
    }
    f->asked->stepped_down = mono_after_ms(mono_now(), ms);
    log_info("stepped_down", "for_ms=%lld", (long long)ms);
    out = json_out_new(false); /* another errand may have its answer half written */
    json_object(out);
    json_put_bool(out, "stepped_down", true);
    json_put_number(out, "left_to_others_ms", ms);
    json_end(out);
    json = json_text(out, &length);
    errand_done(&errand, 200, json, length);
    json_out_free(&out);
}

/* --- waiting -------------------------------------------------------------------------------------- */

static const struct {
    const char *word;
    asked_fn *begin;
} verbs[] = {{"dead", asked_dead}, {"audit", asked_audit}};

static void on_errand(void *arg, struct errand *errand)
{
    struct flusher *f = arg;
    bool known = false;

    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        known |= strcmp(errand_word(errand, 0), verbs[i].word) == 0;
    if (strcmp(errand_word(errand, 0), "step-down") == 0)
        step_down(f, errand);
    else if (!known)
        errand_refuse(&errand, 404, "db_flusher knows no errand %s", errand_word(errand, 0));
    else if (f->draining || f->leaving || f->gate_closed)
        errand_refuse(&errand, 409, "db_flusher is leaving, or its gate is closed");
    else if (f->asked->count == ASKED_MAX)
        errand_refuse(&errand, 409, "too many errands are waiting, ask again");
    else
        f->asked->waiting[f->asked->count++] = errand;
    if (!f->busy && !f->leaving)
        timer_in_ms(f->turn_timer, 0);
}

bool asked_any(const struct flusher *f)
{
    return f->asked->errand != NULL || f->asked->count > 0;
}

bool asked_due(struct flusher *f)
{
    struct asked *asked = f->asked;
    bool yields = asked->yielded && lease_held(&f->lease, mono_now());
    bool waits = asked->errand != NULL
                     ? errand_gone(asked->errand) || !errand_full(asked->errand)
                     : asked->count > 0;

    asked->yielded = false; /* the turn is the flush's now */
    return waits && !f->draining && !yields;
}

static void take_next(struct flusher *f)
{
    struct asked *asked = f->asked;

    asked->errand = asked->waiting[0];
    asked->count--;
    memmove(asked->waiting, asked->waiting + 1, asked->count * sizeof asked->waiting[0]);
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (strcmp(errand_word(asked->errand, 0), verbs[i].word) == 0)
            asked->part = verbs[i].begin;
}

static void on_connected(void *arg, const struct pg_answer *answer)
{
    struct flusher *f = arg;

    if (answer->outcome == PG_OK) {
        flusher_count(f, METRIC_database_connects_total, 1);
        f->pg_used = mono_now();
        f->asked->part(f);
    } else {
        asked_refuse(f, 500, "no connection to PostgreSQL: %.200s", answer->text);
    }
}

void asked_turn(struct flusher *f)
{
    if (f->asked->errand == NULL)
        take_next(f);
    if (errand_gone(f->asked->errand))
        asked_refuse(f, 409, "the asker has left");
    else if (pg_connected(f->pg))
        f->asked->part(f);
    else
        pg_connect(f->pg, on_connected, f);
}

struct asked *asked_open(struct flusher *f)
{
    struct asked *asked = calloc(1, sizeof *asked);
    struct err err;

    if (asked == NULL)
        bug("out of memory");
    asked->out = json_out_new(false);
    asked->stepped_down = mono_now();
    asked->errands = errands_open(f->harness, "db_flusher", 0, on_errand, f, &err);
    if (asked->errands == NULL) /* nobody waits for money because an operator cannot ask */
        log_warn("errands_refused", "error=\"%s\"", err.text);
    return asked;
}

void asked_close(struct asked **asked)
{
    if (*asked == NULL)
        return;
    errands_close(&(*asked)->errands);
    json_out_free(&(*asked)->out);
    text_free(&(*asked)->sql);
    load_free(&(*asked)->load);
    free(*asked);
    *asked = NULL;
}
