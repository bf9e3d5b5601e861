/*
 * database.c - the flusher's way to a usable database: connected, its schema there, and the one that
 * this Redis belongs to.  Goes on to the lock, or to the queue where the lock is held.
 *
 * The status says what is known of PostgreSQL: the last thing that came of it, or, when an answer takes
 * longer than a breath, that it is waited for, and since when.
 *
 * If we die on any line: schema work is in transactions of its own; the rest is looking.
 */
#include "workers/db_flusher/flusher.h"

#include "common/base/log.h"
#include "workers/db_flusher/adopt.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SCHEMA_CHECK_MS 3600000
#define SCHEMA_SOON_MS 60000
#define WATCH_MS 1000
#define WAITS_MS 2000 /* an answer that takes longer is worth a word */

static void on_target(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct flusher *f = arg;
    bool same = redis_said(reply, "ok") && reply->items > 1 && reply->item[1].text &&
                strcmp(reply->item[1].text, schema_install(f->schema)) == 0;

    if (same) {
        adopt_ready(f);
        if (adopt_mine(f))
            adopt_apply(f);
        else if (lease_held(&f->lease, mono_now()))
            reading_begin(f);
        else
            hold_take(f);
        return;
    }
    if (!redis_said(reply, "ok")) {
        turn_redis_failed(f, "target", reply, reason);
        return;
    }
    if (mono_reached(mono_now(), f->target_said)) {
        log_error("wrong_database", "install=%s reason=\"this Redis belongs to another database\"",
                  schema_install(f->schema));
        f->target_said = mono_after_ms(mono_now(), 60000);
    }
    database_says(f, "this Redis belongs to another database: not flushing");
    hold_give_up(f);
    if (f->draining)
        hold_leave(f);
    else
        turn_end_calmly(f);
}

void database_target(struct flusher *f)
{
    queue_target(&f->queue, schema_install(f->schema), on_target, f);
}

/* Not finished.  A schema that is known is good enough meanwhile: events are counted all the same, and
 * partitions are looked at again soon; not so soon where the role may not make them, and somebody else
 * does. */
static void schema_later(struct flusher *f, enum pg_refusal refusal, const char *why)
{
    if (refusal != PG_REFUSED_NOT)
        turn_note_refusal(f, "schema_unfinished", "schema", refusal, why);
    else
        log_warn("schema_unfinished", "reason=\"%s\"", why);
    if (schema_install(f->schema)[0]) {
        f->schema_due = mono_after_ms(
            mono_now(), refusal == PG_REFUSED_no_rights ? SCHEMA_CHECK_MS : SCHEMA_SOON_MS);
        turn_end(f, 0);
    } else if (refusal != PG_REFUSED_NOT) {
        turn_end_refused(f, refusal);
    } else {
        turn_end_backing_off(f);
    }
}

static void on_schema(void *arg, enum schema_result result, enum pg_refusal refusal, const char *why)
{
    struct flusher *f = arg;

    if (result == SCHEMA_WRONG) {
        if (refusal != PG_REFUSED_NOT)
            (void)turn_refused(f, "schema", refusal, why);
        turn_stand_down(f, refusal, why);
        return;
    }
    if (result == SCHEMA_LOST) {
        schema_later(f, refusal, why);
        return;
    }
    f->schema_due =
        mono_after_ms(mono_now(), SCHEMA_CHECK_MS / 2 + turn_jitter(SCHEMA_CHECK_MS / 2));
    turn_probe(f, true, "schema usable");
    f->layout->known = !f->layout->kind->look; /* once an hour it is looked at again */
    catalog_ensure(f);
}

static void database_ready(struct flusher *f)
{
    f->pg_used = mono_now();
    if (mono_reached(mono_now(), f->schema_due))
        schema_check(f->schema, wall_day(wall_now()), on_schema, f);
    else
        catalog_ensure(f);
}

/* What the URL has for others, but for the schema where the layout lies in it. */
static void list_ignored(const struct flusher *f, char *list, size_t size)
{
    size_t used = 0;

    list[0] = '\0';
    for (const char *at = pg_ignored(f->pg); *at;) {
        size_t length = strcspn(at, ",");

        if (!f->layout->kind->look || length != 6 || strncmp(at, "schema", 6) != 0)
            used += (size_t)snprintf(list + used, size - used, "%s%.*s", used ? ", " : "", (int)length, at);
        at += length + strspn(at + length, ", ");
    }
}

static void say_ignored(struct flusher *f)
{
    char list[sizeof f->ignored];

    list_ignored(f, list, sizeof list);
    if (strcmp(f->ignored, list) == 0)
        return;
    snprintf(f->ignored, sizeof f->ignored, "%s", list);
    if (f->ignored[0])
        log_warn("url_parameters_ignored", "names=\"%s\" reason=\"another engine's: spendd has settings "
                 "of its own, or no use for them\"", f->ignored);
}

static void on_connected(void *arg, const struct pg_answer *answer)
{
    struct flusher *f = arg;

    say_ignored(f);
    f->layout->known = !f->layout->kind->look;
    if (answer->outcome == PG_OK) {
        flusher_count(f, METRIC_database_connects_total, 1);
        database_ready(f);
    } else if (turn_refused(f, "connect", answer->refusal, answer->text)) {
        turn_stand_down(f, answer->refusal, answer->text);
    } else {
        turn_probe(f, false, answer->text);
        hold_give_up(f);
        if (f->draining)
            hold_leave(f);
        else
            turn_end_refused(f, answer->refusal);
    }
}

void database_ensure(struct flusher *f)
{
    if (pg_connected(f->pg))
        database_ready(f);
    else
        pg_connect(f->pg, on_connected, f);
}

void database_says(struct flusher *f, const char *format, ...)
{
    char word[sizeof f->word], said[sizeof f->said], adoption[112];
    va_list ap;

    va_start(ap, format);
    vsnprintf(word, sizeof word, format, ap);
    va_end(ap);
    adopt_says(f, adoption, sizeof adoption);
    snprintf(said, sizeof said, "%s%s", adoption, word);
    if (strcmp(said, f->said) == 0 && !f->waits)
        return;
    f->waits = false;
    snprintf(f->word, sizeof f->word, "%s", word);
    snprintf(f->said, sizeof f->said, "%s", said);
    harness_status(f->harness, "%s", f->said);
}

static void say_waiting(struct flusher *f)
{
    int64_t since = pg_asked_ms(f->pg);

    if (since >= WAITS_MS) {
        f->waits = true;
        harness_status(f->harness, "database silent for %lld s, %s; before: %.80s",
                       (long long)(since / 1000), pg_doing(f->pg), f->word);
    } else if (f->waits || (f->adopt != NULL && f->word[0] && !f->stood_back)) {
        database_says(f, "%s", f->word);
    }
}

/* Closed by us before the cloud drops it. */
void database_watch(void *arg)
{
    struct flusher *f = arg;
    int64_t idle = f->settings->database_max_idle_s * 1000;

    if (!f->busy && pg_connected(f->pg) && mono_ms_between(f->pg_used, mono_now()) >= idle) {
        log_debug("database_closed", "reason=idle");
        pg_disconnect(f->pg);
    }
    say_waiting(f);
    adopt_watch(f);
    adopt_look_stray(f);
    adopt_look_lengths(f);
    timer_in_ms(f->idle_timer, WATCH_MS);
}
