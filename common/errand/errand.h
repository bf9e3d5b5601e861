/*
 * errand.h - an errand: a question of the operator that one worker must answer itself (dead letters, an
 * audit, a fence in the spool), passed on by control and done by the worker between its own work.
 *
 * Each worker that runs errands listens on a Unix socket in runtime_dir/private; control connects for one
 * errand, sends its words, and reads answers: items of a stream, then the final one.  Not a channel of
 * the bus: who is not there refuses at once instead of finding a stale order later, an asker that leaves
 * is noticed, and a slow one makes the stream wait.
 */
#ifndef SPENDD_ERRAND_ERRAND_H
#define SPENDD_ERRAND_ERRAND_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/harness/harness.h"

#include <stdbool.h>
#include <stddef.h>

#define ERRAND_WORDS_MAX 12
#define ERRAND_ITEM 102 /* status of an item; every other one is final */

/* --- the worker's side --- */
struct errands;
struct errand;

/* A new errand.  The worker owns it until errand_done. */
typedef void errands_fn(void *arg, struct errand *errand);
typedef void errand_room_fn(void *arg);

/* Listens as `worker`.`index`.  NULL and err: it could not; a worker goes on without. */
struct errands *errands_open(struct harness *harness, const char *worker, unsigned index,
                             errands_fn *begin, void *arg, struct err *err);
void errands_close(struct errands **errands); /* after it no errand may be touched */

size_t errand_count(const struct errand *errand);
const char *errand_word(const struct errand *errand, size_t index); /* "" beyond the last */

/* One item.  What the asker does not read yet is kept: look at errand_full before making more. */
void errand_item(struct errand *errand, const char *json, size_t length);
void errand_done(struct errand **errand, int status, const char *json, size_t length);
/* {"error": "..."} */
void errand_refuse(struct errand **errand, int status, const char *format, ...) PRINTF_LIKE(3, 4);

bool errand_gone(const struct errand *errand); /* the asker has left: nobody reads what we say */
bool errand_full(const struct errand *errand); /* enough is kept: wait */
/* Calls once, when there is room again or the asker has left. */
void errand_when_room(struct errand *errand, errand_room_fn *room, void *arg);

/* --- control's side --- */
struct errand_ask;

/* An item (ERRAND_ITEM), or the final answer, after which the ask is gone.  Status 0: the worker left in
 * the middle, `json` says so in words.  Borrowed. */
typedef void errand_answer_fn(void *arg, int status, const char *json, size_t length);

/* NULL and err: there is no such worker at this moment. */
struct errand_ask *errand_ask(struct harness *harness, const char *worker, unsigned index,
                              size_t count, const char *const *words, struct err *err);
void errand_ask_answer(struct errand_ask *ask, errand_answer_fn *answer, void *arg);
void errand_ask_pause(struct errand_ask *ask, bool paused); /* read no more for now */
void errand_ask_drop(struct errand_ask **ask);

#endif
