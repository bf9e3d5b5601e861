/*
 * relations.h - what one row of settings.def cannot say: defaults that follow from other settings, how
 * settings must stand to each other, and where a choice narrows the promise.  Pure.
 */
#ifndef SPENDD_CONFIG_RELATIONS_H
#define SPENDD_CONFIG_RELATIONS_H

#include "common/config/settings.h"

/* Fills in what was left empty: instance, ingest.acked, ingest.unacked, admin.listen. */
void settings_derive(struct settings *settings, const char *host_name);

/* One sentence about one setting (the path that the operator should look at). */
typedef void relation_fn(void *arg, const char *path, const char *text);

/* Every relation that does not hold.  Returns how many. */
unsigned settings_relations(const struct settings *settings, relation_fn *say, void *arg);

/* Where the promise is narrower than "counted exactly once".  Returns how many. */
unsigned settings_narrowed(const struct settings *settings, relation_fn *say, void *arg);

/* Of the models' list; settings_relations calls it. */
unsigned model_relations(const struct settings *settings, relation_fn *say, void *arg);

#endif
