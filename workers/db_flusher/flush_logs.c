/*
 * flush_logs.c - the flush writes rows into a log of events that is not ours (LiteLLM's SpendLogs).
 *
 * It decides nothing about events: whether one was counted, our own arbiter has said before.  Other writers put
 * rows there too, under ids that their providers use again: a row whose id another event has is written under
 * a longer id, and counted; one that a pod wrote for this very request is left alone.
 * If we die on any line: rolled back with the rest.
 */
#include "workers/db_flusher/flush_steps.h"

bool step_ask_copy_logs(struct flush *flush)
{
    const struct layout_log *log = &flush->layout->log;

    flush->logs_sent = flush->logs_in = 0;
    return log->create && flush->ordered > 0 && flush_copy(flush, log->create, log->copy, rows_logs);
}

int step_take_copy_logs(struct flush *flush, const struct pg_answer *answer)
{
    flush->logs_sent = answer->affected;
    return step_take_copy(flush, answer);
}

bool step_ask_put_logs(struct flush *flush)
{
    return flush->logs_sent > 0 && flush_query(flush, flush->layout->log.insert, 0, NULL);
}

int step_take_put_logs(struct flush *flush, const struct pg_answer *answer)
{
    flush->logs_in = answer->affected;
    flush->report.rows += answer->affected;
    return 0;
}

bool step_ask_put_others(struct flush *flush)
{
    return flush->logs_in < flush->logs_sent && flush_query(flush, flush->layout->log.others, 0, NULL);
}

int step_take_put_others(struct flush *flush, const struct pg_answer *answer)
{
    flush->report.collided = answer->affected;
    flush->report.there = flush->logs_sent - flush->logs_in - answer->affected;
    flush->report.rows += answer->affected;
    return 0;
}
