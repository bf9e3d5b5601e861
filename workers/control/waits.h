/*
 * waits.h - answers that come when something has become true: wait, flush.
 */
#ifndef SPENDD_CONTROL_WAITS_H
#define SPENDD_CONTROL_WAITS_H

#include "workers/control/control.h"

struct waits;
struct waits *waits_new(struct control *control);
void waits_free(struct waits **waits);

#endif
