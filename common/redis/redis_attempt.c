/*
 * redis_attempt.c - one attempt to connect: URL, route, addresses, socket, TLS handshake, up to the greeting.
 *
 * An attempt tries one address, in turn over the attempts.  Each step either goes on to the next or ends
 * the attempt with redis_fail; its deadline (redis.c) covers them all.  A look-up that outlives its
 * attempt goes on, so that one thread waits for a name server and not many.
 * If we die on any line: nothing was asked of Redis yet.
 */
#include "common/redis/redis_inside.h"

#include "common/config/secret.h"
#include "common/redis/redis_lookup.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

static void greet(struct redis *redis)
{
    redis->phase = PHASE_GREET;
    redis->greeted = false;
    memset(redis->sha, 0, sizeof redis->sha);
    redis->no_shebang = false;
    redis_greet(redis);
}

static void shake_hands(struct redis *redis)
{
    struct err err;
    int done = link_handshake(&redis->link, &err);

    if (done < 0)
        redis_fail(redis, redis->link.refused, err.text);
    else if (done > 0)
        greet(redis);
    else
        watch_events(redis->watch, link_events(&redis->link, false));
}

static void connected(struct redis *redis)
{
    struct err err;

    if (link_connected(&redis->link, &err) != 0) {
        redis_fail(redis, redis->link.refused, err.text);
    } else if (!redis->url.tls) {
        greet(redis);
    } else if (link_secure(&redis->link, &redis->options.tls, redis->url.host, &err) != 0) {
        redis_fail(redis, redis->link.refused, err.text);
    } else {
        redis->phase = PHASE_HANDSHAKE;
        shake_hands(redis);
    }
}

static void ready(void *arg, short revents)
{
    struct redis *redis = arg;

    (void)revents;
    if (redis->phase == PHASE_CONNECT)
        connected(redis);
    else if (redis->phase == PHASE_HANDSHAKE)
        shake_hands(redis);
    else
        redis_serve(redis);
}

static void connect_to(struct redis *redis, const struct address *address)
{
    struct err err;

    redis->reader = wire_reader_new((size_t)redis->options.reply_bytes_max);
    if (redis->reader == NULL) {
        redis_fail(redis, REDIS_REFUSED_resources, "no memory for Redis' replies");
        return;
    }
    if (link_open(&redis->link, address, redis->options.command_ms, &err) != 0) {
        redis_fail(redis, redis->link.refused, err.text);
        return;
    }
    redis->phase = PHASE_CONNECT;
    redis->watch = harness_watch(redis->harness, redis->link.fd, POLLOUT, ready, redis);
}

static void looked_up(void *arg, short revents)
{
    struct redis *redis = arg;
    struct addresses found;
    struct err err;
    int result = lookup_take(redis->lookup, &found, &err);

    (void)revents;
    harness_unwatch(&redis->lookup_watch);
    lookup_free(&redis->lookup);
    if (result != 0)
        redis_fail(redis, REDIS_REFUSED_unresolved, err.text);
    else
        connect_to(redis, &found.address[redis->turn++ % found.count]);
}

static void name_node(struct redis *redis)
{
    struct redis_url *url = &redis->url;
    struct node node = redis->route->at;

    if (redis->route->kind == ROUTE_URL && url->path[0] != '\0') {
        snprintf(redis->node, sizeof redis->node, "%s", url->path);
        return;
    }
    if (redis->route->kind == ROUTE_URL) {
        memcpy(node.host, url->host, sizeof node.host);
        memcpy(node.port, url->port, sizeof node.port);
    } else {
        memcpy(url->host, node.host, sizeof url->host);
        memcpy(url->port, node.port, sizeof url->port);
    }
    node_text(&node, redis->node, sizeof redis->node);
}

void redis_look_up(struct redis *redis)
{
    struct addresses found;
    struct err err;

    name_node(redis);
    timer_in_ms(redis->deadline, route_patience_ms(redis));
    if (redis->url.path[0] != '\0') {
        if (link_address_local(redis->url.path, &found.address[0], &err) != 0)
            redis_fail(redis, REDIS_REFUSED_secret, err.text);
        else
            connect_to(redis, &found.address[0]);
        return;
    }
    if (lookup_numeric(redis->url.host, redis->url.port, &found) == 0) {
        connect_to(redis, &found.address[0]);
        return;
    }
    /* A look-up that outlived its attempt goes on: one thread waits for the name server, not
     * many. */
    if (redis->lookup != NULL && !lookup_of(redis->lookup, redis->url.host, redis->url.port))
        lookup_free(&redis->lookup);
    if (redis->lookup == NULL)
        redis->lookup = lookup_start(redis->url.host, redis->url.port, &err);
    if (redis->lookup == NULL) {
        redis_fail(redis, REDIS_REFUSED_resources, err.text);
        return;
    }
    redis->phase = PHASE_LOOKUP;
    redis->lookup_watch =
        harness_watch(redis->harness, lookup_fd(redis->lookup), POLLIN, looked_up, redis);
}

int redis_read_url(const char *setting, struct redis_url *url, struct err *err)
{
    char text[1024];
    int result = secret_read(setting, text, sizeof text, err);

    if (result == 0)
        result = redis_url_parse(text, url, err);
    explicit_bzero(text, sizeof text);
    return result;
}

void redis_attempt(struct redis *redis)
{
    struct err err;
    int known;

    if (!redis->again)
        redis->round = mono_after_ms(mono_now(), redis->options.connect_ms);
    redis->phase = PHASE_ROUTE;
    known = redis_read_url(redis->options.url, &redis->url, &err);
    if (known == 0)
        known = route_begin(redis, &err);
    if (known < 0)
        redis_fail(redis, REDIS_REFUSED_secret, err.text);
    else if (known > 0)
        redis_look_up(redis);
}
