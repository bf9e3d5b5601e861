/*
 * notify.c - sd_notify's protocol: datagrams of "NAME=value" lines to $NOTIFY_SOCKET.  See notify.h.
 *
 * An address that begins with '@' is an abstract one.  Owns one unconnected socket: whoever listens may
 * go and come back (systemd that is re-executed), so each datagram names its address.  Nothing here blocks:
 * a full queue is "not now".  If we die on any line systemd sees our end by itself.
 */
#include "supervisor/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Microseconds of $WATCHDOG_USEC, if they are meant for us; 0: not asked for, or no number. */
static int64_t watchdog_micros(void)
{
    const char *micros = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    long long value;
    char *end;

    if (micros == NULL || (pid != NULL && strtoll(pid, NULL, 10) != (long long)getpid()))
        return 0;
    errno = 0;
    value = strtoll(micros, &end, 10);
    return errno == 0 && end != micros && *end == '\0' && value > 0 ? value : 0;
}

static int set_address(struct notify *notify, const char *name, struct err *err)
{
    size_t length = strlen(name);

    if (name[0] != '/' && name[0] != '@')
        return err_set(err, "NOTIFY_SOCKET=%s is no path and no abstract name", name);
    if (length < 2 || length >= sizeof notify->address.sun_path)
        return err_set(err, "NOTIFY_SOCKET has %zu bytes, a socket's name 2 to %zu", length,
                       sizeof notify->address.sun_path - 1);
    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, name, length);
    if (name[0] == '@')
        notify->address.sun_path[0] = '\0';
    /* An abstract name is as long as it is said to be: no NUL at its end. */
    notify->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (name[0] == '/'));
    return 0;
}

int notify_open(struct notify *notify, struct err *err)
{
    const char *name = getenv("NOTIFY_SOCKET");
    int outcome = 0;

    memset(notify, 0, sizeof *notify);
    notify->fd = -1;
    notify->watchdog_ms = watchdog_micros() / 1000;
    if (name != NULL && name[0] != '\0') {
        outcome = set_address(notify, name, err);
        if (outcome == 0)
            notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (outcome == 0 && notify->fd < 0)
            outcome = err_errno(err, "socket for NOTIFY_SOCKET");
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return outcome;
}

bool notify_send(const struct notify *notify, const char *lines)
{
    if (notify->fd < 0)
        return true;
    return sendto(notify->fd, lines, strlen(lines), MSG_NOSIGNAL,
                  (const struct sockaddr *)&notify->address, notify->length) >= 0;
}
