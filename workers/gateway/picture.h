/*
 * picture.h - everything that is known of this instance at one moment, for those who show it: the pages of
 * counters, the supervisor's word, the health checker's.
 */
#ifndef SPENDD_GATEWAY_PICTURE_H
#define SPENDD_GATEWAY_PICTURE_H

#include "common/harness/roster.h"
#include "common/json/json_tree.h"
#include "common/stats/exposition.h"
#include "workers/gateway/gateway.h"

struct picture {
    struct exposition shown; /* points into what follows */
    struct exposition_worker worker[ROSTER_SLOTS_MAX];
    struct exposition_model *model;
    struct json_tree *report; /* the health checker's document; NULL: none, or it is no JSON */
};

/* Borrows from the gateway until it is dropped, within the same turn of the loop. */
void picture_take(struct picture *picture, const struct gateway *gateway);
void picture_drop(struct picture *picture);

/* The figure over all workers. */
int64_t picture_sum(const struct picture *picture, enum metric metric);
void picture_histogram(const struct picture *picture, enum histogram_id id, struct histogram *sum);

#endif
