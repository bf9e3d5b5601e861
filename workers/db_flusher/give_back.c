/*
 * give_back.c - see give_back.h.
 *
 * One transaction under the shard's row, the lock of every transaction that writes: mark, read, COMMIT.
 * Invariant: nothing is told to the asker before the COMMIT has said COMMIT.
 * If we die on any line: before COMMIT nothing happened; after it whoever finds the claim reads `returned`
 * and moves its elements back.
 */
#include "workers/db_flusher/give_back.h"

#include "common/pg/transaction.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct give_back {
    struct pg *pg;
    const struct settings *settings;
    const struct schema *schema;
    struct claim *claim;
    size_t claims;
    enum flush_claim_known known[CLAIMS_MOST]; /* said when it is committed */
    struct text sql, ids;
    enum pg_refusal refusal;
    char why[256];
    give_back_fn *done;
    void *arg;
};

static int64_t deadline_ms(const struct give_back *back)
{
    return back->settings->database_statement_ms + back->settings->database_socket_timeout_ms;
}

static void on_rolled_back(void *arg, const struct pg_answer *answer)
{
    struct give_back *back = arg;

    (void)answer;
    back->done(back->arg, back->refusal, back->why);
}

static void fail(struct give_back *back, enum pg_refusal refusal, const char *why)
{
    back->refusal = refusal;
    snprintf(back->why, sizeof back->why, "%s", why);
    if (pg_connected(back->pg))
        pg_query(back->pg, "ROLLBACK", 0, NULL, deadline_ms(back), on_rolled_back, back);
    else
        on_rolled_back(back, NULL);
}

/* COMMIT of a failed transaction succeeds, with the tag ROLLBACK. */
static void on_committed(void *arg, const struct pg_answer *answer)
{
    struct give_back *back = arg;

    if (answer->outcome != PG_OK || strcmp(answer->tag, "COMMIT") != 0) {
        fail(back, answer->refusal, answer->outcome != PG_OK ? answer->text : "PostgreSQL rolled back");
        return;
    }
    for (size_t i = 0; i < back->claims; i++)
        if (claim_there(&back->claim[i]))
            back->claim[i].flush.known = back->known[i];
    back->done(back->arg, PG_REFUSED_NOT, NULL);
}

static void on_marked(void *arg, const struct pg_answer *answer)
{
    struct give_back *back = arg;

    if (answer->outcome != PG_OK) {
        fail(back, answer->refusal, answer->text);
        return;
    }
    for (size_t i = 0; i < back->claims; i++) {
        back->known[i] = CLAIM_RETURNED;
        for (int row = 0; row < answer->rows; row++)
            if (strcmp(pg_value(answer, row, 0), back->claim[i].flush.id) == 0)
                back->known[i] = flush_claim_known(pg_value(answer, row, 1));
    }
    pg_query(back->pg, "COMMIT", 0, NULL, deadline_ms(back), on_committed, back);
}

static void on_begun(void *arg, const struct pg_answer *answer)
{
    struct give_back *back = arg;
    const char *values[] = {back->ids.data};

    if (answer->outcome != PG_OK) {
        fail(back, answer->refusal, answer->text);
        return;
    }
    text_clear(&back->sql);
#ifdef MUTANT_GIVE_BACK_UNMARKED /* tests/mutants: looks at the ledger, and gives back what it does not know */
    text_sql(&back->sql, "SELECT id, state FROM @.claim WHERE id = ANY ($1::text[])", schema_quoted(back->schema));
#else
    text_sql(&back->sql,
             "WITH put AS (INSERT INTO @.claim (id, state) SELECT id, 'returned' FROM unnest($1::text[]) AS id "
             "ON CONFLICT DO NOTHING) SELECT id, state FROM @.claim WHERE id = ANY ($1::text[])",
             schema_quoted(back->schema));
#endif
    if (back->sql.failed || back->ids.failed)
        fail(back, PG_REFUSED_NOT, "out of memory");
    else
        pg_query(back->pg, back->sql.data, 1, values, deadline_ms(back), on_marked, back);
}

void give_back_mark(struct give_back *back, struct claim *claims, size_t count, give_back_fn *done, void *arg)
{
    const struct settings *s = back->settings;
    const struct pg_limits limits = {s->database_statement_ms, s->database_lock_ms,
                                     s->database_socket_timeout_ms};
    char begin[PG_BEGIN_BYTES];
    size_t listed = 0;

    back->claim = claims;
    back->claims = count;
    back->done = done;
    back->arg = arg;
    text_clear(&back->ids);
    text_put(&back->ids, "{");
    for (size_t i = 0; i < count; i++)
        if (claim_there(&claims[i]))
            text_format(&back->ids, "%s%s", listed++ ? "," : "", claims[i].flush.id);
    text_put(&back->ids, "}");
    pg_begin_text(begin, &limits);
    text_clear(&back->sql);
    text_put(&back->sql, begin);
    text_sql(&back->sql, "SELECT set_config('synchronous_commit', 'on', true) WHERE "
             "current_setting('synchronous_commit') IN ('off', 'local'); "
             "SELECT FROM @.shard WHERE shard = 0 FOR UPDATE", schema_quoted(back->schema));
    if (back->sql.failed)
        fail(back, PG_REFUSED_NOT, "out of memory");
    else
        pg_query(back->pg, back->sql.data, 0, NULL, deadline_ms(back), on_begun, back);
}

struct give_back *give_back_open(struct pg *pg, const struct settings *settings, const struct schema *schema)
{
    struct give_back *back = calloc(1, sizeof *back);

    if (back == NULL)
        bug("out of memory");
    back->pg = pg;
    back->settings = settings;
    back->schema = schema;
    return back;
}

void give_back_close(struct give_back **back)
{
    if (*back == NULL)
        return;
    text_free(&(*back)->sql);
    text_free(&(*back)->ids);
    free(*back);
    *back = NULL;
}
