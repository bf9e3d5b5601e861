/*
 * money.h - decimal text <-> integer 10^-12 USD, and exact sums.  Money is never a float.
 * Pure: no I/O.
 */
#ifndef SPENDD_MONEY_MONEY_H
#define SPENDD_MONEY_MONEY_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

#define MONEY_SCALE 12
#define MONEY_MAX 1000000000000000000LL /* 10^6 USD: magnitude of one event stays below */
#define MONEY_TEXT 48                   /* room for any sum as text, with NUL */

typedef __int128 money_sum_t;

/* Decimal text as JSON writes numbers (sign, digits, fraction, exponent) -> 10^-12 USD; half-even
 * beyond 12 fractional digits.  Refuses everything else, NaN and infinity included. */
int money_parse(const char *text, size_t length, int64_t *pico, struct err *err) MUST_CHECK;

/* The same for any scale up to 12: text -> units of 10^-scale.  -1: no decimal number; -2: its
 * magnitude is 10^18 units or more. */
int decimal_parse(const char *text, size_t length, int scale, int64_t *units) MUST_CHECK;

/* Exact decimal text without exponent, "-0.000000000001" at the shortest of its kind; trailing zeros
 * and a trailing point are cut.  Returns its length. */
size_t money_text(money_sum_t pico, char text[MONEY_TEXT]);

#endif
