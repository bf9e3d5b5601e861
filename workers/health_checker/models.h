/*
 * models.h - the health of the models: one instance checks, all of them know.
 */
#ifndef SPENDD_HEALTH_CHECKER_MODELS_H
#define SPENDD_HEALTH_CHECKER_MODELS_H

#include "common/base/err.h"
#include "common/config/settings.h"
#include "common/json/json.h"

struct harness;
struct models;

typedef void models_fn(void *arg);

/* `changed`: what models_write would write is another now. */
struct models *models_new(struct harness *harness, models_fn *changed, void *arg, struct err *err);
void models_free(struct models **models);

void models_reload(struct models *models, const struct settings *before);

/* Gives up a lock that we hold, so that another instance goes on at once; then `done`. */
void models_release(struct models *models, models_fn *done, void *arg);

/* The members "shared_status" and "models" of face.h. */
void models_write(const struct models *models, struct json_out *out);

#endif
