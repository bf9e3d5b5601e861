/*
 * http.c - one address that speaks HTTP: libmicrohttpd's daemon in our loop.  See http.h.
 *
 * Owns the daemon, which owns the connections.  The daemon has no thread: its epoll descriptor is watched,
 * and the look before the loop sleeps lets it run as long as it says that there is something to do.
 * The listening socket is the supervisor's; the daemon is given a descriptor of its own for it, so who
 * connects while we are away waits in the backlog.
 * libmicrohttpd knows no deadline of a whole request and no bound per address that could change: both are
 * ours (http_peer.c), by hanging up on the connection.
 * If we die on any line, whoever has no answer yet posts again.
 */
#include "workers/gateway/http_parts.h"

#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEM_BYTES_MAX 65536
#define SWEEP_MS 1000
#define STOP_TURNS 16 /* of the daemon, for last answers */

/* What libmicrohttpd has to say is about strangers' connections. */
static void PRINTF_LIKE(2, 0) on_log(void *arg, const char *format, va_list ap)
{
    char text[200];

    (void)arg;
    vsnprintf(text, sizeof text, format, ap);
    text[strcspn(text, "\n")] = '\0';
    log_debug("http_library", "text=\"%s\"", text);
}

static void NORETURN on_panic(void *arg, const char *file, unsigned line, const char *reason)
{
    (void)arg;
    bug("libmicrohttpd %s:%u: %s", file, line, reason != NULL ? reason : "");
}

/* --- turning ------------------------------------------------------------------------------------------ */

static void run(struct http *http)
{
    MHD_UNSIGNED_LONG_LONG ms;

    if (http->daemon == NULL)
        return;
    http->again = false;
    MHD_run(http->daemon);
    /* At its bound of connections libmicrohttpd stops listening, and sees that there is room again at the beginning of
     * a run: when the last one was closed in this one, nothing else would let it run, ever. */
    if (http->again)
        timer_in_ms(http->soon, 0);
    else if (MHD_get_timeout(http->daemon, &ms) != MHD_YES)
        timer_stop(http->soon);
    else
        timer_in_ms(http->soon, ms < 3600000 ? (int64_t)ms : 3600000);
}

static void on_ready(void *arg, short revents)
{
    (void)revents;
    run(arg);
}

static void on_sweep(void *arg)
{
    struct http *http = arg;

    peers_sweep(http);
    timer_in_ms(http->sweep, SWEEP_MS);
}

static void on_soon(void *arg)
{
    run(arg);
}

void http_wake(struct http *http)
{
    http->again = true;
    timer_in_ms(http->soon, 0);
}

/* --- opening ------------------------------------------------------------------------------------------ */

/* A PEM file, NUL-terminated; NULL: it cannot be read. */
static char *read_pem(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    char *text = calloc(1, PEM_BYTES_MAX);
    ssize_t got = fd < 0 || text == NULL ? -1 : read(fd, text, PEM_BYTES_MAX - 1);

    if (got < 0)
        err_errno(err, "%s", path);
    if (fd >= 0)
        close(fd);
    if (got > 0)
        return text;
    if (got == 0)
        err_set(err, "%s is empty", path);
    free(text);
    return NULL;
}

struct start {
    int listener;
    unsigned flags, connections;
    char *certificate, *key;
};

static void start_daemon(struct http *http, const struct start *start)
{
    const struct settings *s = http->gateway->settings;
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, start->certificate},
                                   {MHD_OPTION_HTTPS_MEM_KEY, 0, start->key},
                                   {MHD_OPTION_END, 0, NULL}};

    http->daemon = MHD_start_daemon(
        start->flags, 0, peer_admit, http, request_part, http, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, start->listener, MHD_OPTION_CONNECTION_LIMIT, start->connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)s->http_max_header_bytes, MHD_OPTION_NOTIFY_CONNECTION,
        peer_notify, http, MHD_OPTION_NOTIFY_COMPLETED, request_over, http, MHD_OPTION_URI_LOG_CALLBACK,
        request_line, http, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY,
        start->certificate != NULL ? tls : &tls[2], MHD_OPTION_END);
}

static int load_tls(struct http *http, struct start *start, struct err *err)
{
    const struct settings *s = http->gateway->settings;

    if (http->face != FACE_INGEST || s->http_tls_certificate[0] == '\0')
        return 0;
    start->flags |= MHD_USE_TLS;
    start->certificate = read_pem(s->http_tls_certificate, err);
    if (start->certificate == NULL)
        return -1;
    start->key = read_pem(s->http_tls_key, err);
    http->tls = true;
    return start->key != NULL ? 0 : -1;
}

static int start(struct http *http, int listener, struct err *err)
{
    const struct settings *s = http->gateway->settings;
    struct start start = {.flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG};
    int result = load_tls(http, &start, err);

    start.connections = (unsigned)(http->face == FACE_INGEST ? s->http_max_connections
                                                              : s->http_max_status_connections);
    /* The daemon closes what it is given.  Given none, it would open one of its own, to everybody. */
    start.listener = result == 0 ? fcntl(listener, F_DUPFD_CLOEXEC, 0) : -1;
    if (result == 0 && start.listener < 0)
        result = err_errno(err, "the listening socket");
    if (result == 0) {
        start_daemon(http, &start);
        if (http->daemon == NULL)
            result = err_set(err, "libmicrohttpd does not start%s",
                             http->tls ? ": is the key of http.tls_key that of the certificate?" : "");
    }
    if (start.key != NULL)
        explicit_bzero(start.key, PEM_BYTES_MAX);
    free(start.key);
    free(start.certificate);
    return result;
}

struct http *http_open(const struct http_options *options, int *code, struct err *err)
{
    struct http *http = calloc(1, sizeof *http);
    const union MHD_DaemonInfo *info;

    *code = EXIT_TEMPORARY;
    if (http == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    MHD_set_panic_func(on_panic, NULL);
    http->gateway = options->gateway;
    http->face = options->face;
    http->soon = harness_timer(http->gateway->harness, on_soon, http);
    http->sweep = harness_timer(http->gateway->harness, on_sweep, http);
    if (start(http, options->listener, err) != 0) {
        *code = http->tls ? EXIT_CONFIGURATION : EXIT_TEMPORARY;
        http_close(&http);
        return NULL;
    }
    info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    http->watch = harness_watch(http->gateway->harness, info->epoll_fd, POLLIN, on_ready, http);
    timer_in_ms(http->sweep, SWEEP_MS);
    http_wake(http);
    return http;
}

/* --- ending ------------------------------------------------------------------------------------------- */

void http_quiesce(struct http *http)
{
    int listener;

    if (http->quiet)
        return;
    http->quiet = true;
    listener = MHD_quiesce_daemon(http->daemon);
    if (listener >= 0)
        close(listener);
    for (struct peer *peer = http->peers; peer != NULL; peer = peer->next)
        if (peer->request == NULL)
            peer_hang_up(peer);
    http_wake(http);
}

bool http_idle(const struct http *http)
{
    return http->requests == 0;
}

unsigned http_connections(const struct http *http)
{
    return http->peer_count;
}

static void end_requests(struct http *http)
{
    for (struct peer *peer = http->peers; peer != NULL; peer = peer->next)
        if (peer->request != NULL && peer->request->suspended)
            http_refuse(peer->request, 503, "spendd is stopping");
    for (int i = 0; i < STOP_TURNS && http->requests > 0; i++)
        MHD_run(http->daemon);
}

void http_close(struct http **http)
{
    struct http *h = *http;

    if (h == NULL)
        return;
    *http = NULL;
    harness_unwatch(&h->watch);
    if (h->daemon != NULL) {
        end_requests(h);
        MHD_stop_daemon(h->daemon);
    }
    harness_untimer(&h->sweep);
    harness_untimer(&h->soon);
    free(h);
}
