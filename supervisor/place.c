/*
 * place.c - runtime_dir, its private directory, and the lock that says who is the supervisor here.
 *
 * The lock is a flock on runtime_dir/lock, and every worker holds the same open file: after a
 * supervisor has died its successor waits until the last of its workers has left, because a worker that
 * closes a ZeroMQ socket unlinks the path, whoever has bound it since.  If we die on any line, the
 * directories are there or not and the lock is free again.
 */
#include "supervisor/supervisor.h"

#include "common/base/log.h"

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

/* A flock has no descriptor that becomes ready: look again a few times a second, awake for signals. */
static int wait_for_lock(int lock, int64_t ms, int signals, struct err *err)
{
    mono_t deadline = mono_after_ms(mono_now(), ms + SLACK_MS);
    struct pollfd in = {signals, POLLIN, 0};
    bool said = false;

    while (flock(lock, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(err, "flock");
        if (!said)
            log_warn("lock_waiting", "most_ms=%lld", (long long)(ms + SLACK_MS));
        said = true;
        if (mono_reached(mono_now(), deadline))
            return err_set(err, "another spendd, or workers of one, still live here");
        poll(&in, 1, LOOK_AGAIN_MS);
        if (told_to_leave(signals))
            return -2;
    }
    return 0;
}

int place_take(const struct settings *settings, int signals, struct err *err)
{
    char path[160];
    int lock, outcome;

    if (make_directory(settings->runtime_dir, 0750, err) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/private", settings->runtime_dir);
    if (make_directory(path, 0700, err) < 0)
        return -1;
    snprintf(path, sizeof path, "%s/lock", settings->runtime_dir);
    lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        return err_errno(err, "%s", path);
    outcome = wait_for_lock(lock, settings->supervisor_drain_ms, signals, err);
    if (outcome < 0)
        close(lock);
    return outcome < 0 ? outcome : lock;
}
