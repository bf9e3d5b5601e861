/*
 * redis_link.c - the transport under the protocol: a non-blocking stream, TCP or Unix, with TLS
 * (redis_tls.c) or without.
 *
 * Owns the socket and its TLS session.  A peer that vanished without a FIN is found by keepalive
 * (60 s, each 30 s, three times) when idle and by TCP_USER_TIMEOUT while bytes of ours are
 * unanswered. If we die on any line: what was written may or may not arrive; callers treat both
 * alike.
 */
#include "common/redis/redis_link.h"

#include "common/redis/redis_tls.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define KEEP_IDLE_S 60
#define KEEP_INTERVAL_S 30
#define KEEP_PROBES 3
#define RECORD_BYTES (16 * 1024) /* of TLS, at most */

int link_address_local(const char *path, struct address *to, struct err *err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof un.sun_path)
        return err_set(err, "the socket path of Redis is too long");
    memcpy(un.sun_path, path, strlen(path));
    memset(&to->at, 0, sizeof to->at);
    memcpy(&to->at, &un, sizeof un);
    to->length = sizeof un;
    return 0;
}

static int tune(int fd, int64_t user_timeout_ms)
{
    int timeout = user_timeout_ms > INT_MAX ? INT_MAX : (int)user_timeout_ms;
    const struct {
        int level, name, value;
    } option[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEP_PROBES},
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, timeout},
    };

    for (size_t i = 0; i < COUNT_OF(option); i++)
        if (setsockopt(fd, option[i].level, option[i].name, &option[i].value, sizeof(int)) != 0)
            return -1;
    return 0;
}

static int refuse(struct redis_link *link, enum redis_refusal refusal, struct err *err,
                  const char *what)
{
    link->refused = refusal;
    return err_errno(err, "%s", what);
}

int link_open(struct redis_link *link, const struct address *to, int64_t user_timeout_ms,
              struct err *err)
{
    int family = to->at.ss_family;

    link->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0)
        return refuse(link, REDIS_REFUSED_resources, err, "no socket for Redis");
    if (family != AF_UNIX && tune(link->fd, user_timeout_ms) != 0) {
        refuse(link, REDIS_REFUSED_resources, err, "cannot set the options of Redis' socket");
        link_close(link);
        return -1;
    }
    /* EAGAIN: a Unix socket whose backlog is full.  It will not become writable: try again
     * later. */
    if (connect(link->fd, (const struct sockaddr *)&to->at, to->length) != 0 &&
        errno != EINPROGRESS) {
        refuse(link, REDIS_REFUSED_unreachable, err, "cannot connect to Redis");
        link_close(link);
        return -1;
    }
    return 0;
}

int link_connected(struct redis_link *link, struct err *err)
{
    int code = 0;
    socklen_t size = sizeof code;

    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0)
        code = errno;
    errno = code;
    return code == 0 ? 0 : refuse(link, REDIS_REFUSED_unreachable, err, "cannot connect to Redis");
}

void link_close(struct redis_link *link)
{
    tls_close(&link->tls);
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
}

int link_secure(struct redis_link *link, const struct redis_tls *options, const char *host,
                struct err *err)
{
    link->tls = tls_open(link->fd, options, host, &link->refused, err);
    return link->tls != NULL ? 0 : -1;
}

int link_handshake(struct redis_link *link, struct err *err)
{
    int result = tls_handshake(link->tls, err);

    if (result < 0)
        link->refused = tls_refused(link->tls);
    return result;
}

short link_events(const struct redis_link *link, bool to_write)
{
    if (link->tls != NULL)
        return tls_events(link->tls, to_write);
    return to_write ? POLLIN | POLLOUT : POLLIN;
}

bool link_pending(const struct redis_link *link)
{
    return link->tls != NULL && tls_pending(link->tls);
}

/* --- bytes ---------------------------------------------------------------------------------- */

static int64_t read_tls(struct redis_link *link, void *to, size_t size, struct err *err)
{
    int64_t got = tls_read(link->tls, to, size, err);

    if (got < 0)
        link->refused = tls_refused(link->tls);
    return got;
}

int64_t link_read(struct redis_link *link, void *to, size_t size, struct err *err)
{
    ssize_t got;

    if (link->tls != NULL)
        return read_tls(link, to, size, err);
    got = recv(link->fd, to, size, 0);
    if (got > 0)
        return got;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (got < 0)
        return refuse(link, REDIS_REFUSED_closed, err, "cannot read from Redis");
    link->refused = REDIS_REFUSED_closed;
    return err_set(err, "Redis closed the connection");
}

/* One record at a time.  Small pieces share one: a repetition then begins with the same bytes and has
 * as many or more, which is what TLS asks for. */
static int64_t write_tls(struct redis_link *link, const struct iovec *from, int count,
                         struct err *err)
{
    char record[RECORD_BYTES];
    const void *bytes = record;
    size_t size = 0;
    int64_t sent;

    while (count > 0 && from->iov_len == 0)
        from++, count--;
    if (count > 0 && from->iov_len >= sizeof record) {
        bytes = from->iov_base;
        size = sizeof record;
        count = 0;
    }
    for (; count > 0 && size < sizeof record; from++, count--) {
        size_t room = sizeof record - size;
        size_t length = from->iov_len < room ? from->iov_len : room;

        if (length > 0)
            memcpy(record + size, from->iov_base, length);
        size += length;
    }
    sent = size > 0 ? tls_write(link->tls, bytes, size, err) : 0;
    if (sent < 0)
        link->refused = tls_refused(link->tls);
    return sent;
}

int64_t link_write(struct redis_link *link, const struct iovec *from, int count, struct err *err)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)from,
                             .msg_iovlen = (size_t)count};
    ssize_t sent;

    if (link->tls != NULL)
        return write_tls(link, from, count, err);
    sent = sendmsg(link->fd, &message, MSG_NOSIGNAL);
    if (sent >= 0)
        return sent;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    return refuse(link, REDIS_REFUSED_closed, err, "cannot write to Redis");
}
