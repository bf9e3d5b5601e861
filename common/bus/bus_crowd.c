/*
 * bus_crowd.c - a bound on connections.  See bus_crowd.h.
 *
 * Connections are libzmq's: it says neither how many there are nor lets us close one, its monitor may block
 * its I/O thread for ever when nobody reads, and a socket that stops listening (zmq_unbind) loses all
 * connections that it has accepted (measured, 4.3.4).  But each is a descriptor of ours, and the kernel
 * gives the lowest free number: while a number below the bound is free, nobody is above it, and one dup
 * tells.  Otherwise every stream socket with a number above the bound is one too many: it is shut down, and
 * libzmq sees its end.  Spared is what nobody came to us by: files, connections that we made ourselves (to
 * Redis), and the channels between our own processes.
 *
 * Half-open connections count too; they end by themselves (ZMQ_HANDSHAKE_IVL).
 * If we die on any line all connections end, and the next life counts from nothing.
 */
#include "common/bus/bus_crowd.h"

#include "common/bus/bus_socket.h"

#include <fcntl.h>
#include <netinet/in.h>
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

/* A stream socket's own address; false: it has none that says anything, or is no socket at all. */
static bool local_address(int fd, struct sockaddr_storage *address)
{
    socklen_t size = sizeof *address;
    int type = 0;
    socklen_t type_size = sizeof type;

    memset(address, 0, sizeof *address);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) == 0 && type == SOCK_STREAM &&
           getsockname(fd, (struct sockaddr *)address, &size) == 0 && size > sizeof(sa_family_t);
}

/* Of a channel between our own processes. */
static bool is_private(const struct bus *bus, const struct sockaddr_storage *address)
{
    const struct sockaddr_un *un = (const void *)address;

    return address->ss_family == AF_UNIX &&
           strncmp(un->sun_path, bus->directory, strlen(bus->directory)) == 0;
}

/* Where strangers come in; the addresses are few and stay. */
static void note_listeners(struct bus *bus)
{
    unsigned allowed = files_allowed();

    bus->listenings = 0;
    for (unsigned fd = 0; fd < allowed && bus->listenings < COUNT_OF(bus->listening); fd++) {
        struct sockaddr_storage *address = &bus->listening[bus->listenings];
        int listens = 0;
        socklen_t size = sizeof listens;

        if (getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0 &&
            local_address((int)fd, address) && !is_private(bus, address))
            bus->listenings++;
    }
}

static bool same_place(const struct sockaddr_storage *one, const struct sockaddr_storage *two)
{
    const struct sockaddr_in *in[2] = {(const void *)one, (const void *)two};
    const struct sockaddr_in6 *in6[2] = {(const void *)one, (const void *)two};

    if (one->ss_family != two->ss_family)
        return false;
    if (one->ss_family == AF_INET)
        return in[0]->sin_port == in[1]->sin_port;
    if (one->ss_family == AF_INET6)
        return in6[0]->sin6_port == in6[1]->sin6_port;
    return memcmp(one, two, sizeof(struct sockaddr_un)) == 0;
}

/* Did somebody come to us by it? */
static bool is_accepted(const struct bus *bus, int fd)
{
    struct sockaddr_storage address;

    if (!local_address(fd, &address))
        return false;
    for (unsigned i = 0; i < bus->listenings; i++)
        if (same_place(&bus->listening[i], &address))
            return true;
    return false;
}

unsigned bus_crowd_bound(struct bus *bus, unsigned connections)
{
    unsigned own = lowest_free(), allowed = files_allowed();

    note_listeners(bus);
    if (own + connections + FILES_BESIDES > allowed)
        connections = allowed > own + 2 * FILES_BESIDES ? allowed - own - FILES_BESIDES : FILES_BESIDES;
    bus->files_most = own + connections;
    return connections;
}

unsigned bus_crowd_turn_away(struct bus *bus)
{
    unsigned away = 0, allowed;

    if (bus->files_most == 0 || lowest_free() < bus->files_most)
        return 0;
    allowed = files_allowed();
    for (unsigned fd = bus->files_most; fd < allowed; fd++)
        if (is_accepted(bus, (int)fd) && shutdown((int)fd, SHUT_RDWR) == 0)
            away++;
    return away;
}
