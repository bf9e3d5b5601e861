/*
 * holders.c - the records in the lock file.  See holders.h.
 *
 * One line of fixed width for each process, at a place of its own: a record is one small write, never
 * torn, and needs no other.  The first line says which boot and which pid namespace the pids belong to.
 * A pid alone proves nothing, so before a signal is sent the process is held by a pidfd and then
 * compared: its start time must be the recorded one, and its program ours wherever that may be known
 * (the kernel hides the program of a process that forbids core dumps from others than root).
 *
 * If we die on any line: a worker that was forked and not yet recorded reads end of file before it has
 * settings, and leaves.  A record whose process is gone is recognised by its start time.
 */
#include "supervisor/holders.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES 80
#define SUPERVISOR_PROGRAM "spendd"

struct process {
    char state;
    uint64_t start;
};

/* -1: there is no such process. */
static int look(pid_t pid, struct process *process)
{
    char path[40], text[1024], *at;
    size_t used;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return -1;
    used = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[used] = '\0';
    at = strrchr(text, ')'); /* the name before it may hold anything */
    if (at == NULL || sscanf(at, ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
                                 " %*s %*s %" SCNu64, &process->state, &process->start) != 2)
        return -1;
    return 0;
}

/* Which boot and which pid namespace we see. */
static void scope(char text[LINE_BYTES])
{
    char boot[40] = "unknown";
    struct stat st = {0};
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

    if (file != NULL) {
        if (fscanf(file, "%39s", boot) != 1)
            snprintf(boot, sizeof boot, "unknown");
        fclose(file);
    }
    if (stat("/proc/self/ns/pid", &st) < 0)
        st.st_ino = 0;
    snprintf(text, LINE_BYTES, "spendd1 %s %ju", boot, (uintmax_t)st.st_ino);
}

/* --- writing -------------------------------------------------------------------------------------- */

static int put_line(int lock, unsigned number, const char *text)
{
    char line[LINE_BYTES + 1];

    snprintf(line, sizeof line, "%-*.*s\n", LINE_BYTES - 1, LINE_BYTES - 1, text);
    return pwrite(lock, line, LINE_BYTES, (off_t)number * LINE_BYTES) == LINE_BYTES ? 0 : -1;
}

static int put_process(int lock, unsigned number, pid_t pid, const char *program)
{
    struct process process = {0};
    char text[LINE_BYTES] = "";

    if (pid > 0 && look(pid, &process) == 0)
        snprintf(text, sizeof text, "%d %" PRIu64 " %s", (int)pid, process.start, program);
    return put_line(lock, number, text);
}

int holders_begin(int lock, struct err *err)
{
    char text[LINE_BYTES];

    scope(text);
    if (ftruncate(lock, 0) < 0 || put_line(lock, 0, text) < 0 ||
        put_process(lock, 1, getpid(), SUPERVISOR_PROGRAM) < 0)
        return err_errno(err, "writing the lock file");
    return 0;
}

void holders_put(int lock, unsigned slot, pid_t pid, const char *program)
{
    if (put_process(lock, 2 + slot, pid, program) < 0)
        return; /* a full disk is no reason to stop working */
}

/* --- reading -------------------------------------------------------------------------------------- */

bool holders_read(int lock, struct holder holder[HOLDERS_MAX])
{
    char line[LINE_BYTES + 1] = "", ours[LINE_BYTES];
    size_t length;

    memset(holder, 0, HOLDERS_MAX * sizeof holder[0]);
    scope(ours);
    length = strlen(ours);
    if (pread(lock, line, LINE_BYTES, 0) != LINE_BYTES || strncmp(line, ours, length) != 0 ||
        line[length] != ' ')
        return false;
    for (unsigned i = 0; i < HOLDERS_MAX; i++) {
        if (pread(lock, line, LINE_BYTES, (off_t)(1 + i) * LINE_BYTES) != LINE_BYTES)
            break;
        if (sscanf(line, "%d %" SCNu64 " %31s", &holder[i].pid, &holder[i].start,
                   holder[i].program) != 3)
            holder[i].pid = 0;
    }
    return true;
}

bool holder_lives(const struct holder *holder)
{
    struct process process;

    return holder->pid > 0 && look(holder->pid, &process) == 0 && process.start == holder->start &&
           process.state != 'Z' && process.state != 'X';
}

/* Its program is the recorded one; or still ours, between fork and exec; or may not be known. */
static bool program_fits(const struct holder *holder)
{
    static const char replaced[] = " (deleted)"; /* an upgrade took the file away */
    char path[40], target[PATH_MAX];
    const char *name;
    ssize_t length;

    snprintf(path, sizeof path, "/proc/%d/exe", (int)holder->pid);
    length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return errno == EACCES || errno == EPERM;
    target[length] = '\0';
    if ((size_t)length > strlen(replaced) &&
        strcmp(target + length - strlen(replaced), replaced) == 0)
        target[(size_t)length - strlen(replaced)] = '\0';
    name = strrchr(target, '/');
    name = name != NULL ? name + 1 : target;
    return strcmp(name, holder->program) == 0 || strcmp(name, SUPERVISOR_PROGRAM) == 0;
}

int holder_kill(const struct holder *holder, struct err *err)
{
    int fd, outcome = 0;

    if (holder->pid <= 1 || holder->pid == getpid())
        return err_set(err, "pid %d is not a worker's", (int)holder->pid);
    fd = pidfd_open(holder->pid, 0);
    if (fd < 0)
        return err_errno(err, "pid %d", (int)holder->pid);
    /* From here on the descriptor means one process; what is read of the pid now is that one's, or the
     * process behind the descriptor is gone and the signal reaches nobody. */
    if (!holder_lives(holder) || !program_fits(holder))
        outcome = err_set(err, "pid %d is another process by now", (int)holder->pid);
    else if (pidfd_send_signal(fd, SIGKILL, NULL, 0) < 0)
        outcome = err_errno(err, "killing pid %d", (int)holder->pid);
    close(fd);
    return outcome;
}
