/*
 * asked_dead.c - dead letters: listed, shown, exported, dropped.  Counting them again: asked_requeue.c.
 *
 * A dead letter is the only copy of what somebody sent: it leaves this table by order of the operator and
 * by nothing else.  A dropped one frees its id: the same event sent again would be counted, and that is
 * what the operator asked for.  Drop runs under the shard's row like every write, so that a flush that has
 * just found the id spent and the drop see each other.
 * If we die on any line: a list ends early, without its last answer; a drop is done or not.
 *
 *   ls      {"dead_letters": [{"id", "at", "class", "day", "event_id", "bytes", "reason"}], "more"}
 *   show    {"id", ..., "epoch", "seq", "n", "event" | "payload" | "payload_base64"}
 *   export  the same, one item for each; then {"exported"}
 *   drop    {"dropped"}
 * event: the event as it may be sent again; payload: bytes that were never an event, as they came.
 */
#include "workers/db_flusher/asked.h"

#include "common/admin/words.h"
#include "common/base/utf8.h"
#include "common/event/event_json.h"
#include "common/json/json_put.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_FIRST 100
#define LIST_MOST 10000

enum column { ID, AT, CLASS, DAY, EVENT_ID, BYTES, REASON, EPOCH, SEQ, N, RECORD };

/* $1 ids or '', $2 class or '', $3 since or '', $4 ids above (or, newest first, below), $5 how many */
#define WHERE                                                                                      \
    "WHERE ($1 = '' OR id = ANY (NULLIF($1, '')::bigint[])) AND ($2 = '' OR class = $2) "          \
    "AND ($3 = '' OR at >= now() - NULLIF($3, '')::interval) "

void asked_dead_select(struct flusher *f, bool records)
{
    struct text *sql = &f->asked->sql;
    bool newest = f->asked->dead.newest;

    text_clear(sql);
    text_put(sql, "SELECT id::text, to_char(at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), class, day::text, "
                  "encode(event_id, 'hex'), bytes::text, reason, epoch::text, seq::text, n::text, ");
    text_put(sql, records ? "encode(record, 'hex')" : "NULL");
    text_put(sql, " FROM (SELECT *, octet_length(record) bytes, sum(octet_length(record)) OVER "
                  "(ORDER BY id) upto, row_number() OVER (ORDER BY id) k FROM (SELECT * ");
    text_sql(sql, "FROM @.dead_letter " WHERE, schema_quoted(f->schema));
    text_put(sql, newest ? "AND id < $4::bigint ORDER BY id DESC" : "AND id > $4::bigint ORDER BY id");
    text_put(sql, " LIMIT $5::bigint) page) l");
    if (records)
        text_format(sql, " WHERE upto <= %d OR k = 1", ASKED_PAGE_BYTES);
    text_put(sql, newest ? " ORDER BY l.id DESC" : " ORDER BY l.id");
}

void asked_dead_values(const struct flusher *f, const char *values[6], char number[2][24])
{
    const struct dead_ask *dead = &f->asked->dead;
    int64_t page = dead->limit - dead->done;

    if (!dead->newest && page > ASKED_PAGE_ROWS)
        page = ASKED_PAGE_ROWS;
    if (dead->newest)
        page++; /* is there more? */
    snprintf(number[0], 24, "%lld", (long long)dead->last);
    snprintf(number[1], 24, "%lld", (long long)page);
    values[0] = dead->ids;
    values[1] = dead->class;
    values[2] = dead->since;
    values[3] = number[0];
    values[4] = number[1];
}

static void query(struct flusher *f, bool records, asked_take_fn *take, asked_fn *after)
{
    const char *values[6];
    char number[2][24];

    asked_dead_select(f, records);
    asked_dead_values(f, values, number);
    f->asked->take = take;
    f->asked->after = after;
    asked_query(f, false, f->settings->database_statement_ms, 5, values);
}

/* --- one row as JSON ------------------------------------------------------------------------------ */

/* Bytes of a hex field, owned by the caller; never NULL. */
static unsigned char *unhex(const struct pg_answer *answer, int row, int column, size_t *bytes)
{
    const char *hex = pg_value(answer, row, column);
    size_t length = hex != NULL ? pg_length(answer, row, column) : 0;
    unsigned char *to = malloc(length / 2 + 1);

    if (to == NULL)
        bug("out of memory for %zu bytes", length / 2);
    if (sodium_hex2bin(to, length / 2, hex != NULL ? hex : "", length, NULL, bytes, NULL) != 0)
        *bytes = 0;
    return to;
}

static void put_payload(struct json_out *out, const unsigned char *record, size_t bytes)
{
    char *text;

    if (utf8_clean((const char *)record, bytes)) {
        json_key(out, "payload");
        json_bytes(out, (const char *)record, bytes);
        return;
    }
    text = malloc(sodium_base64_ENCODED_LEN(bytes, sodium_base64_VARIANT_ORIGINAL));
    if (text == NULL)
        bug("out of memory for %zu bytes", bytes);
    sodium_bin2base64(text, sodium_base64_ENCODED_LEN(bytes, sodium_base64_VARIANT_ORIGINAL), record,
                      bytes, sodium_base64_VARIANT_ORIGINAL);
    json_put_text(out, "payload_base64", text);
    free(text);
}

static void put_record(struct json_out *out, const struct pg_answer *answer, int row)
{
    const char *class = pg_value(answer, row, CLASS);
    struct event event;
    struct err err;
    size_t bytes;
    unsigned char *record = unhex(answer, row, RECORD, &bytes);

    if ((strcmp(class, "poison") == 0 || strcmp(class, "conflict") == 0 ||
         strcmp(class, "off") == 0) &&
        event_decode(&event, record, bytes, &err) == 0) {
        json_key(out, "event");
        event_json(out, &event);
    } else {
        put_payload(out, record, bytes);
    }
    free(record);
}

static void put_number(struct json_out *out, const char *key, const struct pg_answer *answer, int row,
                       enum column column)
{
    const char *text = pg_value(answer, row, (int)column);

    json_put_number_if(out, key, text != NULL, text != NULL ? strtoll(text, NULL, 10) : 0);
}

static void put_row(struct json_out *out, const struct pg_answer *answer, int row, bool whole)
{
    size_t bytes;
    unsigned char *event_id = unhex(answer, row, EVENT_ID, &bytes);

    json_object(out);
    put_number(out, "id", answer, row, ID);
    json_put_text(out, "at", pg_value(answer, row, AT));
    json_put_text(out, "class", pg_value(answer, row, CLASS));
    json_put_text(out, "day", pg_value(answer, row, DAY));
    json_key(out, "event_id");
    json_bytes(out, (const char *)event_id, bytes);
    put_number(out, "bytes", answer, row, BYTES);
    json_put_text(out, "reason", pg_value(answer, row, REASON));
    if (whole) {
        json_put_text(out, "epoch", pg_value(answer, row, EPOCH));
        put_number(out, "seq", answer, row, SEQ);
        put_number(out, "n", answer, row, N);
        put_record(out, answer, row);
    }
    json_end(out);
    free(event_id);
}

/* --- ls, show, export ----------------------------------------------------------------------------- */

static void take_list(struct flusher *f, const struct pg_answer *answer)
{
    struct json_out *out = f->asked->out;
    int64_t limit = f->asked->dead.limit;

    json_clear(out);
    json_object(out);
    json_key(out, "dead_letters");
    json_array(out);
    for (int row = 0; row < answer->rows && row < limit; row++)
        put_row(out, answer, row, false);
    json_end(out);
    json_put_bool(out, "more", answer->rows > limit);
    json_end(out);
}

static void over(struct flusher *f)
{
    asked_over(f, 200);
}

static void list(struct flusher *f)
{
    f->asked->dead.newest = true;
    f->asked->dead.last = INT64_MAX;
    query(f, false, take_list, over);
}

static void take_one(struct flusher *f, const struct pg_answer *answer)
{
    json_clear(f->asked->out);
    f->asked->dead.done = answer->rows;
    if (answer->rows == 1)
        put_row(f->asked->out, answer, 0, true);
}

static void one(struct flusher *f)
{
    if (f->asked->dead.done == 1)
        asked_over(f, 200);
    else
        asked_refuse(f, 404, "there is no such dead letter");
}

static void show(struct flusher *f)
{
    if (f->asked->dead.ids[0] == '\0' || strchr(f->asked->dead.ids, ',') != NULL)
        asked_refuse(f, 400, "dead show ID");
    else
        query(f, true, take_one, one);
}

static void take_page(struct flusher *f, const struct pg_answer *answer)
{
    struct dead_ask *dead = &f->asked->dead;

    dead->page = answer->rows;
    dead->done += dead->page;
    for (int row = 0; row < answer->rows; row++) {
        json_clear(f->asked->out);
        put_row(f->asked->out, answer, row, true);
        asked_item(f);
        dead->last = strtoll(pg_value(answer, row, ID), NULL, 10);
    }
}

static void page_done(struct flusher *f)
{
    struct dead_ask *dead = &f->asked->dead;
    if (dead->page > 0 && dead->done < dead->limit) {
        asked_part_done(f);
        return;
    }
    json_clear(f->asked->out);
    json_object(f->asked->out);
    json_put_number(f->asked->out, "exported", dead->done);
    json_end(f->asked->out);
    asked_over(f, 200);
}

static void export_page(struct flusher *f)
{
    f->asked->part = export_page;
    query(f, true, take_page, page_done);
}

/* --- drop ----------------------------------------------------------------------------------------- */

static void take_dropped(struct flusher *f, const struct pg_answer *answer)
{
    json_clear(f->asked->out);
    json_object(f->asked->out);
    json_put_number(f->asked->out, "dropped", answer->affected);
    json_end(f->asked->out);
}

static void drop(struct flusher *f)
{
    const char *values[6];
    char number[2][24];

    asked_dead_values(f, values, number);
    snprintf(number[1], 24, "%lld", (long long)f->asked->dead.limit);
    text_clear(&f->asked->sql);
    text_sql(&f->asked->sql, "DELETE FROM @.dead_letter WHERE id IN (SELECT id FROM @.dead_letter " WHERE
             "AND id > $4::bigint ORDER BY id LIMIT $5::bigint)", schema_quoted(f->schema));
    f->asked->take = take_dropped;
    f->asked->after = over;
    asked_query(f, true, f->settings->database_statement_ms, 5, values);
}

/* --- which ---------------------------------------------------------------------------------------- */

static const struct dead_verb {
    const char *word;
    asked_fn *begin;
    bool named; /* must be told which: ids, a filter, or --all */
    int64_t limit;
} verbs[] = {{"ls", list, false, LIST_FIRST},
             {"show", show, true, 1},
             {"export", export_page, false, INT64_MAX},
             {"drop", drop, true, INT64_MAX},
             {"requeue", asked_requeue, true, INT64_MAX}};

static int take_ids(struct dead_ask *dead, size_t count, const char *const *words, struct err *err)
{
    size_t used = 0;
    int64_t id;

    for (size_t i = 0; i < count; i++) {
        if (words_number(words[i], 1, INT64_MAX, &id, err) != 0)
            return -1;
        used += (size_t)snprintf(dead->ids + used, sizeof dead->ids - used, "%s%lld", i ? "," : "{",
                                 (long long)id);
    }
    if (used > 0)
        snprintf(dead->ids + used, sizeof dead->ids - used, "}");
    return 0;
}

static int take_filters(struct dead_ask *dead, const char *class, const char *since, const char *limit,
                        struct err *err)
{
    static const char *const classes[] = {"poison", "conflict", "invalid", "corrupt", "off"};
    bool known = class == NULL;
    int64_t ms;

    for (size_t i = 0; i < COUNT_OF(classes) && class != NULL; i++)
        known |= strcmp(class, classes[i]) == 0;
    if (!known)
        return err_set(err, "a class is poison, conflict, invalid or corrupt");
    if (limit != NULL && words_number(limit, 1, LIST_MOST, &dead->limit, err) != 0)
        return -1;
    snprintf(dead->class, sizeof dead->class, "%s", class != NULL ? class : "");
    if (since == NULL)
        return 0;
    if (duration_read(since, &ms, err) != 0)
        return -1;
    snprintf(dead->since, sizeof dead->since, "%lld milliseconds", (long long)ms);
    return 0;
}

static int read_words(struct flusher *f, const struct dead_verb *verb, struct err *err)
{
    const char *words[ERRAND_WORDS_MAX], *plain[ERRAND_WORDS_MAX];
    const char *class = NULL, *since = NULL, *limit = NULL;
    struct dead_ask *dead = &f->asked->dead;
    bool all = false;
    const struct words_option options[] = {{"--class", &class, NULL},
                                           {"--since", &since, NULL},
                                           {"--limit", &limit, NULL},
                                           {"--all", NULL, &all}};
    size_t count = errand_count(f->asked->errand), ids;

    for (size_t i = 2; i < count; i++)
        words[i - 2] = errand_word(f->asked->errand, i);
    *dead = (struct dead_ask){.limit = verb->limit};
    if (words_read(count - 2, words, options, COUNT_OF(options), plain, &ids, err) != 0 ||
        take_ids(dead, ids, plain, err) != 0 || take_filters(dead, class, since, limit, err) != 0)
        return -1;
    if (verb->named && ids == 0 && class == NULL && since == NULL && !all)
        return err_set(err, "dead %s: which? IDs, --class, --since, or --all", verb->word);
    if (all && (ids > 0 || class != NULL || since != NULL))
        return err_set(err, "--all, or some of them?");
    return 0;
}

void asked_dead(struct flusher *f)
{
    const char *word = errand_word(f->asked->errand, 1);
    const struct dead_verb *verb = NULL;
    struct err err;

    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (strcmp(verbs[i].word, word) == 0)
            verb = &verbs[i];
    if (verb == NULL)
        asked_refuse(f, 400, "dead ls, show, export, requeue or drop");
    else if (read_words(f, verb, &err) != 0)
        asked_refuse(f, 400, "%s", err.text);
    else
        verb->begin(f);
}
