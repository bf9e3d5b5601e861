/*
 * supervisor.c - the supervisor's loop: signals, deaths, records and time become events for children.
 *
 * Owns the slots, the gate and the order of a turn: signals, then records, then deaths, then time - so
 * that a record that was sent before a pause of ours is heard before its sender is called silent.
 * Links libc and libconfig only, calls nothing that may abort, and blocks nowhere but in poll.
 * If we die on any line, every worker reads end of file on fd 3, drains and leaves; the next supervisor
 * waits for the last of them on the lock.
 */
#include "supervisor/supervisor.h"

#include "common/base/log.h"
#include "common/harness/build.h"
#include "common/harness/harness.h"
#include "supervisor/apply.h"
#include "supervisor/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIGNALS_PER_TURN 16

/* --- making --------------------------------------------------------------------------------------- */

static int take_signals(struct err *err)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? err_errno(err, "signalfd") : fd;
}

/* The page, and the same page for those who may only read it. */
static int make_page(struct slot *slot, struct err *err)
{
    char path[48];

    slot->page = stats_create(slot->name, err);
    if (slot->page < 0)
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", slot->page);
    slot->page_readonly = open(path, O_RDONLY | O_CLOEXEC);
    return slot->page_readonly < 0 ? err_errno(err, "%s", path) : 0;
}

static int make_slot(struct supervisor *supervisor, unsigned number, struct err *err)
{
    struct slot *slot = &supervisor->slots[number];
    const struct roster_row *row;

    if (!roster_slot(&supervisor->settings, number, &slot->row, &slot->index))
        return err_set(err, "there is no slot %u", number);
    row = &roster_table[slot->row];
    if (roster_instances(row, &supervisor->settings) > 1)
        snprintf(slot->name, sizeof slot->name, "%s.%u", row->name, slot->index);
    else
        snprintf(slot->name, sizeof slot->name, "%s", row->name);
    slot->state = CHILD_STOPPED;
    slot->level = LEVEL_OF_CONFIG;
    slot->since = wall_now();
    slot->since_mono = mono_now();
    slot->kill_at = mono_never();
    return make_page(slot, err);
}

/* 0, or what to leave with. */
static int make(struct supervisor *supervisor, struct err *err)
{
    int opened;

    gate_init(&supervisor->database);
    supervisor->started = wall_now();
    supervisor->drain_at = mono_never();
    supervisor->count = roster_slots(&supervisor->settings);
    if (supervisor->count > ROSTER_SLOTS_MAX || roster_rows > COUNT_OF(supervisor->images)) {
        err_set(err, "too many workers");
        return EXIT_TEMPORARY;
    }
    for (unsigned row = 0; row < roster_rows; row++) {
        supervisor->images[row] = spawn_open(roster_table[row].name, err);
        if (supervisor->images[row] < 0)
            return EXIT_TEMPORARY;
    }
    for (unsigned i = 0; i < supervisor->count; i++)
        if (make_slot(supervisor, i, err) < 0)
            return EXIT_TEMPORARY;
    opened = listen_open(&supervisor->listeners, &supervisor->settings, err);
    return opened == 0 ? 0 : opened == -2 ? EXIT_CONFIGURATION : EXIT_TEMPORARY;
}

/* --- one turn ------------------------------------------------------------------------------------- */

static void take_signal(struct supervisor *supervisor, uint32_t number)
{
    bool leave = number == SIGTERM || number == SIGINT;

    if (leave && supervisor->draining)
        drain_cut_short(supervisor, "second_signal", 0);
    else if (leave)
        drain_begin(supervisor, "signal");
    else if (number == SIGHUP)
        apply_reload(supervisor);
}

static void read_signals(struct supervisor *supervisor)
{
    struct signalfd_siginfo info;

    for (int i = 0; i < SIGNALS_PER_TURN; i++) {
        if (read(supervisor->signals, &info, sizeof info) != (ssize_t)sizeof info)
            return;
        take_signal(supervisor, info.ssi_signo);
    }
}

/* Every zombie, ours or (as PID 1) anybody's. */
static void reap(struct supervisor *supervisor)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (unsigned i = 0; i < supervisor->count; i++)
            if (supervisor->slots[i].pid == pid) {
                slot_exited(supervisor, &supervisor->slots[i], status);
                break;
            }
}

static int sleep_ms(const struct supervisor *supervisor, mono_t now)
{
    mono_t next = supervisor->leaving ? mono_never() : supervisor->drain_at;
    int64_t ms;

    if (unit_next(&supervisor->unit).micros < next.micros)
        next = unit_next(&supervisor->unit);
    for (unsigned i = 0; i < supervisor->count; i++) {
        mono_t slot = slot_next(supervisor, &supervisor->slots[i]);

        if (slot.micros < next.micros)
            next = slot;
    }
    ms = mono_reached(now, next) ? 0 : (next.micros - now.micros) / 1000 + 1;
    /* At least once a beat, so that a pause of our own is noticed as one. */
    if (ms > supervisor->settings.supervisor_beat_ms)
        ms = supervisor->settings.supervisor_beat_ms;
    return (int)ms;
}

/* false: the kernel refused to wait. */
static bool wait_and_read(struct supervisor *supervisor, int ms)
{
    struct pollfd polled[1 + ROSTER_SLOTS_MAX];

    polled[0] = (struct pollfd){supervisor->signals, POLLIN, 0};
    for (unsigned i = 0; i < supervisor->count; i++) {
        struct line *line = supervisor->slots[i].line;
        short out = line != NULL && line_waiting(line) ? POLLOUT : 0;

        polled[1 + i] = (struct pollfd){line != NULL ? line_fd(line) : -1, (short)(POLLIN | out), 0};
    }
    if (poll(polled, 1 + supervisor->count, ms) < 0)
        return errno == EINTR;
    if (polled[0].revents != 0)
        read_signals(supervisor);
    for (unsigned i = 0; i < supervisor->count; i++) {
        struct slot *slot = &supervisor->slots[i];

        /* The line may be another one by now: the slot reads what there is, and never blocks. */
        if ((polled[1 + i].revents & POLLOUT) != 0 && slot->line != NULL)
            line_flush(slot->line);
        if (polled[1 + i].revents != 0)
            slot_read(supervisor, slot);
    }
    return true;
}

static void later(mono_t *when, int64_t ms)
{
    if (when->micros != mono_never().micros)
        *when = mono_after_ms(*when, ms);
}

/* We were stopped, or the machine was: nobody is to blame for the silence, and every deadline begins to
 * count again where it stood. */
static void grant_all(struct supervisor *supervisor, mono_t now, int64_t late_ms)
{
    log_warn("supervisor_paused", "late_ms=%lld", (long long)late_ms);
    for (unsigned i = 0; i < supervisor->count; i++) {
        supervisor->slots[i].heard = now;
        later(&supervisor->slots[i].kill_at, late_ms);
    }
    later(&supervisor->drain_at, late_ms);
}

static void turn(struct supervisor *supervisor)
{
    mono_t before = supervisor->turned, now;
    int ms = sleep_ms(supervisor, before);
    bool healthy = wait_and_read(supervisor, ms);
    int64_t late;

    reap(supervisor);
    now = supervisor->turned = mono_now();
    /* From the last look at the clock to this one: a pause on any line of a turn is seen. */
    late = mono_ms_between(before, now) - ms;
    if (late > supervisor->settings.supervisor_hang_ms / 2)
        grant_all(supervisor, now, late);
    for (unsigned i = 0; i < supervisor->count; i++)
        slot_check(supervisor, &supervisor->slots[i], now);
    drain_check(supervisor, now);
    waiting_check(supervisor); /* first: who asked is not restarted before its answer */
    restarts_check(supervisor);
    unit_check(supervisor, now, healthy);
}

/* --- running -------------------------------------------------------------------------------------- */

static void run(struct supervisor *supervisor)
{
    log_info("supervisor_started", "version=%s build=%s pid=%d workers=%u", build_version, build_id,
             (int)getpid(), supervisor->count);
    supervisor->turned = mono_now();
    for (unsigned i = 0; i < supervisor->count; i++)
        slot_settle(supervisor, &supervisor->slots[i]);
    while (!drain_done(supervisor))
        turn(supervisor);
    log_info("drain_done", "cut_short=%d", supervisor->leaving);
}

static int take_place(struct supervisor *supervisor)
{
    struct err err;
    int code = EXIT_TEMPORARY;

    unit_open(&supervisor->unit);
    supervisor->signals = take_signals(&err);
    supervisor->lock = -1;
    if (supervisor->signals >= 0)
        supervisor->lock = place_take(&supervisor->settings, &supervisor->unit, supervisor->signals, &err);
    if (supervisor->lock == -2)
        return EXIT_ASKED;
    if (supervisor->lock >= 0)
        code = make(supervisor, &err);
    if (code == 0)
        return -1;
    log_error("supervisor_not_started", "error=\"%s\"", err.text);
    return code;
}

int supervisor_run(const struct settings *settings, const char *config)
{
    struct supervisor *supervisor = calloc(1, sizeof *supervisor);
    int code;

    if (supervisor == NULL)
        return EXIT_TEMPORARY;
    supervisor->settings = *settings;
    supervisor->config = config;
    code = take_place(supervisor);
    if (code < 0) {
        run(supervisor);
        listen_close(&supervisor->listeners);
        code = supervisor->code;
    }
    free(supervisor); /* descriptors go with the process */
    return code;
}
