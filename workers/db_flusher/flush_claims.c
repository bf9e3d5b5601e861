/*
 * flush_claims.c - the flush puts down which claims it counts: the first thing under the shard's row.
 *
 * What the ledger is for a batch, the row is for a claim: who puts it there counts its elements.  A claim
 * whose row is there already was counted, or given back; the sums were made with it, so the attempt is made
 * again without.  The rows stay for days: a Redis that goes back to an older replica offers old claims again.
 *
 * If we die on any line: the row and what it stands for are rolled back together, or committed together.
 */
#include "workers/db_flusher/flush_steps.h"

#include <string.h>

#define KEPT "7 days"

enum flush_claim_known flush_claim_known(const char *state)
{
    return strcmp(state, "applied") == 0 ? CLAIM_APPLIED : CLAIM_RETURNED;
}

bool step_ask_claims(struct flush *flush)
{
    struct text ids = {0};
    const char *values[1];
    size_t count = 0;

    for (size_t i = 0; i < flush->ask.claims; i++)
        if (flush->ask.claim[i]->known == CLAIM_NEW)
            text_format(&ids, "%s%s", count++ ? "," : "{", flush->ask.claim[i]->id);
    text_put(&ids, "}");
    if (ids.failed)
        pg_disconnect(flush->pg); /* answered LOST: nothing happened */
    values[0] = ids.failed ? "{}" : ids.data;
#ifdef MUTANT_CLAIM_WITHOUT_ROW /* tests/mutants: nothing says that a claim was counted */
    count = 0;
#endif
    if (count > 0) /* the second part sees what was there before the statement */
        flush_query(flush, "WITH put AS (INSERT INTO @.claim (id, state) SELECT id, 'applied' "
                    "FROM unnest($1::text[]) AS id ON CONFLICT DO NOTHING) "
                    "SELECT id, state FROM @.claim WHERE id = ANY ($1::text[])", 1, values);
    text_free(&ids);
    return count > 0;
}

int step_take_claims(struct flush *flush, const struct pg_answer *answer)
{
    for (int row = 0; row < answer->rows; row++)
        for (size_t i = 0; i < flush->ask.claims; i++)
            if (strcmp(flush->ask.claim[i]->id, pg_value(answer, row, 0)) == 0)
                flush->ask.claim[i]->known = flush_claim_known(pg_value(answer, row, 1));
    return answer->rows > 0 ? flush_stop(flush, FLUSH_AGAIN, "claims were counted or given back") : 0;
}

/* A role that may not delete keeps them all; that is no reason to stand down. */
bool step_ask_may_purge(struct flush *flush)
{
    return flush->ask.purge_claims && !flush->ask.trial &&
           flush_query(flush, "SELECT has_table_privilege(tableoid, 'DELETE') FROM @.claim LIMIT 1", 0, NULL);
}

int step_take_may_purge(struct flush *flush, const struct pg_answer *answer)
{
    flush->ask.purge_claims = answer->rows == 1 && pg_value(answer, 0, 0)[0] == 't';
    return 0;
}

bool step_ask_purge_claims(struct flush *flush)
{
    return flush->ask.purge_claims && !flush->ask.trial &&
           flush_query(flush, "DELETE FROM @.claim WHERE at < now() - interval '" KEPT "'", 0, NULL);
}
