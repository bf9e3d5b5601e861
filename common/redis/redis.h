/*
 * redis.h - the door to Redis: one non-blocking connection, driven by the worker's loop.
 *
 * The door owns the socket (connect deadline, keepalive, TCP_USER_TIMEOUT, TLS) and the reconnecting
 * (exponential backoff, full jitter, for ever); hiredis only formats commands and reads replies.
 * Commands are answered in order, each through its own function, exactly once: with the reply, or
 * with NULL and a reason when the connection was lost, the deadline passed, or it was never up.
 * A command that was answered with NULL may or may not have been carried out.
 * Nothing here blocks; names are resolved before the first connect in a helper thread.
 */
#ifndef SPENDD_REDIS_REDIS_H
#define SPENDD_REDIS_REDIS_H

#include "common/base/attr.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/redis/redis_refusal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct harness;
struct redis;
struct settings;

enum redis_kind { REDIS_WORD, REDIS_BYTES, REDIS_NUMBER, REDIS_ARRAY, REDIS_NIL, REDIS_ERROR };

/* A reply, borrowed for the call.  WORD, BYTES and ERROR have text; ARRAY has items. */
struct redis_reply {
    enum redis_kind kind;
    const char *text;
    size_t length;
    int64_t number;
    size_t items;
    const struct redis_reply *item;
};

typedef void redis_reply_fn(void *arg, const struct redis_reply *reply, const char *reason);

/* Told when the connection comes up (greeting done: AUTH, SELECT, CLIENT SETNAME), when it goes
 * down, and after each attempt that failed; redis_refusal_of(redis, NULL) says which refusal that is. */
typedef void redis_state_fn(void *arg, bool up, const char *reason);

/* Used when the URL begins with rediss://; NULL stands for "". */
struct redis_tls {
    const char *ca;   /* file or directory of authorities; "": the system's */
    const char *cert; /* ours, PEM, with its chain; "": none */
    const char *key;  /* its key; "": in the same file */
    const char *name; /* sent (SNI) and verified; "": the host of the URL */
    bool verify;
};

struct redis_options {
    struct redis_tls tls;
    const char *url;    /* redis[s]://[user:password@]host:port/db, unix:///path?db=0, or file:/path
                         * of a file with that, read again at each connect */
    const char *client; /* CLIENT SETNAME */
    int64_t connect_ms, command_ms;
    int64_t backoff_max_ms, backoff_slow_max_ms; /* caps of refusals.def; slow 0: six times that */
    int64_t reply_bytes_max; /* a larger reply ends the connection; 0: 64 MiB */

    /* "host:port, ...", one of them at most; the URL's host is then not used.  NULL: "". */
    const char *sentinels, *cluster_nodes, *sentinel_master, *sentinel_user, *sentinel_password;
    const char *key; /* cluster: the client serves this key's hash slot, and no other */
};

/* What stands behind an answer that is no use: the refusal of an error reply; of NULL, what the
 * connection was lost by; of any other reply `unexpected`. */
const struct refusal *redis_refusal_of(const struct redis *redis, const struct redis_reply *reply);

/* The pause before the next try after so many refusals (full jitter). */
int64_t redis_pause_ms(const struct redis *redis, const struct refusal *refusal, unsigned attempts);

enum redis_script {
#define SCRIPT(name, keys, oom, lua) REDIS_##name,
#include "common/redis/scripts.def"
#undef SCRIPT
    REDIS_SCRIPTS
};

/* A name that nobody has: 128 random bits in hex; for a generation, a lock, a claim. */
#define REDIS_FRESH 33 /* bytes, with the NUL */
void redis_fresh(char text[REDIS_FRESH]);

/* The options that the settings ask for; borrowed from them. */
struct redis_options redis_options_from(const struct settings *settings, const char *client);

/* Copies the options.  NULL and `err` for a bad URL or no memory.  Connecting starts with the
 * loop. */
struct redis *redis_open(struct harness *harness, const struct redis_options *options,
                         redis_state_fn *state, void *arg, struct err *err);

/* Outstanding commands are answered with NULL first; commands given meanwhile are not.  Not to be
 * called from within an answer. */
void redis_close(struct redis **redis);

bool redis_up(const struct redis *redis);

/* The server that answers, "host:port" or a path; "" while there is none. */
const char *redis_node(const struct redis *redis);
size_t redis_outstanding(const struct redis *redis); /* commands without an answer yet */

/* Queues a command; never fails: if there is no connection it is answered NULL in the next turn.
 * `lengths` may be NULL for C strings.  Arguments are copied. */
void redis_command(struct redis *redis, int argc, const char *const *argv, const size_t *lengths,
                   redis_reply_fn *answer, void *arg);

/* Runs a script: EVALSHA, and EVAL once after NOSCRIPT (answered later than commands given
 * behind it). argv = KEYS then ARGV. */
void redis_script(struct redis *redis, enum redis_script script, int argc, const char *const *argv,
                  const size_t *lengths, redis_reply_fn *answer, void *arg);

/* True when `reply` is an array whose first item is the word. */
bool redis_said(const struct redis_reply *reply, const char *word);

/* An item as a number (integer reply, or decimal text); -1 if it is none. */
int64_t redis_item_number(const struct redis_reply *reply, size_t index);

#endif
