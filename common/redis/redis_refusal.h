/*
 * redis_refusal.h - the ways in which Redis refuses, by name.  Pure.
 */
#ifndef SPENDD_REDIS_REFUSAL_H
#define SPENDD_REDIS_REFUSAL_H

#include "common/base/refusal.h"

struct redis_reply;

/* Each way in which Redis refuses, by name (refusals.def).  The door counts them. */
enum redis_refusal {
    REDIS_REFUSED_NOT,
#define REFUSAL(name, ...) REDIS_REFUSED_##name,
#include "common/redis/refusals.def"
#undef REFUSAL
    REDIS_REFUSALS
};

enum redis_refusal redis_refused(const struct redis_reply *reply); /* NOT: no error reply */
const struct refusal *redis_refusal(enum redis_refusal refusal);

#endif
