/*
 * place.c - runtime_dir, its private directory, and the lock that says who is the supervisor here.
 *
 * The lock is a flock on runtime_dir/lock, and every worker holds the same open file: after a
 * supervisor has died its successor waits until the last of its workers has left, because a worker that
 * closes a ZeroMQ socket unlinks the path, whoever has bound it since.  Orphans leave by themselves within
 * supervisor.orphan_drain_ms; one that hangs beyond that would keep ingest closed for ever, so it is
 * killed, if the lock file proves that it is one (holders.h).  Whoever cannot be proved is named.
 * If we die on any line, the directories are there or not and the lock is free again.
 */
#include "supervisor/supervisor.h"

#include "common/base/log.h"
#include "supervisor/holders.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_AGAIN_MS 50
#define SLACK_MS 1000 /* a worker leaves at its drain deadline, not before */
#define DYING_MS 5000 /* a killed process is gone by then, if the kernel lets go of it */

struct wait {
    const struct settings *settings;
    struct unit *unit;
    int lock;
    mono_t began, kill_at;
    int64_t dying_ms; /* from kill_at */
    bool orphaned, killed; /* the supervisor is gone; its workers were told by SIGKILL */
    struct holder holder[HOLDERS_MAX];
};

static int make_directory(const char *path, mode_t mode, struct err *err)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return err_errno(err, "making %s", path);
    if (chmod(path, mode) < 0)
        return err_errno(err, "mode of %s", path);
    return 0;
}

static bool told_to_leave(int signals)
{
    struct signalfd_siginfo info;

    while (read(signals, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
            return true;
    return false;
}

/* --- who holds it --------------------------------------------------------------------------------- */

/* "aggregator pid 17, control pid 21", of those that live. */
static unsigned name_living(const struct holder *holder, char *text, size_t size)
{
    unsigned living = 0;
    size_t used = 0;

    text[0] = '\0';
    for (unsigned i = 1; i < HOLDERS_MAX; i++) {
        if (!holder_lives(&holder[i]))
            continue;
        if (used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s pid %d", living > 0 ? ", " : "",
                                     holder[i].program, (int)holder[i].pid);
        living++;
    }
    return living;
}

/* They had their deadline and more: what they still have is in the spool, and this run has it again.
 * Returns how many were killed. */
static unsigned kill_orphans(const struct holder *holder)
{
    unsigned killed = 0;
    struct err err;

    for (unsigned i = 1; i < HOLDERS_MAX; i++) {
        if (!holder_lives(&holder[i]))
            continue;
        if (holder_kill(&holder[i], &err) < 0) {
            log_error("orphan_not_killed", "worker=%s error=\"%s\"", holder[i].program, err.text);
            continue;
        }
        killed++;
        log_warn("orphan_killed", "worker=%s pid=%d reason=\"its supervisor died and it did not leave\"",
                 holder[i].program, (int)holder[i].pid);
    }
    return killed;
}

static int refuse(const struct wait *wait, struct err *err)
{
    const char *dir = wait->settings->runtime_dir;
    char who[100];

    if (holder_lives(&wait->holder[0]))
        return err_set(err, "spendd runs in %s already: pid %d.  Stop that one, or give this one another "
                       "runtime_dir", dir, (int)wait->holder[0].pid);
    if (name_living(wait->holder, who, sizeof who) > 0)
        return err_set(err, "workers of a spendd that died still live and could not be killed: %s", who);
    return err_set(err, "%s/lock is held by processes that it does not name (of another container?).  Find "
                   "them with: fuser -v %s/lock", dir, dir);
}

/* --- waiting -------------------------------------------------------------------------------------- */

/* One look.  false: waited long enough. */
static bool may_wait(struct wait *wait, mono_t now)
{
    const struct settings *s = wait->settings;

    if (!holders_read(wait->lock, wait->holder) || holder_lives(&wait->holder[0])) {
        /* A supervisor that lives may be draining; so may be one that we cannot see. */
        wait->orphaned = false;
        return !mono_reached(now, mono_after_ms(wait->began, s->supervisor_drain_ms + SLACK_MS));
    }
    if (!wait->orphaned)
        wait->kill_at = mono_after_ms(now, s->supervisor_orphan_drain_ms + SLACK_MS);
    wait->orphaned = true;
    if (!wait->killed && mono_reached(now, wait->kill_at)) {
        /* Whom nobody could name or kill will not leave either; one may be leaving right now. */
        wait->dying_ms = kill_orphans(wait->holder) > 0 ? DYING_MS : LOOK_AGAIN_MS * 4;
        wait->killed = true;
    }
    return !wait->killed || !mono_reached(now, mono_after_ms(wait->kill_at, wait->dying_ms));
}

/* A flock has no descriptor that becomes ready: look again a few times a second, awake for signals. */
static int wait_for_lock(struct wait *wait, int signals, struct err *err)
{
    struct pollfd in = {signals, POLLIN, 0};
    bool said = false;
    const char *who;

    while (flock(wait->lock, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(err, "flock");
        if (!may_wait(wait, mono_now()))
            return refuse(wait, err);
        who = wait->orphaned ? "workers of a spendd that died" : "a spendd that runs here";
        unit_waits(wait->unit, mono_now(), who);
        if (!said)
            log_warn("lock_waiting", "for=\"%s\"", who);
        said = true;
        poll(&in, 1, LOOK_AGAIN_MS);
        if (told_to_leave(signals))
            return -2;
    }
    return holders_begin(wait->lock, err);
}

int place_take(const struct settings *settings, struct unit *unit, int signals, struct err *err)
{
    struct wait wait = {.settings = settings, .unit = unit, .began = mono_now()};
    char path[160];
    int outcome;

    if (make_directory(settings->runtime_dir, 0750, err) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/private", settings->runtime_dir);
    if (make_directory(path, 0700, err) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/lock", settings->runtime_dir);
    wait.lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (wait.lock < 0)
        return err_errno(err, "%s", path);
    outcome = wait_for_lock(&wait, signals, err);
    if (outcome < 0)
        close(wait.lock);
    return outcome < 0 ? outcome : wait.lock;
}
