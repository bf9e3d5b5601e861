/*
 * redis_server.c - a private redis-server for unit tests.  See redis_server.h.
 */
#include "tests/unit/redis_server.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ARGUMENTS_MAX 48

void redis_server_init(struct redis_server *server)
{
    memset(server, 0, sizeof *server);
    strcpy(server->directory, "/tmp/red-XXXXXX");
    assert_non_null(mkdtemp(server->directory));
    snprintf(server->path, sizeof server->path, "%s/r.sock", server->directory);
    snprintf(server->url, sizeof server->url, "unix://%s?db=1", server->path);
}

void redis_server_start(struct redis_server *server, const char *const *more)
{
    const char *argv[ARGUMENTS_MAX + 1] = {"redis-server", "--unixsocket", server->path, "--save", "",
                                           "--dir", server->directory, "--port", "0"};
    size_t count = 9;

    for (; more != NULL && *more != NULL && count < ARGUMENTS_MAX; more++)
        argv[count++] = *more;
    server->pid = fork();
    if (server->pid == 0) {
        /* Dies with us, whatever we die of, and holds no descriptor that somebody waits for. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (freopen("/dev/null", "w", stdout) == NULL || freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
}

void redis_server_stop(struct redis_server *server)
{
    if (server->pid <= 0)
        return;
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

void redis_server_cleanup(struct redis_server *server)
{
    char command[64];

    redis_server_stop(server);
    snprintf(command, sizeof command, "rm -rf %s", server->directory);
    assert_int_equal(system(command), 0);
}
