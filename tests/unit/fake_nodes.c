/*
 * fake_nodes.c - nodes that say what they are told to say.  See fake_nodes.h.
 *
 * A process for each node and one for each of its connections, which all die with the test.  The
 * sockets are opened before, so that every node may name every other's port.
 */
#include "tests/unit/fake_nodes.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int listen_somewhere(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(fd, 32), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

/* A command's words with blanks between; false: the end. */
static bool read_command(FILE *from, char *text, size_t size)
{
    char line[256];
    int words, length;

    text[0] = '\0';
    if (fgets(line, sizeof line, from) == NULL || sscanf(line, "*%d", &words) != 1)
        return false;
    for (int i = 0; i < words; i++) {
        size_t used = strlen(text);

        if (fgets(line, sizeof line, from) == NULL || sscanf(line, "$%d", &length) != 1)
            return false;
        if (i > 0 && used + 1 < size)
            text[used++] = ' ';
        for (int j = 0; j < length + 2; j++) {
            int c = fgetc(from);

            if (j < length && used + 1 < size)
                text[used++] = (char)c;
        }
        text[used] = '\0';
    }
    return true;
}

static void answer(FILE *to, const struct fake_nodes *nodes, const char *reply)
{
    for (const char *c = reply; *c != '\0'; c++) {
        if (c[0] == '@') {
            c++;
            fprintf(to, "%d", *c == 'x' ? nodes->dead_port : nodes->port[*c - 'a']);
        } else {
            fputc(*c, to);
        }
    }
    fputs("\r\n", to);
    fflush(to);
}

static void serve(int fd, const struct fake_nodes *nodes, const struct fake_line *lines)
{
    FILE *from = fdopen(fd, "r"), *to = fdopen(dup(fd), "w");
    char command[1024];
    bool asking = false;

    while (read_command(from, command, sizeof command)) {
        const char *reply = "+OK";
        bool was = asking;

        asking = strcmp(command, "ASKING") == 0;
        for (const struct fake_line *line = lines; line->command != NULL; line++) {
            if (strncmp(command, line->command, strlen(line->command)) != 0)
                continue;
            reply = was && line->asking != NULL ? line->asking : line->reply;
            break;
        }
        answer(to, nodes, reply);
    }
    _exit(0);
}

void fake_node_start(struct fake_nodes *nodes, int node, const struct fake_line *lines)
{
    nodes->pid[node] = fork();
    if (nodes->pid[node] != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = accept(nodes->listener[node], NULL, NULL);

        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            serve(fd, nodes, lines);
        }
        close(fd);
    }
}

void fake_nodes_init(struct fake_nodes *nodes)
{
    memset(nodes, 0, sizeof *nodes);
    for (int i = 0; i < FAKE_NODES; i++)
        nodes->listener[i] = listen_somewhere(&nodes->port[i]);
    close(listen_somewhere(&nodes->dead_port));
}

void fake_nodes_cleanup(struct fake_nodes *nodes)
{
    for (int i = 0; i < FAKE_NODES; i++) {
        close(nodes->listener[i]);
        if (nodes->pid[i] > 0) {
            kill(nodes->pid[i], SIGKILL);
            waitpid(nodes->pid[i], NULL, 0);
        }
    }
}
