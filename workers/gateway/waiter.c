/*
 * waiter.c - a request that waits for what it brought to be durable.  See waiter.h.
 *
 * Owns the tie between a request and its posts; whichever is over first unties it.  200 is said in one place,
 * and only when every post was answered by an aggregator: what is to come again makes the whole request
 * come again, for an event that is known already counts once.
 * If we die on any line there is no answer, and a producer posts again.
 */
#include "workers/gateway/waiter.h"

#include "common/json/json_put.h"
#include "common/json/json_tree.h"
#include "workers/gateway/posts.h"

#include <stdlib.h>

struct leg {
    struct waiter *waiter;
    struct post *post; /* NULL: over */
    uint32_t first;    /* index of its first event */
};

struct waiter {
    struct gateway *gateway;
    struct request *request;
    struct litellm_parts parts; /* ours to free */
    size_t count, left;         /* of the legs */
    bool seen[POST_LOST + 1];   /* outcomes */
    int64_t accepted, duplicate;
    struct json_out *rejected; /* NULL: there is one leg, and its answer is the answer */
    struct leg leg[];
};

static void end(struct waiter *waiter)
{
    for (size_t i = 0; i < waiter->count; i++)
        if (waiter->leg[i].post != NULL)
            post_forget(waiter->gateway->posts, waiter->leg[i].post);
    litellm_parts_free(&waiter->parts);
    json_out_free(&waiter->rejected);
    free(waiter);
}

static void on_gone(void *arg)
{
    end(arg);
}

/* --- several answers become one ------------------------------------------------------------------------ */

static void put_rejected(struct json_out *out, int64_t index, const struct json_tree *error)
{
    json_object(out);
    json_put_number(out, "index", index);
    json_put_text(out, "error", error != NULL && error->text != NULL ? error->text : "refused");
    json_end(out);
}

static void add_answer(struct waiter *waiter, const struct leg *leg, const char *json, size_t bytes)
{
    struct err err;
    struct json_tree *tree = json_tree_read(json, bytes, &err);
    const struct json_tree *list = json_member(tree, "rejected"), *error = json_member(tree, "error");

    waiter->accepted += json_integer(json_member(tree, "accepted"), 0);
    waiter->duplicate += json_integer(json_member(tree, "duplicate"), 0);
    if (error != NULL)
        put_rejected(waiter->rejected, leg->first, error);
    for (const struct json_tree *at = list != NULL ? list->first : NULL; at != NULL; at = at->next)
        put_rejected(waiter->rejected, leg->first + json_integer(json_member(at, "index"), 0),
                     json_member(at, "error"));
    json_tree_free(&tree);
}

static unsigned status_of(const struct waiter *waiter)
{
    if (waiter->seen[POST_LATER] || waiter->seen[POST_LOST])
        return 503;
    return waiter->seen[POST_DURABLE] ? 200 : 400;
}

static void answer_all(struct waiter *waiter)
{
    struct json_out *out = waiter->gateway->out;
    const char *list;
    size_t bytes;

    json_end(waiter->rejected);
    list = json_text(waiter->rejected, &bytes);
    json_clear(out);
    json_object(out);
    json_put_number(out, "accepted", waiter->accepted);
    json_put_number(out, "duplicate", waiter->duplicate);
    json_key(out, "rejected");
    json_raw(out, list, bytes);
    json_end(out);
    gateway_answer(waiter->gateway, waiter->request, status_of(waiter));
}

static void answer(struct waiter *waiter, const char *json, size_t bytes)
{
    unsigned status = status_of(waiter);

    http_on_gone(waiter->request, NULL, NULL);
    if (waiter->seen[POST_LOST])
        http_refuse(waiter->request, 503, "no aggregator has answered, and none will: send it again, with the same"
                    " event ids");
    else if (waiter->rejected != NULL && status != 503)
        answer_all(waiter);
    else
        http_answer(waiter->request, status, HTTP_JSON, json, bytes);
    end(waiter);
}

static void on_done(void *arg, enum post_outcome outcome, const char *json, size_t bytes)
{
    struct leg *leg = arg;
    struct waiter *waiter = leg->waiter;

    leg->post = NULL;
    waiter->seen[outcome] = true;
    if (waiter->rejected != NULL && outcome != POST_LOST)
        add_answer(waiter, leg, json, bytes);
    /* What must come again need not wait for the rest. */
    if (--waiter->left == 0 || status_of(waiter) == 503)
        answer(waiter, json, bytes);
}

/* --- posting ------------------------------------------------------------------------------------------ */

static struct waiter *waiter_new(struct gateway *gateway, struct request *request, size_t legs)
{
    struct waiter *waiter = calloc(1, sizeof *waiter + legs * sizeof waiter->leg[0]);

    if (waiter == NULL)
        bug("no memory for a request");
    waiter->gateway = gateway;
    waiter->request = request;
    waiter->count = waiter->left = legs;
    http_on_gone(request, on_gone, waiter);
    return waiter;
}

/* false: it was refused, and the waiter is gone. */
static bool send_leg(struct waiter *waiter, size_t number, const struct litellm_part *part)
{
    struct leg *leg = &waiter->leg[number];

    leg->waiter = waiter;
    leg->first = part->first;
    leg->post = post_send(waiter->gateway->posts, part->text, part->bytes, on_done, leg);
    if (leg->post != NULL)
        return true;
    http_on_gone(waiter->request, NULL, NULL);
    http_refuse(waiter->request, 503, "too many requests wait for the disk (http.max_in_flight)");
    end(waiter);
    return false;
}

void waiter_post(struct gateway *gateway, struct request *request, const char *payload, size_t bytes)
{
    const struct litellm_part whole = {(char *)(uintptr_t)payload, bytes, 0};

    (void)send_leg(waiter_new(gateway, request, 1), 0, &whole);
}

void waiter_post_parts(struct gateway *gateway, struct request *request, struct litellm_parts *parts)
{
    struct waiter *waiter = waiter_new(gateway, request, parts->count);

    waiter->parts = *parts;
    *parts = (struct litellm_parts){0};
    if (waiter->count > 1) {
        waiter->rejected = json_out_new(false);
        json_array(waiter->rejected);
    }
    for (size_t i = 0; i < waiter->count; i++)
        if (!send_leg(waiter, i, &waiter->parts.part[i]))
            return;
}
