/*
 * redis_greet.c - what a fresh connection says first, in one pipeline: AUTH, SELECT, CLIENT
 * SETNAME, what its route asks (redis_route.c), PING.  The connection is up when PING is answered
 * and nothing before it was refused.
 *
 * CLIENT SETNAME may be refused (ACLs, proxies), so may PING for its permission: both are courtesy.
 * PING is there because it brings LOADING, NOAUTH and MASTERDOWN to light before the first command.
 * If we die on any line: nothing was asked of Redis yet.
 */
#include "common/redis/redis_inside.h"

#include <stdio.h>
#include <string.h>

static void must(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct redis *redis = arg;

    (void)reason;
    if (reply != NULL && reply->kind == REDIS_ERROR)
        redis_leave(redis, REDIS_REFUSED_greeting, reply->text); /* unless the table knew it better */
}

static void may(void *arg, const struct redis_reply *reply, const char *reason)
{
    (void)arg;
    (void)reply;
    (void)reason;
}

static void last(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct redis *redis = arg;

    (void)reason;
    if (reply != NULL && redis->leave == REDIS_REFUSED_NOT)
        redis_greeted(redis);
}

static void say(struct redis *redis, redis_reply_fn *answer, int argc, const char *const *argv)
{
    redis_command(redis, argc, argv, NULL, answer, redis);
}

void redis_greet(struct redis *redis)
{
    const struct redis_url *url = &redis->url;
    char db[8];

    if (url->password[0] != '\0' && url->user[0] != '\0')
        say(redis, must, 3, (const char *const[]){"AUTH", url->user, url->password});
    else if (url->password[0] != '\0')
        say(redis, must, 2, (const char *const[]){"AUTH", url->password});
    if (url->db != 0) {
        snprintf(db, sizeof db, "%d", url->db);
        say(redis, must, 2, (const char *const[]){"SELECT", db});
    }
    say(redis, may, 3, (const char *const[]){"CLIENT", "SETNAME", redis->options.client});
    route_greet(redis);
    say(redis, last, 1, (const char *const[]){"PING"});
}
