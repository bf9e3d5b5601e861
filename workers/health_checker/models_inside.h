/*
 * models_inside.h - what models.c (whose turn), models_round.c (the round) and models_write.c share.
 */
#ifndef SPENDD_HEALTH_CHECKER_MODELS_INSIDE_H
#define SPENDD_HEALTH_CHECKER_MODELS_INSIDE_H

#include "common/base/clock.h"
#include "common/litellm/lists.h"
#include "workers/health_checker/models.h"
#include "workers/health_checker/results.h"
#include "workers/health_checker/round.h"

enum round_kind { ROUND_NONE, ROUND_OWN /* we hold the lock */, ROUND_ALONE };

struct models {
    struct harness *harness;
    models_fn *changed;
    void *arg;
    struct redis *redis; /* NULL: not needed now */
    struct checks *checks;
    struct timer *turn, *renew;
    wall_t started;
    char id[CHECKED_BY_BYTES]; /* who we are in the lock */
    bool down;  /* Redis: an attempt has failed since it last answered */
    bool asked; /* an answer is on its way */
    bool closing;
    bool again; /* our list is new: a round that lacks a model of it is not waited out, once */
    struct round_wait wait;
    enum round_kind round;

    bool have; /* a result: */
    struct results last;
    mono_t last_at;

    /* As Redis said last. */
    bool cached;
    char owner[CHECKED_BY_BYTES]; /* of the lock; "": nobody */
    char known_at[24], cached_by[CHECKED_BY_BYTES];
    mono_t cached_since; /* when the round that is kept ended */

    models_fn *released; /* models_release is under way */
    void *released_arg;
};

struct keys {
    char lock[LITELLM_KEY], round[LITELLM_KEY], litellm[LITELLM_KEY];
};

struct round_rules models_rules(const struct models *models);

/* Is it the list, or how it is shared, that has changed? */
bool models_none(const struct models *models);

mono_t models_ago(int64_t ms);
struct keys models_keys(const struct models *models);

/* What the lock holds. */
void models_lock_value(const struct models *models, char to[CHECKED_BY_BYTES + 2]);

/* Takes results over that are so old. */
void models_adopt(struct models *models, const struct results *results, int64_t age_ms);

/* No result that we know is younger than the interval. */
bool models_due(const struct models *models);

/* Our list is new, and what we know lacks a model of it: not to be waited out. */
bool models_lack(const struct models *models);

/* The next look, with a fifth of jitter. */
void models_turn_in_ms(struct models *models, int64_t ms);
void models_poll_later(struct models *models);

void models_begin_round(struct models *models, enum round_kind kind);
void models_renew(void *arg); /* the timer */
void models_checked(void *arg, const struct result *found, unsigned count);

/* Breaks the round off and gives the lock back; true: `released` is called later. */
bool models_unlock(struct models *models);

#endif
