/*
 * attempt.c - brings one load into PostgreSQL.  See attempt.h.
 *
 *   whole --again--> whole            (bounded: each time the database taught us something)
 *   whole --data--> synthetic event --> trials (rolled back) --> whole, without the bad ones
 *
 * A trial never commits a part of a batch: the one final transaction holds the good events, the dead
 * letters and the ledger.  If we die between trials nothing has happened, and the next flusher bisects
 * anew.
 */
#include "workers/db_flusher/attempt.h"

#include "common/base/log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_MAX 16

struct attempt {
    struct flush *flush;
    const struct settings *settings;
    struct flush_ask ask;
    struct poison poison;
    uint8_t *verdict; /* of the poison hunt under way; NULL: none */
    bool hunted;      /* the hunt is over: a refusal now is not about single events */
    struct load synthetic;
    int again;
    flush_fn *done;
    void *arg;
};

static void on_report(void *arg, const struct flush_report *report);

static void done(struct attempt *attempt, const struct flush_report *report)
{
    free(attempt->verdict);
    attempt->verdict = NULL;
    attempt->done(attempt->arg, report);
}

static void stand_down(struct attempt *attempt, const struct flush_report *from, const char *why)
{
    struct flush_report report = *from;

    report.result = FLUSH_STAND_DOWN;
    snprintf(report.text, sizeof report.text, "%s; last refusal: %.120s", why, from->text);
    done(attempt, &report);
}

/* An event that any usable schema takes: short, of now, all entities, nothing spent. */
static int make_synthetic(struct load *load)
{
    struct slice word = {"spendd-probe", 12};
    struct event event = {.present = UINT64_C(1) << EVENT_request_id | UINT64_C(1) << EVENT_spend |
                                     UINT64_C(1) << EVENT_received | UINT64_C(1) << EVENT_start_time |
                                     UINT64_C(1) << EVENT_api_key | UINT64_C(1) << EVENT_model};
    unsigned char body[1024], data[1200], id[16];
    struct envelope envelope = {.identity = {.shard = 0, .seq = 1}, .records = 1};
    char line[ENVELOPE_LINE_MAX], request[40];
    size_t bytes, length;

    randombytes_buf(id, sizeof id);
    sodium_bin2hex(request, sizeof request, id, sizeof id);
    event.request_id = (struct slice){request, 32};
    event.received = event.start_time = wall_now().micros;
    event.api_key = event.model = word;
    snprintf(envelope.identity.epoch, EPOCH_TEXT, "%.8s-%.4s-%.4s-%.4s-%.12s", request, request + 8,
             request + 12, request + 16, request + 20);
    body[RECORD_HEADER_BYTES] = RECORD_EVENT;
    bytes = 1 + event_encode(&event, body + RECORD_HEADER_BYTES + 1);
    record_frame(body, bytes);
    bytes += RECORD_HEADER_BYTES;
    envelope.body = body;
    envelope.body_bytes = bytes;
    envelope.crc = crc32c(0, body, bytes);
    length = envelope_line(&envelope, line);
    memcpy(data, line, length);
    memcpy(data + length, body, bytes);
    load_clear(load);
    if (load_reserve(load, length + bytes))
        return -1;
    return load_add(load, data, length + bytes) == LOAD_ADDED && load->events == 1 ? 0 : -1;
}

/* Nothing was sent: again, with less. */
static void no_memory(struct attempt *attempt)
{
    struct flush_report report = {.result = FLUSH_TOO_LONG, .refusal = PG_REFUSED_NOT, .step = "source"};

    snprintf(report.text, sizeof report.text, "out of memory");
    done(attempt, &report);
}

static void launch(struct attempt *attempt)
{
    struct flush_ask ask = attempt->ask;

    if (attempt->verdict) {
        ask.trial = true;
        ask.poison = &attempt->poison;
        if (attempt->poison.state == POISON_SYNTHETIC) {
            ask.poison = NULL;
            ask.load = &attempt->synthetic;
        }
    }
    if (ask.load == &attempt->synthetic) {
        ask.sums = NULL;
        ask.claims = 0;
        ask.windows = NULL;
    } else if (ask.source.make && ask.source.make(ask.source.arg, ask.poison)) {
        no_memory(attempt);
        return;
    }
    flush_run(attempt->flush, &ask, on_report, attempt);
}

/* What may be refused one by one. */
static size_t items(const struct attempt *attempt)
{
    const struct flush_source *source = &attempt->ask.source;

    return source->make ? source->items(source->arg) : attempt->ask.load->events;
}

static void begin_hunt(struct attempt *attempt, const struct flush_report *report)
{
    attempt->verdict = malloc(items(attempt) + 1);
    if (!attempt->verdict || make_synthetic(&attempt->synthetic)) {
        stand_down(attempt, report, "out of memory while looking for bad events");
        return;
    }
    log_warn("poison_hunt", "events=%zu reason=\"%s\"", items(attempt), report->text);
    poison_begin(&attempt->poison, attempt->verdict, items(attempt),
                 (size_t)attempt->settings->poison_max);
    launch(attempt);
}

static void end_hunt(struct attempt *attempt)
{
    const struct flush_source *source = &attempt->ask.source;
    struct load *load = attempt->ask.load;

    for (size_t i = 0; i < attempt->poison.count; i++) {
        if (attempt->verdict[i] != VERDICT_BAD)
            continue;
        if (!source->make)
            load->event[i].fate = FATE_POISON;
        else if (source->refuse(source->arg, i)) {
            no_memory(attempt);
            return;
        }
    }
    log_warn("poison_found", "events=%zu trials=%zu", attempt->poison.bad, attempt->poison.trials);
    free(attempt->verdict);
    attempt->verdict = NULL;
    attempt->hunted = true;
    attempt->again = 0;
    launch(attempt);
}

static void after_trial(struct attempt *attempt, const struct flush_report *report)
{
    poison_trial(&attempt->poison, report->result == FLUSH_DATA);
    attempt->again = 0;
    if (attempt->poison.state == POISON_SCHEMA)
        stand_down(attempt, report, "too much is refused: it is the schema, not the events");
    else if (attempt->poison.state == POISON_DONE)
        end_hunt(attempt);
    else
        launch(attempt);
}

static void on_report(void *arg, const struct flush_report *report)
{
    struct attempt *attempt = arg;

    if (report->result == FLUSH_AGAIN && ++attempt->again <= AGAIN_MAX)
        launch(attempt);
    else if (attempt->verdict && (report->result == FLUSH_DATA || report->result == FLUSH_TRIED))
        after_trial(attempt, report);
    else if (report->result == FLUSH_DATA && !attempt->hunted)
        begin_hunt(attempt, report);
    else if (report->result == FLUSH_DATA)
        stand_down(attempt, report, "refused although every event was tried");
    else if (report->result == FLUSH_AGAIN) {
        struct flush_report later = *report;

        later.result = FLUSH_TIMEOUT;
        done(attempt, &later);
    } else
        done(attempt, report);
}

void attempt_run(struct attempt *attempt, const struct flush_ask *ask, flush_fn *function, void *arg)
{
    attempt->ask = *ask;
    attempt->done = function;
    attempt->arg = arg;
    attempt->hunted = false;
    attempt->again = 0;
    launch(attempt);
}

struct attempt *attempt_open(struct flush *flush, const struct settings *settings, struct err *err)
{
    struct attempt *attempt = calloc(1, sizeof *attempt);

    if (!attempt) {
        err_set(err, "out of memory");
        return NULL;
    }
    attempt->flush = flush;
    attempt->settings = settings;
    return attempt;
}

void attempt_close(struct attempt **attempt)
{
    if (!*attempt)
        return;
    load_free(&(*attempt)->synthetic);
    free((*attempt)->verdict);
    free(*attempt);
    *attempt = NULL;
}
