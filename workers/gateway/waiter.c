/*
 * waiter.c - a request that waits for its payload to be durable.  See waiter.h.
 *
 * Owns the tie between a request and its post: whichever is over first unties it.  200 is said in one place,
 * and only on the aggregator's word that the disk has it.
 * If we die on any line there is no answer, and a producer posts again.
 */
#include "workers/gateway/waiter.h"

#include "workers/gateway/posts.h"

#include <stdlib.h>

struct waiter {
    struct gateway *gateway;
    struct request *request;
    struct post *post;
    char *owned;
};

static void end(struct waiter *waiter)
{
    free(waiter->owned);
    free(waiter);
}

static void on_done(void *arg, enum post_outcome outcome, const char *json, size_t bytes)
{
    static const unsigned status[] = {[POST_DURABLE] = 200, [POST_NOTHING] = 400, [POST_REFUSED] = 400,
                                      [POST_LATER] = 503};
    struct waiter *waiter = arg;

    http_on_gone(waiter->request, NULL, NULL);
    if (outcome == POST_LOST)
        http_refuse(waiter->request, 503, "the aggregator died before it answered: send it again, with the same"
                    " event ids");
    else
        http_answer(waiter->request, status[outcome], HTTP_JSON, json, bytes);
    end(waiter);
}

static void on_gone(void *arg)
{
    struct waiter *waiter = arg;

    post_forget(waiter->gateway->posts, waiter->post);
    end(waiter);
}

void waiter_post(struct gateway *gateway, struct request *request, const char *payload, size_t bytes, char *owned)
{
    struct waiter *waiter = calloc(1, sizeof *waiter);

    if (waiter == NULL)
        bug("no memory for a request");
    *waiter = (struct waiter){.gateway = gateway, .request = request, .owned = owned};
    waiter->post = post_send(gateway->posts, payload, bytes, on_done, waiter);
    if (waiter->post != NULL) {
        http_on_gone(request, on_gone, waiter);
        return;
    }
    http_refuse(request, 503, "too many requests wait for the disk (http.max_in_flight)");
    end(waiter);
}
