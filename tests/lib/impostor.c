/*
 * impostor.c - a worker that does what a test tells it: the other end of fd 3, without any work.
 *
 * Born with the lines of <its executable>.born, told more by datagrams to <its executable>.sock:
 *   ready           says ready                       mute        (born only) says no hello
 *   exit N          leaves with that code            stranger    (born only) the hello has another pid
 *   silent, beat    stops beating, beats again       old         (born only) the hello has another build
 *   deaf            ignores what it is told on fd 3  tough       survives SIGABRT
 *   probe 0|1 TEXT  a result of the database probe
 * Told to drain it leaves with 0.  End of file on fd 3: leaves, whatever it was told.
 */
#include "common/msg/line.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BEAT_MS 100

struct impostor {
    struct line *line;
    bool silent, deaf;
};

static void say(struct impostor *impostor, struct msg record)
{
    if (line_send(impostor->line, &record) < 0)
        _exit(99);
}

static void say_hello(struct impostor *impostor, bool stranger, bool old)
{
    struct msg hello = {.kind = MSG_hello, .hello = {.pid = (uint32_t)getpid() + stranger}};

    snprintf(hello.hello.build, sizeof hello.hello.build, "%s", old ? "0.0.0-old" : BUILD_ID);
    say(impostor, hello);
}

static void say_probe(struct impostor *impostor, const char *words)
{
    struct msg probe = {.kind = MSG_probe, .probe = {.store = "database", .passed = words[0] == '1'}};

    snprintf(probe.probe.detail, sizeof probe.probe.detail, "%s", words[1] != '\0' ? words + 2 : "");
    say(impostor, probe);
}

static void obey(struct impostor *impostor, const char *order)
{
    if (strcmp(order, "ready") == 0)
        say(impostor, (struct msg){.kind = MSG_ready});
    else if (strncmp(order, "exit ", 5) == 0)
        _exit(atoi(order + 5));
    else if (strcmp(order, "silent") == 0)
        impostor->silent = true;
    else if (strcmp(order, "beat") == 0)
        impostor->silent = false;
    else if (strcmp(order, "deaf") == 0)
        impostor->deaf = true;
    else if (strcmp(order, "tough") == 0)
        signal(SIGABRT, SIG_IGN);
    else if (strncmp(order, "probe ", 6) == 0)
        say_probe(impostor, order + 6);
}

static void be_born(struct impostor *impostor, const char *self)
{
    char path[PATH_MAX + 8], order[300];
    bool mute = false, stranger = false, old = false;
    FILE *file;

    snprintf(path, sizeof path, "%s.born", self);
    for (int pass = 0; pass < 2; pass++) {
        file = fopen(path, "re");
        while (file != NULL && fgets(order, sizeof order, file) != NULL) {
            order[strcspn(order, "\n")] = '\0';
            mute |= strcmp(order, "mute") == 0;
            stranger |= strcmp(order, "stranger") == 0;
            old |= strcmp(order, "old") == 0;
            if (pass == 1)
                obey(impostor, order);
        }
        if (file != NULL)
            fclose(file);
        if (pass == 0 && !mute)
            say_hello(impostor, stranger, old);
    }
}

static int listen_at(const char *self)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if ((size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s.sock", self) >=
        sizeof address.sun_path)
        _exit(98);
    unlink(address.sun_path);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        _exit(97);
    return fd;
}

static void hear(struct impostor *impostor)
{
    struct msg record;
    struct err err;
    enum line_outcome outcome = line_receive(impostor->line, &record, &err);

    if (outcome == LINE_CLOSED)
        _exit(0);
    if (outcome == LINE_RECORD && !impostor->deaf && (record.kind == MSG_drain || record.kind == MSG_stop))
        _exit(0);
}

int main(void)
{
    struct impostor impostor = {.line = line_new(3)};
    char self[PATH_MAX] = "", order[300];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    struct pollfd polled[2] = {{.fd = 3, .events = POLLIN}, {.events = POLLIN}};

    if (impostor.line == NULL || length < 0)
        return 96;
    polled[1].fd = listen_at(self);
    be_born(&impostor, self);
    for (;;) {
        if (!impostor.silent)
            say(&impostor, (struct msg){.kind = MSG_beat});
        poll(polled, 2, BEAT_MS);
        /* The test first: what it said before an order came down fd 3 holds for that order. */
        while ((length = recv(polled[1].fd, order, sizeof order - 1, MSG_DONTWAIT)) > 0) {
            order[length] = '\0';
            obey(&impostor, order);
        }
        if (polled[0].revents != 0)
            hear(&impostor);
    }
}
