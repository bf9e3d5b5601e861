/*
 * task.h - a worker's executable run once for one task, in the foreground, without a supervisor's life.
 */
#ifndef SPENDD_SUPERVISOR_TASK_H
#define SPENDD_SUPERVISOR_TASK_H

#include "common/config/settings.h"

/* Starts `worker` with its settings and waits until it has left; prints what it said last.  Returns the
 * exit code for the shell. */
int task_run(const struct settings *settings, const char *worker, const char *task);

#endif
