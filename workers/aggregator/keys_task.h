/*
 * keys_task.h - what an aggregator's executable does instead for `spendd --curve-keys`.
 */
#ifndef SPENDD_AGGREGATOR_KEYS_TASK_H
#define SPENDD_AGGREGATOR_KEYS_TASK_H

#include "common/harness/harness.h"

extern const struct worker keys_task;

#endif
