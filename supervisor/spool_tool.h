/*
 * spool_tool.h - `spendd --spool ls|cat|verify|push DIR`: a volume without a daemon.
 */
#ifndef SPENDD_SUPERVISOR_SPOOL_TOOL_H
#define SPENDD_SUPERVISOR_SPOOL_TOOL_H

#include "common/config/settings.h"

#include <stdbool.h>

/* Does the verb need the configuration (where Redis is)?  -1: there is no such verb. */
int spool_tool_needs_config(const char *verb);

/* `settings` is changed.  The exit code for the shell. */
int spool_tool(struct settings *settings, const char *verb, const char *directory);

#endif
