/*
 * redis_lookup.c - a host name to addresses, off the loop: getaddrinfo blocks for as long as the
 * name servers like, so it runs in a detached helper thread and says through an eventfd that it
 * is done.
 *
 * A look-up is owned by two: the loop and its thread.  Whoever lets go last frees it; so a loop
 * that closes need not wait for a name server.  The thread touches nothing else and blocks all
 * signals. If we die on any line: nothing is lost, a look-up is a question.
 */
#include "common/redis/redis_lookup.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct lookup {
    atomic_int owners;
    int fd;
    char host[256], port[6];
    int code; /* of getaddrinfo; written before the eventfd */
    struct addresses found;
};

static int ask(const char *host, const char *port, int flags, struct addresses *found)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags}, *list = NULL;
    int code = getaddrinfo(host, port, &hints, &list);

    found->count = 0;
    if (code != 0)
        return code;
    for (struct addrinfo *a = list; a != NULL && found->count < LOOKUP_ADDRESSES_MAX;
         a = a->ai_next) {
        struct address *to = &found->address[found->count++];

        memcpy(&to->at, a->ai_addr, a->ai_addrlen);
        to->length = a->ai_addrlen;
    }
    freeaddrinfo(list);
    return 0;
}

int lookup_numeric(const char *host, const char *port, struct addresses *found)
{
    return ask(host, port, AI_NUMERICHOST | AI_NUMERICSERV, found) == 0 ? 0 : -1;
}

static void release(struct lookup *lookup)
{
    if (atomic_fetch_sub(&lookup->owners, 1) > 1)
        return;
    close(lookup->fd);
    free(lookup);
}

static void *look_up(void *arg)
{
    struct lookup *lookup = arg;
    uint64_t one = 1;

    lookup->code = ask(lookup->host, lookup->port, AI_NUMERICSERV | AI_ADDRCONFIG,
                        &lookup->found);
    /* AI_ADDRCONFIG hides loopback names on a host that has loopback alone. */
    if (lookup->code != 0 && lookup->code != EAI_AGAIN)
        lookup->code = ask(lookup->host, lookup->port, AI_NUMERICSERV, &lookup->found);
    if (write(lookup->fd, &one, sizeof one) != (ssize_t)sizeof one)
        bug("eventfd: %s", strerror(errno));
    release(lookup);
    return NULL;
}

static int start_thread(struct lookup *lookup)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int code;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    code = pthread_create(&thread, &attr, look_up, lookup);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return code;
}

struct lookup *lookup_start(const char *host, const char *port, struct err *err)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);

    if (lookup == NULL) {
        err_set(err, "no memory to look up a name");
        return NULL;
    }
    snprintf(lookup->host, sizeof lookup->host, "%s", host);
    snprintf(lookup->port, sizeof lookup->port, "%s", port);
    lookup->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lookup->fd < 0) {
        err_errno(err, "no eventfd to look up a name");
        free(lookup);
        return NULL;
    }
    atomic_init(&lookup->owners, 2);
    errno = start_thread(lookup);
    if (errno != 0) {
        err_errno(err, "no thread to look up a name");
        close(lookup->fd);
        free(lookup);
        return NULL;
    }
    return lookup;
}

bool lookup_of(const struct lookup *lookup, const char *host, const char *port)
{
    return strcmp(lookup->host, host) == 0 && strcmp(lookup->port, port) == 0;
}

int lookup_fd(const struct lookup *lookup)
{
    return lookup->fd;
}

int lookup_take(const struct lookup *lookup, struct addresses *found, struct err *err)
{
    if (lookup->code != 0)
        return err_set(err, "cannot resolve %s: %s", lookup->host, gai_strerror(lookup->code));
    if (lookup->found.count == 0)
        return err_set(err, "%s has no address", lookup->host);
    *found = lookup->found;
    return 0;
}

void lookup_free(struct lookup **lookup)
{
    if (*lookup != NULL)
        release(*lookup);
    *lookup = NULL;
}
