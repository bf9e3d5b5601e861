/*
 * money.h - decimal text <-> integer 10^-12 USD, and exact sums.  Money is never a float.
 * Pure: no I/O.
 *
 * amount_t is for what comes as a float from somebody else and goes into a float column: LiteLLM's.  A
 * Python float is written with at most 17 significant digits, so one of 10^-8 USD or more is exact at
 * 10^-24 USD, as an event's 10^-12 is; a smaller one is rounded once, by at most 5 * 10^-25.  Sums are exact.
 * A sum becomes a float8 once, correctly rounded: half a unit in the last place, and the server's addition
 * to the column the same once more.  So a total that n flushes touched is off by at most n units in its last
 * place, whatever number of events or elements they summed.
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

#define AMOUNT_SCALE 24
#define AMOUNT_MOST 1000000000LL /* USD: magnitude of one amount stays below; 10^5 of them fit a sum */

typedef __int128 amount_t; /* 10^-24 USD */

/* As money_parse, for amounts.  -1: no decimal number (NaN and infinity are none), or too large. */
int amount_parse(const char *text, size_t length, amount_t *amount) MUST_CHECK;

amount_t amount_of_pico(money_sum_t pico); /* below 10^26 pico: 10^14 USD */
double amount_double(amount_t amount);     /* the nearest one */

#endif
