/*
 * spool_task.h - what `spendd --spool` does with a volume that no spendd runs on.
 */
#ifndef SPENDD_AGGREGATOR_SPOOL_TASK_H
#define SPENDD_AGGREGATOR_SPOOL_TASK_H

#include "common/harness/harness.h"

/* A chain of tasks: spool-ls, spool-cat, spool-verify, spool-recover. */
extern const struct worker spool_ls_task;

#endif
