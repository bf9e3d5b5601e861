/*
 * resolve.c - getaddrinfo in a helper thread.  See resolve.h.
 *
 * The thread and the loop share one struct, freed by whoever lets go last; the thread writes the
 * answer, then the eventfd, and touches nothing afterwards; the loop reads only after the eventfd.
 * A resolver that hangs holds one thread, never two: the door waits for it again at the next connect.
 * Nothing durable: a death here loses nothing.
 */
#include "common/pg/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define THREAD_STACK_BYTES (512 * 1024)

struct resolve {
    atomic_int holders;
    int done_fd;
    char hosts[RESOLVE_TEXT], ports[RESOLVE_TEXT]; /* as asked */
    struct resolve_answer answer;
    int found;
    struct err err; /* of the last name that was not found */
};

static void let_go(struct resolve *resolve)
{
    if (atomic_fetch_sub(&resolve->holders, 1) > 1)
        return;
    close(resolve->done_fd);
    free(resolve);
}

/* The n-th item of a comma list; the last one given stands for those that follow (libpq's rule). */
static void item_of(const char *list, size_t n, char *item, size_t size)
{
    size_t length;

    while (n-- > 0 && strchr(list, ','))
        list = strchr(list, ',') + 1;
    length = strcspn(list, ",");
    snprintf(item, size, "%.*s", (int)length, list);
}

static int append(char *list, bool first, const char *item)
{
    size_t used = strlen(list);

    if (used + strlen(item) + 2 > RESOLVE_TEXT)
        return -1;
    sprintf(list + used, "%s%s", first ? "" : ",", item);
    return 0;
}

static void add(struct resolve *resolve, const char *host, const char *address, const char *port)
{
    struct resolve_answer *answer = &resolve->answer;
    struct resolve_answer before = *answer;
    bool first = resolve->found == 0;

    if (append(answer->host, first, host) || append(answer->hostaddr, first, address) ||
        append(answer->port, first, port))
        *answer = before; /* more addresses than fit: the first ones serve */
    else
        resolve->found++;
}

static void look_up(struct resolve *resolve, const char *host, const char *port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    char address[NI_MAXHOST];
    int rc;

    if (host[0] == '\0' || host[0] == '/' || host[0] == '@') {
        add(resolve, host, "", port);
        return;
    }
    rc = getaddrinfo(host, NULL, &hints, &list);
    if (rc != 0) {
        err_set(&resolve->err, "cannot resolve %.100s: %s", host, gai_strerror(rc));
        return;
    }
    for (struct addrinfo *at = list; at; at = at->ai_next)
        if (getnameinfo(at->ai_addr, at->ai_addrlen, address, sizeof address, NULL, 0,
                        NI_NUMERICHOST) == 0)
            add(resolve, host, address, port);
    freeaddrinfo(list);
}

static void *run(void *arg)
{
    struct resolve *resolve = arg;
    size_t names = 1;
    uint64_t one = 1;

    for (const char *at = resolve->hosts; *at; at++)
        names += *at == ',';
    for (size_t n = 0; n < names; n++) {
        char host[NI_MAXHOST], port[64];

        item_of(resolve->hosts, n, host, sizeof host);
        item_of(resolve->ports, n, port, sizeof port);
        look_up(resolve, host, port);
    }
    if (write(resolve->done_fd, &one, sizeof one) < 0) {
        /* The loop's deadline ends the wait. */
    }
    let_go(resolve);
    return NULL;
}

struct resolve *resolve_start(const char *hosts, const char *ports, struct err *err)
{
    struct resolve *resolve;
    pthread_attr_t attributes;
    pthread_t thread;
    int rc;

    if (strlen(hosts) >= RESOLVE_TEXT || strlen(ports) >= RESOLVE_TEXT ||
        !(resolve = calloc(1, sizeof *resolve))) {
        err_set(err, "list of hosts too long, or out of memory");
        return NULL;
    }
    strcpy(resolve->hosts, hosts);
    strcpy(resolve->ports, ports);
    resolve->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (resolve->done_fd < 0) {
        err_errno(err, "eventfd");
        free(resolve);
        return NULL;
    }
    atomic_init(&resolve->holders, 2);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    rc = pthread_create(&thread, &attributes, run, resolve);
    pthread_attr_destroy(&attributes);
    if (rc == 0)
        return resolve;
    err_set(err, "no thread to resolve names: %s", strerror(rc));
    close(resolve->done_fd);
    free(resolve);
    return NULL;
}

int resolve_fd(const struct resolve *resolve)
{
    return resolve->done_fd;
}

bool resolve_of(const struct resolve *resolve, const char *hosts, const char *ports)
{
    return strcmp(resolve->hosts, hosts) == 0 && strcmp(resolve->ports, ports) == 0;
}

int resolve_result(const struct resolve *resolve, struct resolve_answer *answer, struct err *err)
{
    if (resolve->found == 0) {
        *err = resolve->err;
        return -1;
    }
    *answer = resolve->answer;
    return 0;
}

void resolve_drop(struct resolve **resolve)
{
    if (*resolve)
        let_go(*resolve);
    *resolve = NULL;
}
