/*
 * ranges.h - an int8multirange as PostgreSQL writes it, "{[1,13),[15,16)}": is a seq in it?  Pure.
 */
#ifndef SPENDD_AGGREGATOR_RANGES_H
#define SPENDD_AGGREGATOR_RANGES_H

#include <stdbool.h>
#include <stdint.h>

/* Well-formed throughout? */
bool ranges_valid(const char *text);
bool ranges_contain(const char *text, uint64_t seq);

#endif
