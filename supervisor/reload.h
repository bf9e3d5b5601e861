/*
 * reload.h - what a new configuration changes: for each setting, is it the same, applied live, a restart of
 * the workers that read it, or of spendd?  Pure.
 */
#ifndef SPENDD_SUPERVISOR_RELOAD_H
#define SPENDD_SUPERVISOR_RELOAD_H

#include "common/config/settings.h"

#include <stdbool.h>
#include <stdint.h>

enum reload_outcome { RELOAD_SAME, RELOAD_LIVE, RELOAD_WORKER, RELOAD_FULL };

/* A secret that is read from a file is the same as long as its `file:` is. */
enum reload_outcome reload_compare(const struct settings *before, const struct settings *after,
                                   const struct setting *setting);

/* How many settings have this outcome. */
unsigned reload_count(const struct settings *before, const struct settings *after,
                      enum reload_outcome outcome);

/* Readers (bits as in struct setting) of those. */
uint32_t reload_readers(const struct settings *before, const struct settings *after,
                        enum reload_outcome outcome);

/* What needs a full restart becomes what it was. */
void reload_keep_full(const struct settings *before, struct settings *after);

/* For people: "applied live", "worker restarted", "needs a full restart"; with `dry_run` what would be. */
const char *reload_word(enum reload_outcome outcome, bool dry_run);

/* Names of the workers that read it, with commas; "spendd" where only the supervisor does. */
void reload_reader_names(const struct setting *setting, char *names, size_t size);

#endif
