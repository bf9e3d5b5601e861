/*
 * task.c - see task.h.  `spendd --migrate` is db_flusher's task "migrate".
 *
 * The worker is started as the supervisor starts it - by descriptor, its settings on fd 3, an empty
 * environment - so that spendd itself links none of its libraries here either.  Takes no lock: a task may
 * run beside a living daemon.  If we die on any line, the worker reads end of file and leaves.
 */
#include "supervisor/task.h"

#include "common/harness/build.h"
#include "common/harness/harness.h"
#include "common/harness/roster.h"
#include "supervisor/spawn.h"
#include "supervisor/supervisor.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t start(struct slot *slot, const struct settings *settings, int theirs, struct err *err)
{
    const char *name = roster_table[slot->row].name;
    int page = stats_create(name, err), nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int fds[] = {theirs, page, nothing}; /* FD_LOCK: there is none to hold */
    struct spawn_order order = {.image = spawn_open(name, err),
                                .title = slot->name,
                                .fds = fds,
                                .fd_count = COUNT_OF(fds),
                                .data_bytes = settings->supervisor_data_limit_mb * 1024 * 1024};
    pid_t pid = -1;

    if (nothing < 0)
        err_errno(err, "/dev/null");
    else if (page >= 0 && order.image >= 0)
        pid = spawn(&order, err);
    close(page);
    close(nothing);
    close(order.image);
    return pid;
}

/* false: it is of another build, and gets no settings. */
static bool hear(struct slot *slot, const struct settings *settings, const char *task,
                 const struct msg *record)
{
    bool ours = record->kind != MSG_hello || strcmp(record->hello.build, build_id) == 0;

    if (!ours)
        snprintf(slot->status, sizeof slot->status, "the executable is of build %s, spendd of %s",
                 record->hello.build, build_id);
    else if (record->kind == MSG_hello)
        slot_send_settings(slot, settings, task);
    else if (record->kind == MSG_status)
        snprintf(slot->status, sizeof slot->status, "%s", record->status.text);
    return ours;
}

/* Its last status is the answer.  Returns when it has closed its end. */
static void talk(struct slot *slot, const struct settings *settings, const char *task)
{
    enum line_outcome outcome = LINE_EMPTY;
    struct msg record;
    struct err err;

    while (outcome != LINE_CLOSED) {
        struct pollfd line = {line_fd(slot->line), POLLIN, 0};

        if (line_waiting(slot->line))
            line.events |= POLLOUT;
        poll(&line, 1, -1);
        if (line.revents & POLLOUT)
            line_flush(slot->line);
        outcome = line_receive(slot->line, &record, &err);
        if (outcome == LINE_RECORD && !hear(slot, settings, task, &record))
            return;
    }
}

/* What a server said may hold anything: one line, without control characters. */
static void print(FILE *to, const char *text)
{
    for (; *text != '\0'; text++)
        fputc(iscntrl((unsigned char)*text) ? ' ' : *text, to);
    fputc('\n', to);
}

static int answer(const struct slot *slot, const char *task, int status)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_TEMPORARY;

    if (code == 0) {
        if (slot->status[0] != '\0')
            print(stdout, slot->status);
        return 0;
    }
    fprintf(stderr, "spendd --%s: ", task);
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s was killed by signal %d\n", slot->name, WTERMSIG(status));
    else
        print(stderr, slot->status[0] != '\0' ? slot->status : "failed, see above");
    return code;
}

int task_run(const struct settings *settings, const char *worker, const char *task)
{
    struct slot slot = {.row = (unsigned)roster_find(worker)};
    struct err err = {""};
    int pair[2], status = 0;

    signal(SIGPIPE, SIG_IGN);
    snprintf(slot.name, sizeof slot.name, "spendd: %s", worker);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        fprintf(stderr, "spendd --%s: socketpair: %s\n", task, strerror(errno));
        return EXIT_TEMPORARY;
    }
    slot.line = line_new(pair[0]);
    slot.pid = slot.line != NULL ? start(&slot, settings, pair[1], &err) : -1;
    close(pair[1]);
    if (slot.pid < 0) {
        fprintf(stderr, "spendd --%s: %s\n", task, slot.line != NULL ? err.text : "no memory");
        line_free(&slot.line);
        return EXIT_TEMPORARY;
    }
    talk(&slot, settings, task);
    line_free(&slot.line); /* a stranger of another build reads end of file now, and leaves */
    while (waitpid(slot.pid, &status, 0) < 0 && errno == EINTR) {
    }
    return answer(&slot, task, status);
}
