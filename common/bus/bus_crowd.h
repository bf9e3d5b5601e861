/*
 * bus_crowd.h - a bound on connections: who comes above it is hung up on, and may try again.
 *
 * libzmq has none, and without descriptors it would spin in accept, and we could open no file.
 */
#ifndef SPENDD_BUS_CROWD_H
#define SPENDD_BUS_CROWD_H

#include "common/bus/bus.h"

/* Of this process, over all its sockets; call it when these are open.  Returns what it will be:
 * RLIMIT_NOFILE may allow fewer. */
unsigned bus_crowd_bound(struct bus *bus, unsigned connections);

/* Turns away those above the bound; how many.  To be called some dozens of times a second.  Costs two
 * system calls while there is room. */
unsigned bus_crowd_turn_away(struct bus *bus);

#endif
