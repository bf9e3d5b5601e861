/*
 * watch.h - figures of the stores against their thresholds: states, since when, and who is told.
 */
#ifndef SPENDD_HEALTH_CHECKER_WATCH_H
#define SPENDD_HEALTH_CHECKER_WATCH_H

#include "common/base/err.h"
#include "common/json/json.h"
#include "workers/health_checker/figures.h"

struct harness;
struct store_watch;

enum watch_store { WATCH_STORE_redis, WATCH_STORE_database, WATCH_STORE_host };

typedef void watch_changed_fn(void *arg);

struct store_watch *store_watch_new(struct harness *harness, watch_changed_fn *changed, void *arg, struct err *err);
void store_watch_free(struct store_watch **watch);

/* What a probe of this store has found; its other figures are left alone. */
void store_watch_take(struct store_watch *watch, enum watch_store store, const struct figures *figures);

/* Thresholds may be others now. */
void store_watch_reload(struct store_watch *watch);

/* The member "stores" of face.h. */
void store_watch_write(const struct store_watch *watch, struct json_out *out);

#endif
