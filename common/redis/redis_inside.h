/*
 * redis_inside.h - a connection and its calls; only common/redis includes this.
 */
#ifndef SPENDD_REDIS_INSIDE_H
#define SPENDD_REDIS_INSIDE_H

#include "common/harness/harness.h"
#include "common/redis/redis.h"
#include "common/redis/redis_ask.h"
#include "common/redis/redis_link.h"
#include "common/redis/redis_route.h"
#include "common/redis/redis_url.h"
#include "common/redis/redis_wire.h"

enum call_fate { CALL_LIVE, CALL_LOST, CALL_REFUSED };

/* A command from when it is given until it is answered. */
struct call {
    struct call *next;
    struct wire_text head, tail; /* head: how a script is called; empty for a plain command */
    size_t sent;                 /* of both */
    mono_t deadline;
    redis_reply_fn *answer;
    void *arg;
    enum call_fate fate;
    int script;    /* enum redis_script, or -1 */
    int arguments; /* of the script */
    bool whole;    /* the script's text was sent, not its SHA1 */
    bool plain;    /* ... without the shebang */
    bool asking;   /* sent behind ASKING */
    bool swallow;  /* ... whose own reply is still to come */
};

enum redis_phase {
    PHASE_WAIT,
    PHASE_ROUTE,
    PHASE_LOOKUP,
    PHASE_CONNECT,
    PHASE_HANDSHAKE,
    PHASE_GREET,
    PHASE_UP
};

struct redis {
    struct harness *harness;
    struct redis_options options; /* its strings are ours */
    redis_state_fn *state;
    void *arg;
    enum redis_phase phase;
    struct redis_link link;
    struct watch *watch, *lookup_watch;
    struct lookup *lookup;
    struct wire_reader *reader;
    struct redis_url url; /* during an attempt; wiped after the greeting */
    struct route *route;
    struct ask ask;
    char node[NODE_TEXT]; /* of this attempt, to be shown */
    bool again;           /* this attempt follows the last one at once, in the same round */
    mono_t round;         /* by when a round that reaches nobody is told */
    bool held;            /* nothing is read: the call at the head is asked of another node, or we
                           * are about to leave for another node */
    unsigned attempts;    /* since the last answer that was of use */
    unsigned turn;        /* which of several addresses is tried */
    struct timer *deadline, *retry, *lost;
    struct call *first, *last, *unsent; /* unsent: first call with bytes to send */
    size_t calls, bytes;                /* bytes held for calls */
    bool closing;
    bool greeted; /* something was heard on this connection */
    mono_t heard; /* ... when last */
    enum redis_refusal leave;  /* what the replies of this turn ask for; NOT: to stay */
    char leave_why[160];
    enum redis_refusal lost_by; /* the last loss */
    char why[320];
    char sha[REDIS_SCRIPTS][41]; /* of this connection; empty: not known */
    bool no_shebang;             /* this server is older than 7 */
};

/* redis.c */
void redis_fail(struct redis *redis, enum redis_refusal refusal, const char *why); /* begins again */
void redis_serve(struct redis *redis); /* reads and writes what goes now */
void redis_leave(struct redis *redis, enum redis_refusal refusal, const char *why);
void redis_count(struct redis *redis, enum redis_refusal refusal); /* its metric */
void redis_greeted(struct redis *redis);

struct redis *redis_open_node(struct redis *of, const struct node *node, const struct login *login,
                              int64_t deadline_ms, redis_state_fn *state, void *arg,
                              struct err *err); /* login: in place of the URL's, or NULL */

void redis_attempt(struct redis *redis); /* redis_attempt.c */
void redis_look_up(struct redis *redis); /* ... once the route is known */
int redis_read_url(const char *setting, struct redis_url *url, struct err *err) MUST_CHECK;

void redis_greet(struct redis *redis);   /* redis_greet.c: AUTH, SELECT, CLIENT SETNAME, PING */

/* redis_calls.c: the queue of calls. */
struct call *call_new(redis_reply_fn *answer, void *arg);
void calls_add(struct redis *redis, struct call *call); /* takes it, whatever the phase */
void calls_lose(struct redis *redis);                   /* all of them: the connection is gone */
void calls_watch(struct redis *redis); /* for what the socket is looked at now */
void calls_answer_head(struct redis *redis, const struct redis_reply *reply, const char *reason);
void calls_answer_lost(struct redis *redis); /* those at the head without a reply to come */
void calls_reply(struct redis *redis, const struct redis_reply *reply);
int calls_write(struct redis *redis, struct err *err) MUST_CHECK;

/* redis_script.c: true if the call was sent again in another form. */
bool script_again(struct redis *redis, struct call **call, const struct redis_reply *reply);
void script_send(struct redis *redis, struct call *call); /* any call that has a tail; takes it */

#endif
