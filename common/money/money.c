/*
 * money.c - decimal text <-> integer 10^-12 USD.  See money.h.
 *
 * The text is read as a run of significant digits and the power of ten of the last of them; only
 * then is it placed on the scale.  So "1E-7", "0.0000001" and "1000e-10" take the same path, and
 * digits beyond the scale are rounded once, half to even, over all of them ("sticky": a single 1 far
 * behind a tie decides it).  Exponents are clamped while they are read: "1e999999999999" is a number
 * that is too large, not an overflow of ours.
 * Pure; no state; nothing is allocated, whatever the length of the text.
 */
#include "common/money/money.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define INT64_DIGITS 19
#define INT128_DIGITS 38
#define EXPONENT_CLAMP 100000000LL
#define DIGITS_KEPT 30 /* 10^30 fits 128 bits; what is behind only matters as "not zero" */

/* A decimal number taken apart: value = kept x 10^scale, plus something smaller if `sticky`. */
struct digits {
    unsigned __int128 kept;
    int count;     /* digits in `kept`, without leading zeros */
    int64_t scale; /* power of ten of its last digit */
    bool sticky;   /* a digit that was not zero was left out */
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void take_digit(struct digits *d, char c, bool fraction)
{
    if (d->count == DIGITS_KEPT) {
        d->sticky |= c != '0';
        d->scale += !fraction;
        return;
    }
    d->kept = d->kept * 10 + (unsigned)(c - '0');
    d->count += d->kept != 0;
    d->scale -= fraction;
}

/* [0-9]+ from *at on; false when there is none. */
static bool read_digits(const char **at, const char *end, bool fraction, struct digits *d)
{
    const char *start = *at;

    for (; *at < end && is_digit(**at); (*at)++)
        take_digit(d, **at, fraction);
    return *at > start;
}

/* ([eE][+-]?[0-9]+)? */
static bool read_exponent(const char **at, const char *end, int64_t *exponent)
{
    bool negative = false;
    int64_t value = 0;
    const char *start;

    *exponent = 0;
    if (*at == end || (**at != 'e' && **at != 'E'))
        return true;
    if (++*at < end && (**at == '+' || **at == '-'))
        negative = *(*at)++ == '-';
    for (start = *at; *at < end && is_digit(**at); (*at)++)
        if (value < EXPONENT_CLAMP)
            value = value * 10 + (**at - '0');
    *exponent = negative ? -value : value;
    return *at > start;
}

/* -?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?  and nothing behind it. */
static bool read_number(const char *text, size_t length, struct digits *d, bool *negative)
{
    const char *at = text, *end = text + length;
    int64_t exponent;

    *negative = at < end && *at == '-';
    at += *negative;
    if (!read_digits(&at, end, false, d))
        return false;
    if (at < end && *at == '.') {
        at++;
        if (!read_digits(&at, end, true, d))
            return false;
    }
    if (!read_exponent(&at, end, &exponent))
        return false;
    d->scale += exponent;
    return at == end;
}

/* kept x 10^d->scale -> units of 10^-scale, half-even; false: more than `most` digits. */
static bool place(const struct digits *d, int scale, int most, unsigned __int128 *units)
{
    int64_t shift = d->scale + scale;
    unsigned __int128 value = d->kept, divisor = 1, rest;

    if (value == 0) {
        *units = 0;
        return true;
    }
    if (shift >= 0) {
        if (d->count + shift > most)
            return false;
        while (shift-- > 0)
            value *= 10;
        *units = value;
        return true;
    }
    *units = 0;
    if (-shift > d->count) /* below a tenth of the last place: no tie in reach */
        return true;
    while (shift++ < 0)
        divisor *= 10;
    rest = value % divisor;
    value /= divisor;
    if (rest > divisor / 2 || (rest == divisor / 2 && (d->sticky || (value & 1))))
        value++;
    *units = value;
    return true;
}

int decimal_parse(const char *text, size_t length, int scale, int64_t *units)
{
    struct digits d = {0};
    unsigned __int128 value;
    bool negative;

    if (!read_number(text, length, &d, &negative))
        return -1;
    if (!place(&d, scale, INT64_DIGITS, &value) || value >= (unsigned __int128)MONEY_MAX)
        return -2;
    *units = negative ? -(int64_t)value : (int64_t)value;
    return 0;
}

int money_parse(const char *text, size_t length, int64_t *pico, struct err *err)
{
    switch (decimal_parse(text, length, MONEY_SCALE, pico)) {
    case 0:
        return 0;
    case -1:
        return err_set(err, "not a decimal number");
    default:
        return err_set(err, "magnitude must be below 1000000");
    }
}

/* The digits of `value`, least significant first, at least `least` of them. */
static int reversed_digits(unsigned __int128 value, char *digits, int least)
{
    int count = 0;

    while (value != 0 || count < least) {
        digits[count++] = (char)('0' + (int)(value % 10));
        value /= 10;
    }
    return count;
}

size_t money_text(money_sum_t pico, char text[MONEY_TEXT])
{
    unsigned __int128 value = pico < 0 ? -(unsigned __int128)pico : (unsigned __int128)pico;
    char digits[MONEY_TEXT];
    int count = reversed_digits(value, digits, MONEY_SCALE + 1), last = 0;
    size_t length = 0;

    if (pico < 0)
        text[length++] = '-';
    while (last < MONEY_SCALE && digits[last] == '0')
        last++;
    for (int i = count - 1; i >= last; i--) {
        if (i == MONEY_SCALE - 1)
            text[length++] = '.';
        text[length++] = digits[i];
    }
    text[length] = '\0';
    return length;
}

int amount_parse(const char *text, size_t length, amount_t *amount)
{
    const unsigned __int128 most = (unsigned __int128)MONEY_MAX * 1000000 * AMOUNT_MOST;
    struct digits d = {0};
    unsigned __int128 value;
    bool negative;

    if (!read_number(text, length, &d, &negative) || !place(&d, AMOUNT_SCALE, INT128_DIGITS, &value) ||
        value >= most)
        return -1;
    *amount = negative ? -(amount_t)value : (amount_t)value;
    return 0;
}

amount_t amount_of_pico(money_sum_t pico)
{
    return pico * 1000000000000LL; /* AMOUNT_SCALE - MONEY_SCALE zeros */
}

/* The C library rounds decimal text correctly; two divisions of ours would not. */
double amount_double(amount_t amount)
{
    unsigned __int128 value = amount < 0 ? -(unsigned __int128)amount : (unsigned __int128)amount;
    char reversed[MONEY_TEXT], text[MONEY_TEXT + 8];
    int count = reversed_digits(value, reversed, 1);
    size_t length = 0;

    if (amount < 0)
        text[length++] = '-';
    while (count > 0)
        text[length++] = reversed[--count];
    memcpy(text + length, "e-24", 5);
    return strtod(text, NULL);
}
