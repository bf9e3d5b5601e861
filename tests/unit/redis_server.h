/*
 * redis_server.h - a private redis-server for unit tests: on a Unix socket in a directory of its own,
 * or on TLS ports as well.  It dies with the test, whatever the test dies of.
 */
#ifndef SPENDD_TESTS_REDIS_SERVER_H
#define SPENDD_TESTS_REDIS_SERVER_H

#include <sys/types.h>

struct redis_server {
    char directory[32], path[48], url[72]; /* url: of the Unix socket, database 1 */
    pid_t pid;                             /* 0: not running */
};

/* Makes the directory; nothing runs yet. */
void redis_server_init(struct redis_server *server);

/* `more`: arguments for redis-server after ours, ended by NULL; NULL: none. */
void redis_server_start(struct redis_server *server, const char *const *more);
void redis_server_stop(struct redis_server *server); /* SIGKILL */
void redis_server_cleanup(struct redis_server *server);

#endif
