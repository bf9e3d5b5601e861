/*
 * flusher.h - the flusher's state, shared by the files of its turns: db_flusher.c (life, looking),
 * database.c, hold.c (the lock), reading.c, published.c (the queue), outcome.c (after the attempt), turn.c (its end).
 */
#ifndef SPENDD_DB_FLUSHER_FLUSHER_H
#define SPENDD_DB_FLUSHER_FLUSHER_H

#include "common/harness/harness.h"
#include "workers/db_flusher/attempt.h"
#include "workers/db_flusher/lease.h"
#include "workers/db_flusher/queue.h"

#define DEADLOCKS_BEFORE_QUEUEING 2 /* for whole tables, in front of foreign writers */

struct flusher {
    struct harness *harness;
    const struct settings *settings;
    struct redis *redis;
    struct pg *pg;
    struct layout *layout;
    struct schema *schema;
    struct flush *flush;
    struct attempt *attempt;
    struct asked *asked;
    struct adopt *adopt; /* NULL: LiteLLM's lists are left to its pods */
    struct stray *stray; /* adopt_stray.c */
    struct queue queue;
    struct lease lease;
    struct load load;  /* in flight, or being read */
    struct load ahead; /* read behind it, to be the next one */
    struct reading {
        bool ahead;    /* a load is being read ahead */
        bool asked;    /* an answer of the queue is to come */
        bool dropped;  /* it is not wanted any more */
        bool wanted;   /* the turn waits for it */
        bool ready;    /* `ahead` is whole */
        bool good;     /* and may be used: by the turn behind one that committed and published, only by that */
        bool moved;    /* this load is being published: what stands behind it moves to the head */
    } reading;
    struct timer *turn_timer, *renew_timer, *idle_timer;

    enum { SEES_NOTHING, SEES_AUDIT, SEES_WORK } sees; /* in the queue, without the lock */
    bool busy, audited, gate_closed, draining, leaving, stood_down, auditing, renewing, unlocked, newer;
    mono_t turn_began, flush_began, empty_since, schema_due, catalog_due, audit_due, pg_used, target_said;
    bool paused;          /* by the operator (spendctl pause flush), until pause_ends */
    mono_t pause_ends;
    bool stood_back;      /* in the last turn */
    mono_t hold_ends;     /* the same for the whole fleet, as Redis said when last asked */
    int64_t waiting;      /* batches in the queue when last read */
    int64_t limit;        /* batches of the next flush */
    int64_t statement_ms; /* of the next flush */
    int backoff, early;
    struct refusal_voice redis_voice;
    unsigned redis_refusals; /* in a row */
    int deadlocks;        /* lost since the last commit */
    struct refusal_voice voice; /* what was last said of PostgreSQL's refusals */
    char missing[512]; bool keeps; /* tables of LiteLLM that were said to be missing; sums for them are kept */
    char said[280];       /* status as last given */
    char word[160];       /* status: what is known of PostgreSQL */
    bool waits;           /* the status says that an answer is waited for */
    char ignored[256];    /* parameters of database.url that were said to be ignored */
    bool aside_seen;      /* looked at what was set aside */
    int64_t aside_at, aside_taken; /* while looking: next index; how many went back */
};

/* turn.c: each but the last seven ends the turn */
void turn_end(struct flusher *f, int64_t delay_ms);
void turn_end_calmly(struct flusher *f);
void turn_end_backing_off(struct flusher *f);
void turn_end_refused(struct flusher *f, enum pg_refusal refusal); /* pauses by its row; not stood down */
/* The gate closes.  PG_REFUSED_NOT: our own finding, a human must act. */
void turn_stand_down(struct flusher *f, enum pg_refusal refusal, const char *why);
void turn_redis_failed(struct flusher *f, const char *what, const struct redis_reply *reply,
                       const char *reason);
/* PostgreSQL said no: counted, said, left if its row says so.  true: stand down. */
bool turn_refused(struct flusher *f, const char *what, enum pg_refusal refusal, const char *why);
void turn_note_refusal(struct flusher *f, const char *event, const char *what,
                       enum pg_refusal refusal, const char *why); /* counted, said, left */
int64_t turn_jitter(int64_t ms); /* 0 to ms */
void turn_probe(struct flusher *f, bool passed, const char *detail);
void turn_redis_works(struct flusher *f);
void flusher_count(struct flusher *f, enum metric metric, int64_t amount);

/* hold.c */
void hold_take(struct flusher *f); /* goes on to the queue */
void hold_renew(void *flusher);    /* timer */
void hold_give_up(struct flusher *f);
void hold_lost(struct flusher *f);
void hold_leave(struct flusher *f); /* gives up the lock, then the process ends */

/* database.c */
void database_ensure(struct flusher *f); /* goes on to the lock or the queue */
void database_watch(void *flusher); /* timer: closes what is idle, says what is waited for */
void database_says(struct flusher *f, const char *format, ...) PRINTF_LIKE(2, 3); /* status */

void database_target(struct flusher *f); /* its schema is known: is it this Redis' one? */
void catalog_ensure(struct flusher *f); /* the layout's tables; then goes on to database_target */
void catalog_count(struct flusher *f, const struct flush_report *report);

void aside_begin(struct flusher *f); /* the lock is held: looks aside, then goes on to the queue */
void reading_hold(void *flusher, const struct redis_reply *reply, const char *reason);
void reading_begin(struct flusher *f); /* the lock is held: goes on to the attempt */
void reading_ahead(void *flusher);     /* the transaction is busy: reads the next load, if there is one */
void reading_drop_ahead(struct flusher *f);
void reading_turn(struct flusher *f);  /* a turn begins */
void published_read(struct flusher *f);  /* of this load; then the attempt */
void published_audit(struct flusher *f);
void published_audited(struct flusher *f);
mono_t published_audit_next(const struct flusher *f);
void outcome_take(void *flusher, const struct flush_report *report); /* flush_fn */
void outcome_went_in(struct flusher *f, const struct flush_report *report); /* committed, whatever it was */
typedef void outcome_less_fn(struct flusher *f, enum pg_refusal refusal); /* the next one is to be smaller */
void outcome_failed(struct flusher *f, const struct flush_report *report, outcome_less_fn *less);
void outcome_less(struct flusher *f); /* the next flush takes half */

bool flusher_paused(const struct flusher *f); /* by the operator: nothing is written to PostgreSQL */

extern const struct worker migrate_task, give_back_task;

#endif
