/*
 * resolve.c - names to addresses in a helper thread.  See resolve.h.
 *
 * The thread and the asker hold one reference each; whoever lets go last frees.  The thread writes the
 * result, then makes the descriptor readable, and does nothing else: the loop never waits for it.  A
 * resolver that hangs keeps one thread, not one per try: an unfinished look-up is taken up again.
 * Owns nothing durable: if we die on any line nothing is lost.
 */
#include "common/pg/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define THREAD_STACK_BYTES (512 * 1024)

struct resolve {
    atomic_int holders;
    int done_fd;
    struct pg_targets asked, found;
    struct err err; /* of the last name that was not found */
};

static void let_go(struct resolve *resolve)
{
    if (atomic_fetch_sub(&resolve->holders, 1) > 1)
        return;
    close(resolve->done_fd);
    free(resolve);
}

static void look_up(struct resolve *resolve, const struct pg_target *asked)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    char address[NI_MAXHOST];
    int rc = getaddrinfo(asked->host, NULL, &hints, &list);

    if (rc != 0) {
        err_set(&resolve->err, "cannot resolve %.100s: %s", asked->host, gai_strerror(rc));
        return;
    }
    for (struct addrinfo *at = list; at; at = at->ai_next)
        if (getnameinfo(at->ai_addr, at->ai_addrlen, address, sizeof address, NULL, 0,
                        NI_NUMERICHOST) == 0)
            pg_targets_add(&resolve->found, asked->host, address, asked->port);
    freeaddrinfo(list);
}

static void *run(void *arg)
{
    struct resolve *resolve = arg;
    uint64_t one = 1;

    for (size_t i = 0; i < resolve->asked.count; i++) {
        const struct pg_target *target = &resolve->asked.target[i];

        if (pg_target_is_name(target))
            look_up(resolve, target);
        else
            pg_targets_add(&resolve->found, target->host, target->address, target->port);
    }
    if (write(resolve->done_fd, &one, sizeof one) < 0) {
        /* The loop's deadline ends the wait. */
    }
    let_go(resolve);
    return NULL;
}

struct resolve *resolve_start(const struct pg_targets *asked, struct err *err)
{
    struct resolve *resolve = calloc(1, sizeof *resolve);
    pthread_attr_t attributes;
    pthread_t thread;
    int rc;

    if (!resolve) {
        err_set(err, "out of memory");
        return NULL;
    }
    resolve->asked = *asked;
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

bool resolve_of(const struct resolve *resolve, const struct pg_targets *asked)
{
    return pg_targets_equal(&resolve->asked, asked);
}

int resolve_result(const struct resolve *resolve, struct pg_targets *found, struct err *err)
{
    if (resolve->found.count == 0) {
        *err = resolve->err;
        return -1;
    }
    *found = resolve->found;
    return 0;
}

void resolve_drop(struct resolve **resolve)
{
    if (*resolve)
        let_go(*resolve);
    *resolve = NULL;
}
