/*
 * main.c - main() of every worker: records on fd 3 -> settings -> open -> ready -> the loop -> close.
 *
 * Signals that reach a whole process group (ctrl-C) or come from an operator's kill are ignored: the
 * supervisor decides when a worker leaves, and says so on fd 3.  Exit codes are a contract: 0 asked to
 * leave, 75 failed for now, 78 configuration.  If we die on any line before ready, that is a failed
 * start for the supervisor and nothing else.
 */
#include "common/harness/build.h"
#include "common/harness/host.h"
#include "common/harness/roster.h"

#include "common/base/core.h"
#include "common/base/log.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

extern const struct worker worker;

/* What came down the line before the worker exists. */
struct given {
    struct settings settings;
    unsigned index, generation;
    char task[sizeof((struct msg_settings_end *)0)->task]; /* empty: the worker's life */
};

/* RLIMIT_DATA bounds the whole process: what one thread has freed must be there for the others. */
static void share_memory(void)
{
    mallopt(M_ARENA_MAX, 1);
}

static void ignore_signals(void)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2};

    for (size_t i = 0; i < COUNT_OF(ignored); i++)
        signal(ignored[i], SIG_IGN);
}

/* Before the settings come. */
static void guard_secrets(void)
{
    int row = roster_find(worker.name);

    if (row >= 0 && roster_table[row].core == CORE_ALLOWED)
        core_allow();
    else
        core_forbid();
}

static int say_hello(struct line *line, struct err *err)
{
    struct msg hello = {.kind = MSG_hello, .hello = {.pid = (uint32_t)getpid()}};

    snprintf(hello.hello.build, sizeof hello.hello.build, "%s", build_id);
    return line_send(line, &hello) < 0 ? err_set(err, "fd 3 does not lead to a supervisor") : 0;
}

/* 1: that was the last of the settings. */
static int take_setting(struct given *given, const struct msg *record, struct err *err)
{
    const struct setting *setting;

    if (record->kind == MSG_settings_end) {
        given->index = record->settings_end.index;
        given->generation = record->settings_end.generation;
        memcpy(given->task, record->settings_end.task, sizeof given->task);
        return 1;
    }
    if (record->kind != MSG_setting)
        return err_set(err, "%s before the settings", msg_name(record->kind));
    setting = setting_by_name(record->setting.name);
    if (setting == NULL)
        return err_set(err, "unknown setting %s", record->setting.name);
    return settings_set(&given->settings, setting, record->setting.value, err);
}

/* Blocks until the settings are there: they were sent before we were started.  The supervisor bounds
 * this by supervisor.start_ms, and its death by end of file. */
static int take_settings(struct line *line, struct given *given, struct err *err)
{
    struct pollfd in = {line_fd(line), POLLIN, 0};
    struct msg record;
    int done = 0;

    while (done == 0) {
        enum line_outcome outcome = line_receive(line, &record, err);

        if (outcome == LINE_RECORD)
            done = take_setting(given, &record, err);
        else if (outcome == LINE_EMPTY)
            poll(&in, 1, -1);
        else
            done = outcome == LINE_BAD ? -1 : err_set(err, "the supervisor is gone");
    }
    return done > 0 ? 0 : -1;
}

/* The name in logs and in ps: with its index where there can be several. */
static void take_name(const struct given *given)
{
    const struct roster_row *row;
    int found = roster_find(worker.name);
    char name[32];

    if (found < 0)
        bug("worker %s is not in the roster", worker.name);
    row = &roster_table[found];
    if (roster_instances(row, &given->settings) > 1)
        snprintf(name, sizeof name, "%s.%u", worker.name, given->index);
    else
        snprintf(name, sizeof name, "%s", worker.name);
    log_init(name, given->generation);
    prctl(PR_SET_NAME, name);
    if (given->settings.log_level[0] != '\0')
        log_set_level((enum log_level)log_level_from(given->settings.log_level));
    log_set_format(given->settings.log_format);
    log_set_burst((unsigned)given->settings.log_burst);
}

/* The worker itself, or what it does for one task; NULL: it knows no such task. */
static const struct worker *chosen(const struct given *given, struct err *err)
{
    if (given->task[0] == '\0')
        return &worker;
    for (const struct worker *task = worker.task; task != NULL; task = task->task)
        if (strcmp(task->name, given->task) == 0)
            return task;
    err_set(err, "%s knows no task %s", worker.name, given->task);
    return NULL;
}

/* NULL: could not be made. */
static struct harness *make(struct line *line, const struct given *given, struct err *err)
{
    struct host_options options = {.worker = chosen(given, err),
                                   .settings = &given->settings,
                                   .line = line,
                                   .page = stats_map(FD_STATS, err),
                                   .index = given->index,
                                   .generation = given->generation};
    struct harness *harness;

    if (options.worker == NULL || options.page == NULL)
        return NULL;
    close(FD_STATS);
    harness = harness_new(&options, err);
    /* A task has no siblings. */
    if (harness != NULL && given->task[0] == '\0' &&
        roster_table[roster_find(worker.name)].pages == PAGES_ALL && harness_map_pages(harness, err) < 0)
        harness_free(&harness);
    return harness;
}

static int run(struct harness *harness)
{
    struct err err = {""};
    int code;

    if (harness_open(harness, &code, &err) < 0) {
        log_error("start_failed", "code=%d error=\"%s\"", code, err.text);
        return code;
    }
    while (harness_turn(harness, -1)) {
    }
    harness_close(harness);
    return harness_code(harness);
}

int main(void)
{
    struct given given;
    struct err err = {""};
    struct harness *harness;
    struct line *line;
    int code;

    share_memory();
    ignore_signals();
    fcntl(FD_LOCK, F_SETFD, FD_CLOEXEC); /* held by being open until we have left */
    log_init(worker.name, 0);
    guard_secrets();
    memset(&given, 0, sizeof given);
    line = line_new(FD_SUPERVISOR);
    if (line == NULL || say_hello(line, &err) < 0 || take_settings(line, &given, &err) < 0) {
        log_error("start_failed", "error=\"%s\"", err.text);
        return EXIT_TEMPORARY;
    }
    take_name(&given);
    harness = make(line, &given, &err);
    if (harness == NULL) {
        log_error("start_failed", "error=\"%s\"", err.text);
        return EXIT_TEMPORARY;
    }
    code = run(harness);
    harness_free(&harness);
    log_leave();
    return code;
}
