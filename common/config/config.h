/*
 * config.h - the door to libconfig: the file becomes a fresh struct settings, or a list of errors.
 * Only the supervisor has it.  Reading never disturbs settings that are in use: the caller swaps.
 */
#ifndef SPENDD_CONFIG_CONFIG_H
#define SPENDD_CONFIG_CONFIG_H

#include "common/base/attr.h"
#include "common/config/settings.h"

#include <stdio.h>

/* One line for people: "file:line: text". */
typedef void config_say_fn(void *arg, const char *line);

/* Reads, resolves env: and file:, checks rows, derives defaults, checks relations.  Every error of the
 * file is said.  Variables of environment.def fill in what the file does not say.  0: `settings` is whole;
 * `given` (may be NULL) counts what stood in the file.  -1: it is not.  Blocks for reading small files. */
int config_load(const char *path, struct settings *settings, unsigned *given, config_say_fn *say,
                void *arg) MUST_CHECK;

/* A header of a model: "Name: value", of which the value is the secret. */
bool config_is_header(const struct setting *setting);

/* A setting's value as it may be shown: a secret is masked. */
void config_value(const struct settings *settings, const struct setting *setting, char *text,
                  size_t size);

/* The effective file: every setting, secrets masked; comments say what came from the environment.  Loading
 * it again prints the same (without these). */
void config_print(const struct settings *settings, FILE *to);

#endif
