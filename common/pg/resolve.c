/*
 * resolve.c - names to addresses in a helper thread.  See resolve.h.
 *
 * The thread (common/base/offloop.h) and the asker own the look-up together, and the loop never waits
 * for it.  A resolver that hangs keeps one thread, not one per try: an unfinished look-up is taken up
 * again.  Owns nothing durable: if we die on any line nothing is lost.
 */
#include "common/pg/resolve.h"

#include "common/base/offloop.h"

#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>

struct resolve {
    struct offloop *thread; /* the asker's handle */
    struct pg_targets asked, found;
    struct err err; /* of the last name that was not found */
};

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

static void look_all_up(void *work)
{
    struct resolve *resolve = work;

    for (size_t i = 0; i < resolve->asked.count; i++) {
        const struct pg_target *target = &resolve->asked.target[i];

        if (pg_target_is_name(target))
            look_up(resolve, target);
        else
            pg_targets_add(&resolve->found, target->host, target->address, target->port);
    }
}

struct resolve *resolve_start(const struct pg_targets *asked, struct err *err)
{
    struct resolve *resolve = calloc(1, sizeof *resolve);
    struct offloop *thread;

    if (!resolve) {
        err_set(err, "out of memory");
        return NULL;
    }
    resolve->asked = *asked;
    thread = offloop_start(look_all_up, resolve, err);
    if (!thread) {
        free(resolve);
        return NULL;
    }
    resolve->thread = thread; /* which never looks at it */
    return resolve;
}

int resolve_fd(const struct resolve *resolve)
{
    return offloop_fd(resolve->thread);
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
    struct offloop *thread = *resolve ? (*resolve)->thread : NULL;

    *resolve = NULL; /* freed with the thread */
    offloop_drop(&thread);
}
