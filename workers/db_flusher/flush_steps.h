/*
 * flush_steps.h - what the files of one flush share: the helpers of the walk (flush.c), and the steps,
 * each an `ask` (sends; false: nothing to do) and a `take` (looks at the answer; -1: the report says why).
 */
#ifndef SPENDD_DB_FLUSHER_FLUSH_STEPS_H
#define SPENDD_DB_FLUSHER_FLUSH_STEPS_H

#include "workers/db_flusher/flush_parts.h"

/* flush.c */
int flush_stop(struct flush *flush, enum flush_result result, const char *why); /* -1 */
int64_t flush_deadline_ms(const struct flush *flush);
bool flush_query(struct flush *flush, const char *sql, int count, const char *const *values); /* true */
void flush_answered(void *flush, const struct pg_answer *answer); /* pg_answer_fn of every step */

/* flush_begin.c */
bool step_ask_begin(struct flush *flush);
bool step_ask_check(struct flush *flush);
int step_take_check_hint(struct flush *flush, const struct pg_answer *answer);
bool step_ask_lock(struct flush *flush);
int step_take_lock(struct flush *flush, const struct pg_answer *answer);
int step_take_check_locked(struct flush *flush, const struct pg_answer *answer);

/* flush_ledger.c */
void flush_list_epochs(struct flush *flush);
bool step_ask_hint(struct flush *flush);
int step_take_hint(struct flush *flush, const struct pg_answer *answer);
bool step_ask_make_ledger(struct flush *flush);
bool step_ask_read_ledger(struct flush *flush);
int step_take_ledger(struct flush *flush, const struct pg_answer *answer);
bool step_ask_advance(struct flush *flush);
int step_take_advance(struct flush *flush, const struct pg_answer *answer);

/* flush_letters.c */
bool step_ask_letters(struct flush *flush);
int step_take_letters(struct flush *flush, const struct pg_answer *answer);

/* flush_claims.c */
bool step_ask_claims(struct flush *flush);
int step_take_claims(struct flush *flush, const struct pg_answer *answer);
bool step_ask_may_purge(struct flush *flush);
int step_take_may_purge(struct flush *flush, const struct pg_answer *answer);
bool step_ask_purge_claims(struct flush *flush);

/* flush_windows.c */
bool step_ask_windows_there(struct flush *flush);
int step_take_windows_there(struct flush *flush, const struct pg_answer *answer);
bool step_ask_windows(struct flush *flush);
int step_take_windows(struct flush *flush, const struct pg_answer *answer);

/* flush_up.c */
/* Rows of `row` into a temporary table made for them; false: there are none. */
bool flush_copy(struct flush *flush, const char *create, const char *sql, bool (*row)(struct flush *));
int step_take_copy(struct flush *flush, const struct pg_answer *answer);
bool step_ask_copy_log(struct flush *flush);
int step_take_copy_log(struct flush *flush, const struct pg_answer *answer);
bool step_ask_copy_ids(struct flush *flush);
int step_take_copy_ids(struct flush *flush, const struct pg_answer *answer);
bool step_ask_copy_dead(struct flush *flush);
int step_take_copy_dead(struct flush *flush, const struct pg_answer *answer);
bool step_ask_sums(struct flush *flush);
bool step_ask_copy_sums(struct flush *flush);
int step_take_copy_sums(struct flush *flush, const struct pg_answer *answer);

/* flush_logs.c */
bool step_ask_copy_logs(struct flush *flush);
int step_take_copy_logs(struct flush *flush, const struct pg_answer *answer);
bool step_ask_put_logs(struct flush *flush);
int step_take_put_logs(struct flush *flush, const struct pg_answer *answer);
bool step_ask_put_others(struct flush *flush);
int step_take_put_others(struct flush *flush, const struct pg_answer *answer);

/* flush_events.c */
bool step_repeats(struct flush *flush, const char *sqlstate); /* a key was there: to be made again */
bool step_ask_insert_log(struct flush *flush);
int step_take_insert(struct flush *flush, const struct pg_answer *answer);
bool step_ask_insert_seen(struct flush *flush);
int step_take_insert_seen(struct flush *flush, const struct pg_answer *answer);
bool step_ask_look_early(struct flush *flush);
bool step_ask_look(struct flush *flush);
int step_take_look_early(struct flush *flush, const struct pg_answer *answer);
int step_take_look(struct flush *flush, const struct pg_answer *answer);

/* flush_commit.c */
bool step_ask_lock_tables(struct flush *flush);
bool step_ask_move(struct flush *flush);
bool step_ask_lock_rows(struct flush *flush);
bool step_ask_merge(struct flush *flush);
int step_take_merge(struct flush *flush, const struct pg_answer *answer);
bool step_ask_dead(struct flush *flush);
int step_take_dead(struct flush *flush, const struct pg_answer *answer);
bool step_ask_commit(struct flush *flush);
void flush_count_fates(struct flush *flush);
int step_take_commit(struct flush *flush, const struct pg_answer *answer);

#endif
