/*
 * offloop.h - a function that blocks and knows no deadline (getaddrinfo), run in a thread of its own, so
 * that no loop waits for it.
 */
#ifndef SPENDD_BASE_OFFLOOP_H
#define SPENDD_BASE_OFFLOOP_H

#include "common/base/err.h"

struct offloop;

/* Called in the thread, which has all signals blocked.  It may touch `work` and nothing else. */
typedef void offloop_fn(void *work);

/* `work` comes from malloc and belongs to the thread and the caller together: whoever lets go last frees
 * it.  Only one of them may use it at a time: the caller after offloop_fd has become readable.
 * NULL: err, and `work` stays the caller's alone. */
struct offloop *offloop_start(offloop_fn *function, void *work, struct err *err);

int offloop_fd(const struct offloop *offloop); /* readable when the function has returned */

/* Lets go of the thread and of `work`; a function that still runs ends by itself. */
void offloop_drop(struct offloop **offloop);

#endif
