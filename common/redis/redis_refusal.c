/*
 * redis_refusal.c - which row of refusals.def an error reply is.  Pure.
 *
 * Before Redis 7 an error within a script came wrapped ("ERR Error running script (call to f_...):
 * @user_script:3: @user_script: 3: -OOM command not allowed..."): the one inside is what counts.
 */
#include "common/redis/redis_refusal.h"

#include "common/redis/redis_inside.h"

#include <string.h>

static const struct refusal refusals[REDIS_REFUSALS] = {
    [REDIS_REFUSED_NOT] = {"none",        "",    REFUSAL_NORMAL,
                           STAY,          50,    METRIC_redis_errors_total,
                           "not yet tried"},
#define REFUSAL(name, match, class, connection, first_ms, metric, means)                           \
    [REDIS_REFUSED_##name] = {#name, match,   REFUSAL_##class,                                     \
                              connection, first_ms, METRIC_redis_refused_##metric##_total, means},
#include "common/redis/refusals.def"
#undef REFUSAL
};

static const char *unwrapped(const char *text)
{
    static const char wrapping[] = "ERR Error running script", place[] = "@user_script:";
    const char *inside = text;

    if (strncmp(text, wrapping, strlen(wrapping)) != 0)
        return text;
    for (const char *at = text; (at = strstr(at, place)) != NULL;) {
        at += strlen(place);
        inside = at + strspn(at, " 0123456789:-");
    }
    return inside;
}

enum redis_refusal redis_refused(const struct redis_reply *reply)
{
    const struct refusal *found;

    if (reply == NULL || reply->kind != REDIS_ERROR)
        return REDIS_REFUSED_NOT;
    found = refusal_find(refusals, REDIS_REFUSALS, unwrapped(reply->text));
    return found != NULL ? (enum redis_refusal)(found - refusals) : REDIS_REFUSED_other;
}

const struct refusal *redis_refusal(enum redis_refusal refusal)
{
    return &refusals[refusal];
}
