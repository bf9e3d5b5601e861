/*
 * recover.h - what a lane's new holder does before it takes anything: judge the disk and find
 * what the former holder left.
 */
#ifndef SPENDD_AGGREGATOR_RECOVER_H
#define SPENDD_AGGREGATOR_RECOVER_H

#include "workers/aggregator/lane.h"

/* May a spool lie there?  -1: no (err says what to do). */
int recover_volume(const char *path, bool allow_volatile, struct err *err) MUST_CHECK;
/* Lists the sealed segments, seals the open ones under a new identity. */
int recover_lane(struct lane *lane, struct err *err) MUST_CHECK;
/* Takes over what lies in lanes that nobody holds and nobody will (index >= processes), before ready. */
void recover_adopt(struct lane *lane, int64_t processes);
/* The same in the running loop, and once more what recover_lane had to leave: one short step; true: there
 * is more to do. */
bool recover_step(struct lane *lane, int64_t processes);

#endif
