/*
 * push_task.h - the second half of `spendd --spool push`: sealed segments of a volume, into Redis.
 */
#ifndef SPENDD_REDIS_WRITER_PUSH_TASK_H
#define SPENDD_REDIS_WRITER_PUSH_TASK_H

#include "common/harness/harness.h"

extern const struct worker push_task;

#endif
