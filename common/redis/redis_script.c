/*
 * redis_script.c - running the scripts of scripts.def.
 *
 * The first use of a script on a connection sends its text (EVAL) and, behind it, SCRIPT LOAD,
 * whose answer is the SHA1 for all further uses; so this door computes no SHA1 of its own, and a
 * server that was replaced is found out by NOSCRIPT, after which the text is sent once.
 *
 * The first line of a script says whether it runs while Redis is full: all but the push do,
 * because the drain must work then (tests/model).  A server before 7 does not know that line and
 * fails to compile; then, on that connection, another one stands for it.  Such a server refuses a command
 * for lack of memory only until the script has written something, so that a script, once it has begun to
 * change things, is not stopped half way: deleting a key that nobody has is that first write.
 *
 * If we die on any line: scripts either ran whole or not at all, and each can be run again.
 */
#include "common/redis/redis_inside.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* First lines: of Redis 7, and before it. */
#define ALLOW_OOM_7 "#!lua flags=allow-oom\n"
#define ALLOW_OOM_6 "redis.call('DEL', KEYS[1] .. ':none')\n"
#define REFUSE_OOM_7 "#!lua\n"
#define REFUSE_OOM_6 ""

struct script {
    const char *text, *plain; /* plain: without the shebang */
    const char *keys;         /* how many, as text */
};

static const struct script scripts[REDIS_SCRIPTS] = {
#define SCRIPT(name, keys, oom, lua) [REDIS_##name] = {oom##_7 lua, oom##_6 lua, #keys},
#include "common/redis/scripts.def"
#undef SCRIPT
};

void redis_fresh(char text[REDIS_FRESH])
{
    unsigned char bytes[(REDIS_FRESH - 1) / 2];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        bug("the kernel has no random bytes");
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static const char *script_text(const struct redis *redis, int script)
{
    return redis->no_shebang ? scripts[script].plain : scripts[script].text;
}

/* Makes the head anew: EVALSHA where the SHA1 is known, else EVAL with the text. */
static void make_head(struct redis *redis, struct call *call)
{
    const char *sha = redis->sha[call->script];
    const char *argv[3] = {"EVALSHA", sha, scripts[call->script].keys};

    call->whole = sha[0] == '\0';
    call->plain = redis->no_shebang;
    if (call->whole) {
        argv[0] = "EVAL";
        argv[1] = script_text(redis, call->script);
    }
    wire_free(&call->head);
    if (wire_encode(&call->head, 3 + call->arguments, 3, argv, NULL) != 0)
        call->fate = CALL_REFUSED;
}


#define LOADED(name)                                                                               \
    static void loaded_##name(void *arg, const struct redis_reply *reply, const char *reason)      \
    {                                                                                              \
        loaded(arg, REDIS_##name, reply);                                                          \
        (void)reason;                                                                              \
    }

static void loaded(struct redis *redis, enum redis_script script, const struct redis_reply *reply)
{
    if (reply == NULL || reply->kind != REDIS_BYTES || reply->length != 40)
        return;
    memcpy(redis->sha[script], reply->text, 41);
}

#define SCRIPT(name, keys, oom, lua) LOADED(name)
#include "common/redis/scripts.def"
#undef SCRIPT

static redis_reply_fn *const loaded_functions[REDIS_SCRIPTS] = {
#define SCRIPT(name, keys, oom, lua) [REDIS_##name] = loaded_##name,
#include "common/redis/scripts.def"
#undef SCRIPT
};

static void learn_sha(struct redis *redis, int script)
{
    const char *argv[3] = {"SCRIPT", "LOAD", script_text(redis, script)};

    redis_command(redis, 3, argv, NULL, loaded_functions[script], redis);
}

void script_send(struct redis *redis, struct call *call)
{
    int script = call->script;
    bool whole = false;

    if (call->fate == CALL_LIVE && script >= 0) {
        make_head(redis, call);
        whole = call->whole;
    }
    call->swallow = call->asking;
    if (call->fate == CALL_LIVE && call->asking && ask_prefix(&call->head) != 0)
        call->fate = CALL_REFUSED;
    whole = whole && call->fate == CALL_LIVE;
    calls_add(redis, call);
    if (whole)
        learn_sha(redis, script);
}

void redis_script(struct redis *redis, enum redis_script script, int argc, const char *const *argv,
                  const size_t *lengths, redis_reply_fn *answer, void *arg)
{
    struct call *call;

    if (redis->closing)
        return;
    call = call_new(answer, arg);
    call->script = (int)script;
    call->arguments = argc;
    if (redis->phase != PHASE_UP)
        call->fate = CALL_LOST;
    else if (wire_encode(&call->tail, 0, argc, argv, lengths) != 0)
        call->fate = CALL_REFUSED;
    script_send(redis, call);
}

bool script_again(struct redis *redis, struct call **call, const struct redis_reply *reply)
{
    enum redis_refusal refusal = redis_refused(reply);
    struct call *c = *call;

    if (!c->whole && refusal == REDIS_REFUSED_noscript) {
        redis->sha[c->script][0] = '\0';
    } else if (c->whole && !c->plain && refusal == REDIS_REFUSED_nocompile) {
        redis->no_shebang = true;
    } else {
        return false;
    }
    *call = NULL;
    script_send(redis, c);
    return true;
}
