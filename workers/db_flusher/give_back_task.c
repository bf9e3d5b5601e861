/*
 * give_back_task.c - `spendd --give-back`: claims that a killed flusher left in LiteLLM's Redis go back to the
 * heads of their lists, so that its pods can take them, or leave Redis where they were counted already.
 *
 * For the operator who takes spendd away after a kill; the next start does the same by itself.  Needs no pod
 * lock, and may run beside a living flusher: what PostgreSQL says of a claim decides, and it is told first.
 * Owns its own two connections.  If we die on any line: the claims that are left stand in Redis, and running
 * it again finishes them.
 */
#include "common/harness/harness.h"
#include "workers/db_flusher/flusher.h"
#include "workers/db_flusher/give_back.h"

#include <stdlib.h>

#define EXIT_REFUSED 1
#define REPLY_BYTES (256 * 1024 * 1024)

struct giving {
    struct harness *harness;
    struct redis *redis;
    struct pg *pg;
    struct layout *layout;
    struct schema *schema;
    struct give_back *back;
    struct claim claim[CLAIMS_MOST];
    size_t claims, awaited, found, returned, counted;
    bool begun, failed;
};

static void leave(struct giving *giving, int code)
{
    harness_leave(giving->harness, code);
}

static void finish(struct giving *giving)
{
    if (giving->failed) {
        harness_status(giving->harness, "Redis did not answer: run it again");
        leave(giving, EXIT_TEMPORARY);
        return;
    }
    harness_status(giving->harness, "%zu claims found: %zu given back to their lists, %zu were counted already",
                   giving->found, giving->returned, giving->counted);
    leave(giving, EXIT_ASKED);
}

static void on_settled(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct claim *claim = arg;
    struct giving *giving = claim->owner;
    bool done = redis_said(reply, "ok");

    (void)reason;
    giving->returned += done && claim->flush.known == CLAIM_RETURNED;
    giving->counted += done && claim->flush.known == CLAIM_APPLIED;
    giving->failed |= !done && !redis_said(reply, "gone"); /* gone: a living flusher was faster */
    if (--giving->awaited == 0)
        finish(giving);
}

static void on_marked(void *arg, enum pg_refusal refusal, const char *why)
{
    struct giving *giving = arg;

    if (why != NULL) {
        harness_status(giving->harness, "PostgreSQL: %.140s", why);
        leave(giving, pg_refusal_row(refusal)->class < REFUSAL_STAND_DOWN ? EXIT_TEMPORARY : EXIT_REFUSED);
        return;
    }
    giving->awaited = giving->found;
    for (size_t i = 0; i < giving->claims; i++)
        if (claim_there(&giving->claim[i]))
            claim_settle(&giving->claim[i], giving->redis, on_settled, &giving->claim[i]);
}

static void on_connected(void *arg, const struct pg_answer *answer)
{
    struct giving *giving = arg;

    if (answer->outcome == PG_OK) {
        give_back_mark(giving->back, giving->claim, giving->claims, on_marked, giving);
        return;
    }
    harness_status(giving->harness, "no connection to PostgreSQL: %.120s", answer->text);
    leave(giving, EXIT_TEMPORARY);
}

static void on_claim(void *arg, const struct redis_reply *reply, const char *reason)
{
    struct claim *claim = arg;
    struct giving *giving = claim->owner;

    (void)reason;
    if (!redis_said(reply, "ok") || reply->items < 4)
        giving->failed = true;
    else
        giving->found += claim_take(claim, reply) == CLAIM_TAKEN;
    if (--giving->awaited > 0)
        return;
    if (giving->failed || giving->found == 0)
        finish(giving);
    else
        pg_connect(giving->pg, on_connected, giving);
}

/* Looks at every claim, and makes none: no elements may be moved. */
static void on_redis(void *arg, bool up, const char *reason)
{
    struct giving *giving = arg;

    if (!up) {
        harness_status(giving->harness, "no connection to Redis: %.130s", reason);
        leave(giving, EXIT_TEMPORARY);
        return;
    }
    if (giving->begun)
        return;
    giving->begun = true;
    giving->awaited = giving->claims;
    for (size_t i = 0; i < giving->claims; i++)
        claim_ask(&giving->claim[i], giving->redis, 0, 0, on_claim, &giving->claim[i]);
}

static void drain_giving(void *self, mono_t deadline)
{
    struct giving *giving = self;

    (void)deadline; /* nobody waits for us any more */
    leave(giving, EXIT_TEMPORARY);
}

static void close_giving(void *self)
{
    struct giving *giving = self;

    pg_close(&giving->pg);
    redis_close(&giving->redis);
    give_back_close(&giving->back);
    schema_close(&giving->schema);
    layout_close(&giving->layout);
    claims_free(giving->claim, giving->claims);
    free(giving);
}

static int open_doors(struct giving *giving, const struct settings *s, struct err *err)
{
    struct redis_options redis = redis_options_from(s, "spendd-give-back");
    const struct pg_options pg = {s->database_url, "spendd give-back", s->database_connect_ms,
                                  s->database_socket_timeout_ms};

    redis.reply_bytes_max = REPLY_BYTES;
    if (pg_url_check(s->database_url, NULL, 0, err) == 0)
        giving->pg = pg_open(giving->harness, &pg, err);
    giving->layout = giving->pg ? layout_open(s, err) : NULL;
    giving->schema = giving->layout ? schema_open(giving->pg, s, giving->layout, err) : NULL;
    giving->redis = giving->schema ? redis_open(giving->harness, &redis, on_redis, giving, err) : NULL;
    return giving->redis ? 0 : -1;
}

static void *open_giving(struct harness *harness, int *code, struct err *err)
{
    const struct settings *s = harness_settings(harness);
    struct giving *giving = calloc(1, sizeof *giving);

    *code = EXIT_CONFIGURATION;
    if (giving == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    giving->harness = harness;
    if (open_doors(giving, s, err) != 0) {
        close_giving(giving);
        return NULL;
    }
    giving->back = give_back_open(giving->pg, s, giving->schema);
    giving->claims = claims_init(giving->claim, s, giving);
    return giving;
}

const struct worker give_back_task = {
    .name = "give-back",
    .open = open_giving,
    .drain = drain_giving,
    .close = close_giving,
};
