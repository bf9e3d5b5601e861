/*
 * listen.c - the listening sockets that outlive the workers that accept on them.  See listen.h.
 *
 * Owns the descriptors and the files of those it made itself; a file that lies at a path is taken away only
 * when it is a socket that nobody answers at.  Nothing is accepted here: a connection waits in the backlog
 * until a worker takes it.  If we die on any line, orphans accept until they have left, and the next
 * supervisor finds a stale file, or an address that is free.
 */
#include "supervisor/listen.h"

#include "common/base/clock.h"
#include "common/harness/roster.h"
#include "supervisor/activation.h"

#include <errno.h>
#include <ifaddrs.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */
#define LETTING_GO_MS 2000
#define LOOK_AGAIN_MS 20
#define MODE 0660

#define IN(field) offsetof(struct settings, field)
#define OPEN_TO_ALL SIZE_MAX

static const struct row {
    const char *worker; /* row of the roster */
    const char *setting;
    size_t endpoint, guard, connections; /* in struct settings */
    const char *guarded_by; /* what must be set where other machines reach it; `guard` is that */
    bool http;
} rows[LISTENERS_MAX] = {
    {"aggregator", "ingest.acked", IN(ingest_acked), IN(ingest_curve_certificate),
     IN(ingest_max_connections), "CURVE (ingest.curve_certificate)", false},
    {"aggregator", "ingest.unacked", IN(ingest_unacked), IN(ingest_curve_certificate),
     IN(ingest_max_connections), "CURVE (ingest.curve_certificate)", false},
    {"gateway", "http.ingest_listen", IN(http_ingest_listen), IN(http_tokens),
     IN(http_max_connections), "a token (http.tokens)", true},
    {"gateway", "http.status_listen", IN(http_status_listen), OPEN_TO_ALL,
     IN(http_max_status_connections), NULL, true},
};

static const char *text_of(const struct settings *settings, size_t offset)
{
    return (const char *)settings + offset;
}

/* --- making one ----------------------------------------------------------------------------------- */

/* Its first address, IPv4 if it has one. */
static int interface_address(const char *name, struct endpoint *endpoint, struct err *err)
{
    struct ifaddrs *list, *at;

    if (getifaddrs(&list) < 0)
        return err_errno(err, "looking for the interface %s", name);
    for (at = list; at != NULL; at = at->ifa_next) {
        if (at->ifa_addr == NULL || strcmp(at->ifa_name, name) != 0)
            continue;
        if (at->ifa_addr->sa_family == AF_INET) {
            endpoint->kind = ENDPOINT_TCP4;
            endpoint->ip4 = ((const struct sockaddr_in *)(const void *)at->ifa_addr)->sin_addr;
            break;
        }
        if (at->ifa_addr->sa_family == AF_INET6 && endpoint->kind == ENDPOINT_INTERFACE) {
            endpoint->kind = ENDPOINT_TCP6;
            endpoint->ip6 = ((const struct sockaddr_in6 *)(const void *)at->ifa_addr)->sin6_addr;
        }
    }
    freeifaddrs(list);
    if (endpoint->kind == ENDPOINT_INTERFACE)
        return err_set(err, "there is no interface %s with an address (a host name cannot be listened on)",
                       name);
    return 0;
}

/* Does anybody answer there?  A full backlog is an answer. */
static bool answered(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool there = fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
                             errno == EAGAIN);

    if (fd >= 0)
        close(fd);
    return there;
}

static int bind_path(int fd, const struct endpoint *endpoint)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    mode_t before;
    int result;

    memcpy(address.sun_path, endpoint->path, strlen(endpoint->path) + 1);
    if (lstat(endpoint->path, &st) == 0) {
        errno = EEXIST;
        if (!S_ISSOCK(st.st_mode))
            return -1;
        errno = EADDRINUSE;
        if (answered(&address) || unlink(endpoint->path) < 0)
            return -1;
    }
    /* By umask and not by chmod: there is no moment with another mode. */
    before = umask(~MODE & 0777);
    result = bind(fd, (const struct sockaddr *)&address, sizeof address);
    umask(before);
    return result;
}

static int bind_tcp(int fd, const struct endpoint *endpoint)
{
    const struct sockaddr_in ip4 = {
        .sin_family = AF_INET, .sin_port = htons(endpoint->port), .sin_addr = endpoint->ip4};
    const struct sockaddr_in6 ip6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(endpoint->port), .sin6_addr = endpoint->ip6};
    int yes = 1, no = 0;

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0)
        return -1;
    if (endpoint->kind == ENDPOINT_TCP4)
        return bind(fd, (const struct sockaddr *)&ip4, sizeof ip4);
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no) < 0) /* [::] is IPv4 as well */
        return -1;
    return bind(fd, (const struct sockaddr *)&ip6, sizeof ip6);
}

/* -1 with EADDRINUSE: somebody has it. */
static int make_one(const struct endpoint *endpoint)
{
    static const int family[] = {
        [ENDPOINT_IPC] = AF_UNIX, [ENDPOINT_TCP4] = AF_INET, [ENDPOINT_TCP6] = AF_INET6};
    int fd = socket(family[endpoint->kind], SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), saved;

    if (fd < 0)
        return -1;
    if ((endpoint->kind == ENDPOINT_IPC ? bind_path(fd, endpoint) : bind_tcp(fd, endpoint)) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* A worker that dies lets go of the lock on runtime_dir before its sockets, and nothing tells when the last
 * of them has gone: look again for a moment. */
static int make_soon(const struct endpoint *endpoint)
{
    mono_t until = mono_after_ms(mono_now(), LETTING_GO_MS);
    int fd = make_one(endpoint);

    while (fd < 0 && errno == EADDRINUSE && !mono_reached(mono_now(), until)) {
        poll(NULL, 0, LOOK_AGAIN_MS);
        fd = make_one(endpoint);
    }
    return fd;
}

/* --- all of them ---------------------------------------------------------------------------------- */

/* What systemd was configured with must not be wider than what we were. */
static int check_lent(int fd, const struct row *row, const struct endpoint *wanted, bool guarded,
                      struct err *err)
{
    struct endpoint lent;

    if (activation_address(fd, &lent) < 0 || endpoint_is_tcp(&lent) != endpoint_is_tcp(wanted))
        return err_set(err, "%s: the socket from systemd is of another kind (Unix or tcp) than the setting",
                       row->setting);
    if (!guarded && !lent.loopback)
        return err_set(err, "%s: the socket from systemd is reached from other machines and needs %s",
                       row->setting, row->guarded_by);
    return 0;
}

static bool guarded(const struct row *row, const struct settings *settings)
{
    return row->guard == OPEN_TO_ALL || text_of(settings, row->guard)[0] != '\0';
}

static int open_one(struct listeners *listeners, unsigned number, const struct settings *settings,
                    struct activation *activation, struct err *err)
{
    const struct row *row = &rows[number];
    const char *text = text_of(settings, row->endpoint);
    struct endpoint endpoint;
    int *fd = &listeners->fd[number];

    if (strcmp(text, "off") == 0)
        return 0;
    if ((row->http ? endpoint_read_http : endpoint_read)(text, &endpoint, err) < 0)
        return -2;
    *fd = activation_take(activation, row->setting, &endpoint);
    if (*fd >= 0)
        return check_lent(*fd, row, &endpoint, guarded(row, settings), err) < 0 ? -2 : 0;
    if (endpoint.kind == ENDPOINT_INTERFACE && interface_address(endpoint.path, &endpoint, err) < 0)
        return -1;
    *fd = make_soon(&endpoint);
    if (*fd < 0 && errno == EEXIST)
        return err_set(err, "%s: %s exists and is not a socket", row->setting, endpoint.path);
    if (*fd < 0 && errno == EADDRINUSE)
        return err_set(err, "%s: somebody else listens at %s", row->setting, text);
    if (*fd < 0)
        return err_errno(err, "%s: cannot listen at %s", row->setting, text);
    if (endpoint.kind == ENDPOINT_IPC)
        memcpy(listeners->path[number], endpoint.path, sizeof endpoint.path);
    return 0;
}

int listen_open(struct listeners *listeners, const struct settings *settings, struct err *err)
{
    struct activation activation;
    int result = activation_read(&activation, err) < 0 ? -2 : 0;

    memset(listeners, 0, sizeof *listeners);
    for (unsigned i = 0; i < LISTENERS_MAX; i++)
        listeners->fd[i] = -1;
    for (unsigned i = 0; i < LISTENERS_MAX && result == 0; i++)
        result = open_one(listeners, i, settings, &activation, err);
    activation_end(&activation);
    if (result != 0)
        listen_close(listeners);
    return result;
}

unsigned listen_give(const struct listeners *listeners, unsigned row, int fds[LISTENERS_MAX])
{
    unsigned count = 0;

    for (unsigned i = 0; i < LISTENERS_MAX; i++)
        if (listeners->fd[i] >= 0 && strcmp(rows[i].worker, roster_table[row].name) == 0)
            fds[count++] = listeners->fd[i];
    return count;
}

int64_t listen_files(const struct settings *settings, unsigned row)
{
    int64_t most = 0;

    for (unsigned i = 0; i < LISTENERS_MAX; i++)
        if (strcmp(rows[i].worker, roster_table[row].name) == 0) {
            int64_t connections;

            memcpy(&connections, (const char *)settings + rows[i].connections, sizeof connections);
            /* The aggregator's two share their bound, HTTP's have one each. */
            most = rows[i].http ? most + connections : connections;
        }
    return most > 0 ? most + LISTEN_FILES_BESIDES : 0;
}

void listen_close(struct listeners *listeners)
{
    for (unsigned i = 0; i < LISTENERS_MAX; i++) {
        if (listeners->fd[i] >= 0)
            close(listeners->fd[i]);
        if (listeners->path[i][0] != '\0')
            unlink(listeners->path[i]);
        listeners->fd[i] = -1;
        listeners->path[i][0] = '\0';
    }
}
