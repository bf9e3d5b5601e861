/*
 * activation.c - sockets that systemd opened for us.  See activation.h.
 *
 * The protocol is three variables and descriptors from 3 on (sd_listen_fds(3)); libsystemd is not needed for
 * it.  The variables are removed: they are about this process and no other.  If we die on any line, systemd
 * still holds the sockets, and who connects waits for our next start.
 */
#include "supervisor/activation.h"

#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FD_FIRST 3

static long number(const char *variable)
{
    const char *text = getenv(variable);
    char *end;
    long value = text != NULL ? strtol(text, &end, 10) : -1;

    return text == NULL || end == text || *end != '\0' ? -1 : value;
}

static void read_names(struct activation *activation)
{
    const char *names = getenv("LISTEN_FDNAMES");

    for (unsigned i = 0; i < activation->count && names != NULL; i++) {
        size_t bytes = strcspn(names, ":");

        snprintf(activation->name[i], sizeof activation->name[i], "%.*s", (int)bytes, names);
        names = names[bytes] == ':' ? names + bytes + 1 : NULL;
    }
}

/* Ours alone from here on, and never waited on in accept: several of us may be woken for one connection. */
static int prepare(int fd, struct err *err)
{
    int listening = 0, type = 0, flags = fcntl(fd, F_GETFL);
    socklen_t size = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || !listening || type != SOCK_STREAM)
        return err_set(err, "descriptor %d (LISTEN_FDS) is not a listening stream socket", fd);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_errno(err, "descriptor %d (LISTEN_FDS)", fd);
    return 0;
}

int activation_read(struct activation *activation, struct err *err)
{
    long count = number("LISTEN_FDS");
    int result = 0;

    memset(activation, 0, sizeof *activation);
    if (number("LISTEN_PID") != getpid() || count <= 0)
        return 0;
    if (count > ACTIVATION_MAX)
        return err_set(err, "LISTEN_FDS=%ld: the most is %d", count, ACTIVATION_MAX);
    activation->count = (unsigned)count;
    read_names(activation);
    for (unsigned i = 0; i < activation->count && result == 0; i++) {
        activation->fd[i] = FD_FIRST + (int)i;
        result = prepare(activation->fd[i], err);
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return result;
}

int activation_address(int fd, struct endpoint *endpoint)
{
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_in ip4;
        struct sockaddr_in6 ip6;
    } address = {.un = {.sun_path = ""}};
    socklen_t size = sizeof address - 1; /* so that a path of full length ends */

    memset(endpoint, 0, sizeof *endpoint);
    if (getsockname(fd, &address.any, &size) < 0)
        return -1;
    if (address.any.sa_family == AF_UNIX) {
        endpoint->kind = ENDPOINT_IPC;
        endpoint->loopback = true;
        snprintf(endpoint->path, sizeof endpoint->path, "%s", address.un.sun_path);
    } else if (address.any.sa_family == AF_INET) {
        endpoint->kind = ENDPOINT_TCP4;
        endpoint->ip4 = address.ip4.sin_addr;
        endpoint->port = ntohs(address.ip4.sin_port);
        endpoint->loopback = endpoint_ip4_loopback(endpoint->ip4);
    } else if (address.any.sa_family == AF_INET6) {
        endpoint->kind = ENDPOINT_TCP6;
        endpoint->ip6 = address.ip6.sin6_addr;
        endpoint->port = ntohs(address.ip6.sin6_port);
        endpoint->loopback = endpoint_ip6_loopback(&endpoint->ip6);
    } else {
        return -1;
    }
    return 0;
}

static bool bound_to(int fd, const struct endpoint *wanted)
{
    struct endpoint found;

    return activation_address(fd, &found) == 0 && found.kind == wanted->kind &&
           found.port == wanted->port && strcmp(found.path, wanted->path) == 0 &&
           memcmp(&found.ip4, &wanted->ip4, sizeof found.ip4) == 0 &&
           memcmp(&found.ip6, &wanted->ip6, sizeof found.ip6) == 0;
}

int activation_take(struct activation *activation, const char *name, const struct endpoint *endpoint)
{
    unsigned found = activation->count;
    int fd;

    for (unsigned i = activation->count; i-- > 0;)
        if (activation->fd[i] >= 0 && bound_to(activation->fd[i], endpoint))
            found = i;
    for (unsigned i = activation->count; i-- > 0;) /* a name is stronger */
        if (activation->fd[i] >= 0 && strcmp(activation->name[i], name) == 0)
            found = i;
    if (found == activation->count)
        return -1;
    fd = activation->fd[found];
    activation->fd[found] = -1;
    log_info("socket_taken", "from=systemd setting=%s name=\"%s\"", name, activation->name[found]);
    return fd;
}

void activation_end(struct activation *activation)
{
    for (unsigned i = 0; i < activation->count; i++) {
        if (activation->fd[i] < 0)
            continue;
        log_warn("socket_unused", "from=systemd name=\"%s\" descriptor=%d hint=\"FileDescriptorName= is the "
                 "name of a setting, such as ingest.acked\"", activation->name[i], activation->fd[i]);
        close(activation->fd[i]);
    }
    activation->count = 0;
}
