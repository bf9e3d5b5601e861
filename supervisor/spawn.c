/*
 * spawn.c - fork and exec of a worker.  See spawn.h.
 *
 * Executables are opened once, when the supervisor starts, and exec'ed by descriptor: an upgrade that
 * replaces the files under a running daemon cannot mix builds.  Between fork and exec only calls that
 * are safe there.  If the child dies on any line before exec, the parent reaps a failed start; if the
 * parent dies, the child reads end of file on fd 3.
 */
#include "supervisor/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define FD_FIRST 3
#define FD_ASIDE 512 /* above every descriptor that the child is given */
#define EXIT_EXEC 127

int spawn_open(const char *name, struct err *err)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    char *slash;
    int fd;

    if (length < 0)
        return err_errno(err, "/proc/self/exe");
    path[length] = '\0';
    slash = strrchr(path, '/');
    if (slash == NULL || (size_t)snprintf(slash, sizeof path - (size_t)(slash - path),
                                          "/../libexec/spendd/%s", name) >=
                             sizeof path - (size_t)(slash - path))
        return err_set(err, "path of %s is too long", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? err_errno(err, "%s", path) : fd;
}

/* Under AddressSanitizer the shadow alone is larger than any limit. */
static int limit_data(int64_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
    return (void)bytes, 0;
#else
    const struct rlimit limit = {(rlim_t)bytes, (rlim_t)bytes};

    return setrlimit(RLIMIT_DATA, &limit);
#endif
}

/* The hard limit is the operator's: a worker that gets less than it wants sees that, and lives with it. */
static int limit_files(int64_t files)
{
    struct rlimit limit;

    if (files == 0)
        return 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -1;
    limit.rlim_cur = (rlim_t)files < limit.rlim_max ? (rlim_t)files : limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit);
}

/* Signals as a new process has them: our mask and our SIG_IGN would survive exec. */
static void reset_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* First all aside, then each into its place: a source may sit where another one belongs. */
static int place_fds(const struct spawn_order *order)
{
    int aside[256];

    if (order->fd_count > sizeof aside / sizeof aside[0])
        return -1;
    for (unsigned i = 0; i < order->fd_count; i++) {
        aside[i] = fcntl(order->fds[i], F_DUPFD_CLOEXEC, FD_ASIDE);
        if (aside[i] < 0)
            return -1;
    }
    for (unsigned i = 0; i < order->fd_count; i++)
        if (dup2(aside[i], FD_FIRST + (int)i) < 0)
            return -1;
    /* What whoever started us left open is not the worker's either. */
    close_range((unsigned)FD_FIRST + order->fd_count, ~0U, CLOSE_RANGE_CLOEXEC);
    return 0;
}

static _Noreturn void become(const struct spawn_order *order)
{
    char *argv[] = {(char *)(uintptr_t)order->title, NULL}, *environment[] = {NULL};
    int image = fcntl(order->image, F_DUPFD_CLOEXEC, FD_ASIDE);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);

    reset_signals();
    if (image >= 0 && nothing >= 0 && dup2(nothing, STDIN_FILENO) == STDIN_FILENO &&
        place_fds(order) == 0 && limit_files(order->files) == 0 && limit_data(order->data_bytes) == 0)
        fexecve(image, argv, environment);
    _exit(EXIT_EXEC);
}

pid_t spawn(const struct spawn_order *order, struct err *err)
{
    pid_t pid = fork();

    if (pid == 0)
        become(order);
    return pid < 0 ? err_errno(err, "fork") : pid;
}
