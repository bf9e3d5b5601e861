/*
 * redis_lookup.c - a host name to addresses, off the loop: getaddrinfo blocks for as long as the
 * name servers like, so it runs in a helper thread (common/base/offloop.h), which owns the look-up
 * together with the loop.
 *
 * If we die on any line: nothing is lost, a look-up is a question.
 */
#include "common/redis/redis_lookup.h"

#include "common/base/offloop.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
    struct offloop *thread; /* the loop's handle */
    char host[256], port[6];
    int code; /* of getaddrinfo */
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

static void look_up(void *work)
{
    struct lookup *lookup = work;

    lookup->code = ask(lookup->host, lookup->port, AI_NUMERICSERV | AI_ADDRCONFIG, &lookup->found);
    /* AI_ADDRCONFIG hides loopback names on a host that has loopback alone. */
    if (lookup->code != 0 && lookup->code != EAI_AGAIN)
        lookup->code = ask(lookup->host, lookup->port, AI_NUMERICSERV, &lookup->found);
}

struct lookup *lookup_start(const char *host, const char *port, struct err *err)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);
    struct offloop *thread;

    if (lookup == NULL) {
        err_set(err, "no memory to look up a name");
        return NULL;
    }
    snprintf(lookup->host, sizeof lookup->host, "%s", host);
    snprintf(lookup->port, sizeof lookup->port, "%s", port);
    thread = offloop_start(look_up, lookup, err);
    if (thread == NULL) {
        free(lookup);
        return NULL;
    }
    lookup->thread = thread; /* which never looks at it */
    return lookup;
}

bool lookup_of(const struct lookup *lookup, const char *host, const char *port)
{
    return strcmp(lookup->host, host) == 0 && strcmp(lookup->port, port) == 0;
}

int lookup_fd(const struct lookup *lookup)
{
    return offloop_fd(lookup->thread);
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
    struct offloop *thread = *lookup != NULL ? (*lookup)->thread : NULL;

    *lookup = NULL; /* freed with the thread */
    offloop_drop(&thread);
}
