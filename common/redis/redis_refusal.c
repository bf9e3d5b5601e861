/*
 * redis_refusal.c - which of the refusals of refusals.def an error reply is.  Pure.
 */
#include "common/redis/redis_inside.h"

#include <string.h>

struct refusal {
    const char *name, *text;
    enum redis_after after;
};

static const struct refusal refusals[REDIS_REFUSALS] = {
    [REDIS_REFUSED_NOT] = {"none", "", STAY},
    [REDIS_REFUSED_other] = {"other", "", STAY},
#define REFUSAL(name, text, after) [REDIS_REFUSED_##name] = {#name, text, after},
#include "common/redis/refusals.def"
#undef REFUSAL
};

enum redis_refusal redis_refused(const struct redis_reply *reply)
{
    if (reply == NULL || reply->kind != REDIS_ERROR)
        return REDIS_REFUSED_NOT;
    for (int i = REDIS_REFUSED_other + 1; i < REDIS_REFUSALS; i++) {
        const char *text = refusals[i].text;

        if (strncmp(reply->text, text, strlen(text)) == 0)
            return (enum redis_refusal)i;
    }
    return REDIS_REFUSED_other;
}

const char *redis_refusal_name(enum redis_refusal refusal)
{
    return refusals[refusal].name;
}

enum redis_after redis_refusal_after(enum redis_refusal refusal)
{
    return refusals[refusal].after;
}
