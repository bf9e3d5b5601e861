/*
 * bus_crowd.c - a bound on connections.  See bus_crowd.h.
 *
 * Connections are libzmq's: it says neither how many there are nor lets us close one, its monitor may block
 * its I/O thread for ever when nobody reads, and a socket that stops listening (zmq_unbind) loses all
 * connections that it has accepted (measured, 4.3.4).  But each is a descriptor of ours, and the kernel
 * gives the lowest free number: while a number below the bound is free, nobody is above it, and one dup
 * tells.  Otherwise every stream socket with a number above the bound is one too many: it is shut down, and
 * libzmq sees its end.  Files that we open meanwhile are no sockets, and the channels between our own
 * processes are spared.
 *
 * Half-open connections count too; they end by themselves (ZMQ_HANDSHAKE_IVL).
 * If we die on any line all connections end, and the next life counts from nothing.
 */
#include "common/bus/bus_crowd.h"

#include "common/bus/bus_socket.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FILES_BESIDES 256 /* our own: segments, timers, the bus */
#define FILES_MOST (1U << 20)

static unsigned files_allowed(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > FILES_MOST)
        return FILES_MOST;
    return (unsigned)limit.rlim_cur;
}

/* The lowest free number; what is allowed, when none is. */
static unsigned lowest_free(void)
{
    int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return files_allowed();
    close(fd);
    return (unsigned)fd;
}

unsigned bus_crowd_bound(struct bus *bus, unsigned connections)
{
    unsigned own = lowest_free(), allowed = files_allowed();

    if (own + connections + FILES_BESIDES > allowed)
        connections = allowed > own + 2 * FILES_BESIDES ? allowed - own - FILES_BESIDES : FILES_BESIDES;
    bus->files_most = own + connections;
    return connections;
}

static bool within(const struct bus *bus, const struct sockaddr_un *address)
{
    return address->sun_family == AF_UNIX &&
           strncmp(address->sun_path, bus->directory, strlen(bus->directory)) == 0;
}

/* One end of a channel: here as the reader that accepted it, or as the writer that connected. */
static bool is_channel(const struct bus *bus, int fd)
{
    struct sockaddr_un here = {.sun_path = ""}, there = {.sun_path = ""};
    socklen_t size = sizeof here - 1;

    if (getsockname(fd, (struct sockaddr *)&here, &size) == 0 && within(bus, &here))
        return true;
    size = sizeof there - 1;
    return getpeername(fd, (struct sockaddr *)&there, &size) == 0 && within(bus, &there);
}

unsigned bus_crowd_turn_away(struct bus *bus)
{
    unsigned away = 0, allowed;

    if (bus->files_most == 0 || lowest_free() < bus->files_most)
        return 0;
    allowed = files_allowed();
    for (unsigned fd = bus->files_most; fd < allowed; fd++)
        if (!is_channel(bus, (int)fd) && shutdown((int)fd, SHUT_RDWR) == 0)
            away++;
    return away;
}
