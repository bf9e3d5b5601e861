/*
 * harness.c - what a worker stands on: its settings, its counters, the line to the supervisor, and when
 * to leave.  See harness.h (for workers) and host.h (for main).
 *
 * Owns the loop, the line and the beat.  Beats come from a timer of the loop that does the work, so a
 * worker that does not turn does not beat.  A worker leaves because it says so, because it was told to
 * stop, or because the drain deadline has passed; the end of fd 3 is a drain with a short deadline.
 * If we die on any line the supervisor sees it at once; the counters keep what they had.
 */
#include "common/harness/host.h"

#include "common/base/log.h"
#include "common/harness/loop.h"
#include "common/harness/roster.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORDS_PER_TURN 64
#define BEAT_MS_WITHOUT_SETTINGS 1000

struct harness {
    const struct worker *worker;
    void *self; /* the worker's state, once open */
    struct settings settings;
    struct settings fresh; /* of a reload, until its last record is here */
    bool reloading, bad_reload;
    unsigned index, generation;
    struct loop loop;

    struct line *line; /* NULL: no supervisor, or it is gone */
    struct watch *line_watch;
    struct timer *beat;
    char status[sizeof((struct msg_status *)0)->text];
    bool status_unsent; /* the backlog was full: goes with the next beat */

    struct stats_page *page;
    const struct stats_page *pages[ROSTER_SLOTS_MAX];
    unsigned page_count;

    bool waiting; /* open asked to be ready later */
    bool ready;
    bool draining;
    mono_t drain_deadline;
    struct timer *drain_timer;
    bool leaving;
    int code;
};

/* --- up the line --------------------------------------------------------------------------------- */

/* 0: sent or kept.  Without a supervisor there is nobody to miss it. */
static int report(struct harness *harness, const struct msg *record)
{
    if (harness->line == NULL)
        return 0;
    return line_send(harness->line, record);
}

void harness_report(struct harness *harness, const struct msg *record)
{
    /* A full backlog means that the supervisor has not read for hundreds of records: the next report
     * of the same kind says what is true then. */
    if (report(harness, record) < 0)
        log_debug("report_dropped", "record=%s", msg_name(record->kind));
}

static void send_status(struct harness *harness)
{
    struct msg record = {.kind = MSG_status};

    memcpy(record.status.text, harness->status, sizeof record.status.text);
    harness->status_unsent = report(harness, &record) < 0;
}

void harness_status(struct harness *harness, const char *format, ...)
{
    char text[sizeof harness->status];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    /* Before readiness every status is a sign of life, the same text too. */
    if (harness->ready && strcmp(text, harness->status) == 0)
        return;
    memcpy(harness->status, text, sizeof text);
    send_status(harness);
}

static void beat(void *arg)
{
    struct harness *harness = arg;
    struct msg record = {.kind = MSG_beat, .beat = {harness->loop.turns}};
    int64_t ms = harness->settings.supervisor_beat_ms;

    if (harness->status_unsent)
        send_status(harness);
    /* While records wait the supervisor is not reading: one more beat would tell it nothing. */
    if (harness->line != NULL && !line_waiting(harness->line))
        harness_report(harness, &record);
    timer_in_ms(harness->beat, ms > 0 ? ms : BEAT_MS_WITHOUT_SETTINGS);
}

void harness_wait(struct harness *harness)
{
    harness->waiting = true;
}

void harness_ready(struct harness *harness)
{
    struct msg record = {.kind = MSG_ready};

    if (harness->ready)
        return;
    harness->waiting = false;
    harness->ready = true;
    harness_report(harness, &record);
}

/* --- leaving ------------------------------------------------------------------------------------- */

void harness_leave(struct harness *harness, int code)
{
    if (!harness->leaving)
        harness->code = code;
    harness->leaving = true;
}

static void drain_late(void *arg)
{
    struct harness *harness = arg;

    log_warn("drain_late", "left_at_deadline=1");
    harness_leave(harness, EXIT_ASKED);
}

static void drain(struct harness *harness, int64_t ms)
{
    mono_t deadline = mono_after_ms(mono_now(), ms > 0 ? ms : 0);
    bool first = !harness->draining;

    /* A second order may only shorten the first. */
    if (first || deadline.micros < harness->drain_deadline.micros) {
        harness->drain_deadline = deadline;
        timer_at(harness->drain_timer, deadline);
    }
    harness->draining = true;
    if (!first)
        return;
    if (harness->worker == NULL || harness->worker->drain == NULL || harness->self == NULL)
        harness_leave(harness, EXIT_ASKED);
    else
        harness->worker->drain(harness->self, harness->drain_deadline);
}

/* --- reload: settings come one by one and take effect together ------------------------------------ */

static void begin_reload(struct harness *harness)
{
    if (harness->reloading)
        return;
    harness->fresh = harness->settings;
    harness->bad_reload = false;
    harness->reloading = true;
}

static void take_setting(struct harness *harness, const struct msg_setting *record)
{
    const struct setting *setting = setting_by_name(record->name);
    struct err err;

    begin_reload(harness);
    if (setting != NULL && settings_set(&harness->fresh, setting, record->value, &err) == 0)
        return;
    /* Cannot be, from a supervisor of our own build. */
    log_error("reload_refused", "setting=%s", record->name);
    harness->bad_reload = true;
}

/* Too large for a third one on the stack. */
static void swap_settings(struct settings *one, struct settings *other)
{
    unsigned char *a = (unsigned char *)one, *b = (unsigned char *)other;

    for (size_t i = 0; i < sizeof *one; i++) {
        unsigned char kept = a[i];

        a[i] = b[i];
        b[i] = kept;
    }
}

static void take_reload(struct harness *harness)
{
    const struct settings *before = &harness->fresh, *after = &harness->settings;

    begin_reload(harness); /* without a setting of ours: a file that one of them names may have changed */
    harness->reloading = false;
    if (harness->bad_reload)
        return;
    swap_settings(&harness->fresh, &harness->settings);
    if (strcmp(before->log_level, after->log_level) != 0)
        log_set_level((enum log_level)log_level_from(after->log_level));
    log_set_format(after->log_format);
    log_set_burst((unsigned)after->log_burst);
    timer_at(harness->beat, mono_now());
    if (harness->worker != NULL && harness->worker->reload != NULL && harness->self != NULL)
        harness->worker->reload(harness->self, before);
}

/* --- down the line ------------------------------------------------------------------------------- */

static void take_record(struct harness *harness, const struct msg *record)
{
    if (record->kind == MSG_drain)
        drain(harness, record->drain.deadline_ms);
    else if (record->kind == MSG_stop)
        harness_leave(harness, EXIT_ASKED);
    else if (record->kind == MSG_setting)
        take_setting(harness, &record->setting);
    else if (record->kind == MSG_settings_end)
        take_reload(harness);
    else if (record->kind == MSG_loglevel)
        log_set_level((enum log_level)record->loglevel.level);
    else if (harness->worker != NULL && harness->worker->record != NULL && harness->self != NULL)
        harness->worker->record(harness->self, record);
}

/* A successor waits for us on the lock, and ingest is closed until then: leave soon.  What is not
 * delivered is in the spool. */
static void supervisor_gone(struct harness *harness)
{
    int64_t ms = harness->settings.supervisor_orphan_drain_ms;

    harness_unwatch(&harness->line_watch);
    line_free(&harness->line);
    log_warn("supervisor_gone", "drain_ms=%lld", (long long)ms);
    drain(harness, ms);
}

static void line_ready(void *arg, short revents)
{
    struct harness *harness = arg;
    struct msg record;
    struct err err;

    if (revents & POLLOUT)
        line_flush(harness->line);
    for (int i = 0; i < RECORDS_PER_TURN && !harness->leaving; i++) {
        enum line_outcome outcome = line_receive(harness->line, &record, &err);

        if (outcome == LINE_EMPTY)
            return;
        if (outcome == LINE_CLOSED) {
            supervisor_gone(harness);
            return;
        }
        if (outcome == LINE_BAD)
            log_error("record_refused", "error=\"%s\"", err.text);
        else
            take_record(harness, &record);
    }
}

/* --- for main ------------------------------------------------------------------------------------ */

/* A worker without a page from the supervisor (a test) counts into one of its own. */
static struct stats_page *private_page(struct err *err)
{
    int fd = stats_create("private", err);
    struct stats_page *page = fd >= 0 ? stats_map(fd, err) : NULL;

    if (fd >= 0)
        close(fd);
    return page;
}

struct harness *harness_new(const struct host_options *options, struct err *err)
{
    struct harness *harness = calloc(1, sizeof *harness);

    if (harness == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    harness->worker = options->worker;
    harness->settings = *options->settings;
    harness->index = options->index;
    harness->generation = options->generation;
    harness->page = options->page != NULL ? options->page : private_page(err);
    if (harness->page == NULL) {
        free(harness);
        return NULL;
    }
    harness->line = options->line;
    if (harness->line != NULL)
        harness->line_watch =
            loop_watch(&harness->loop, line_fd(harness->line), POLLIN, line_ready, harness);
    harness->drain_timer = timers_add(&harness->loop.timers, drain_late, harness);
    harness->beat = timers_add(&harness->loop.timers, beat, harness);
    timer_at(harness->beat, mono_now());
    return harness;
}

void harness_free(struct harness **harness)
{
    if (*harness == NULL)
        return;
    harness_untimer(&(*harness)->beat);
    harness_untimer(&(*harness)->drain_timer);
    harness_unwatch(&(*harness)->line_watch);
    loop_cleanup(&(*harness)->loop);
    if ((*harness)->line != NULL)
        line_flush((*harness)->line);
    line_free(&(*harness)->line);
    for (unsigned slot = 0; slot < (*harness)->page_count; slot++)
        stats_unmap((*harness)->pages[slot]);
    stats_unmap((*harness)->page);
    free(*harness);
    *harness = NULL;
}

int harness_map_pages(struct harness *harness, struct err *err)
{
    unsigned count = roster_slots(&harness->settings);

    if (count > ROSTER_SLOTS_MAX)
        return err_set(err, "%u slots, the most is %d", count, ROSTER_SLOTS_MAX);
    for (unsigned slot = 0; slot < count; slot++) {
        harness->pages[slot] = stats_map_readonly(FD_INHERITED + (int)slot, err);
        if (harness->pages[slot] == NULL)
            return -1;
        close(FD_INHERITED + (int)slot);
        harness->page_count = slot + 1;
    }
    return 0;
}

int harness_open(struct harness *harness, int *code, struct err *err)
{
    *code = EXIT_TEMPORARY;
    harness->self = harness->worker->open(harness, code, err);
    if (harness->self == NULL)
        return -1;
    if (harness->line != NULL)
        line_ready(harness, POLLIN); /* what was said at our start, a pause above all, before any work */
    if (!harness->waiting)
        harness_ready(harness);
    return 0;
}

void harness_close(struct harness *harness)
{
    if (harness->self != NULL && harness->worker->close != NULL)
        harness->worker->close(harness->self);
    harness->self = NULL;
}

bool harness_turn(struct harness *harness, int most_ms)
{
    if (harness->leaving)
        return false;
    if (harness->line != NULL)
        watch_events(harness->line_watch,
                     (short)(POLLIN | (line_waiting(harness->line) ? POLLOUT : 0)));
    loop_turn(&harness->loop, most_ms);
    return !harness->leaving;
}

int harness_code(const struct harness *harness)
{
    return harness->code;
}

/* --- for workers --------------------------------------------------------------------------------- */

const struct settings *harness_settings(const struct harness *harness)
{
    return &harness->settings;
}

unsigned harness_index(const struct harness *harness)
{
    return harness->index;
}

unsigned harness_generation(const struct harness *harness)
{
    return harness->generation;
}

struct stats_page *harness_stats(const struct harness *harness)
{
    return harness->page;
}

unsigned harness_pages(const struct harness *harness)
{
    return harness->page_count;
}

const struct stats_page *harness_page(const struct harness *harness, unsigned slot)
{
    return slot < harness->page_count ? harness->pages[slot] : NULL;
}

int harness_listener(const struct harness *harness, unsigned number)
{
    return FD_INHERITED + (int)(harness->page_count + number);
}

struct watch *harness_watch(struct harness *harness, int fd, short events, watch_fn *ready, void *arg)
{
    return loop_watch(&harness->loop, fd, events, ready, arg);
}

struct timer *harness_timer(struct harness *harness, timer_fn *due, void *arg)
{
    return timers_add(&harness->loop.timers, due, arg);
}

void harness_before_sleep(struct harness *harness, sleep_fn *look, void *arg)
{
    loop_before_sleep(&harness->loop, look, arg);
}
