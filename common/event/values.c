/*
 * values.c - the values of fields: times, counts, labels, keys, tags.  See values.h.
 * Pure; the hashes are unkeyed on purpose: every instance must give a long label the same short one.
 */
#include "common/event/values.h"

#include "common/base/utf8.h"
#include "common/event/fields.h"
#include "common/money/money.h"

#include <sodium.h>
#include <string.h>

/* What is left of a time's text. */
struct cursor {
    const char *at;
    const char *end;
};

/* Exactly `count` digits. */
static bool take_digits(struct cursor *c, int count, int *value)
{
    *value = 0;
    if (c->end - c->at < count)
        return false;
    for (; count > 0; count--, c->at++) {
        if (*c->at < '0' || *c->at > '9')
            return false;
        *value = *value * 10 + (*c->at - '0');
    }
    return true;
}

static bool take_char(struct cursor *c, char wanted)
{
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

/* Days since 1970 of a date of the Gregorian calendar (H. Hinnant's days_from_civil). */
static int64_t days_from_civil(int64_t year, int month, int day)
{
    int64_t era, of_era, of_year;

    year -= month <= 2;
    era = (year >= 0 ? year : year - 399) / 400;
    of_era = year - era * 400;
    of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int days_of_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return month == 2 && leap ? 29 : days[month - 1];
}

static bool take_date(struct cursor *c, int64_t *days)
{
    int year, month, day;

    if (!take_digits(c, 4, &year) || !take_char(c, '-') || !take_digits(c, 2, &month) ||
        !take_char(c, '-') || !take_digits(c, 2, &day))
        return false;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_of_month(year, month))
        return false;
    *days = days_from_civil(year, month, day);
    return true;
}

static bool take_clock(struct cursor *c, int64_t *seconds)
{
    int hour, minute, second;

    if (!take_digits(c, 2, &hour) || !take_char(c, ':') || !take_digits(c, 2, &minute) ||
        !take_char(c, ':') || !take_digits(c, 2, &second))
        return false;
    *seconds = hour * 3600 + minute * 60 + second;
    return hour < 24 && minute < 60 && second <= 60; /* a leap second is the next second's first */
}

/* (\.[0-9]+)?  What is finer than a microsecond is cut. */
static bool take_fraction(struct cursor *c, int64_t *micros)
{
    int64_t place = 100000;
    const char *start;

    *micros = 0;
    if (!take_char(c, '.'))
        return true;
    for (start = c->at; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        *micros += (*c->at - '0') * place;
        place /= 10;
    }
    return c->at > start;
}

/* Z or +hh:mm; seconds east of UTC. */
static bool take_offset(struct cursor *c, int64_t *east)
{
    int hour, minute, sign = 1;

    *east = 0;
    if (take_char(c, 'Z') || take_char(c, 'z'))
        return true;
    if (take_char(c, '-'))
        sign = -1;
    else if (!take_char(c, '+'))
        return false;
    if (!take_digits(c, 2, &hour) || !take_char(c, ':') || !take_digits(c, 2, &minute))
        return false;
    *east = sign * (hour * 3600 + minute * 60);
    return hour < 24 && minute < 60;
}

bool value_time_text(const char *text, size_t length, int64_t *micros)
{
    struct cursor c = {text, text + length};
    int64_t days, seconds, fraction, east;

    if (!take_date(&c, &days))
        return false;
    if (!take_char(&c, 'T') && !take_char(&c, 't') && !take_char(&c, ' '))
        return false;
    if (!take_clock(&c, &seconds) || !take_fraction(&c, &fraction) || !take_offset(&c, &east))
        return false;
    *micros = (days * 86400 + seconds - east) * 1000000 + fraction;
    return c.at == c.end && *micros >= EVENT_TIME_LEAST && *micros <= EVENT_TIME_MOST;
}

bool value_time_number(const char *text, size_t length, int64_t *micros)
{
    return decimal_parse(text, length, 6, micros) == 0 && *micros >= EVENT_TIME_LEAST &&
           *micros <= EVENT_TIME_MOST;
}

bool value_count(const char *text, size_t length, int64_t *count)
{
    int64_t value = 0;

    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (text[i] - '0');
        if (value > EVENT_COUNT_MAX)
            return false;
    }
    *count = value;
    return length > 0;
}

static void hex(const unsigned char *from, size_t bytes, char *to)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < bytes; i++) {
        *to++ = digits[from[i] >> 4];
        *to++ = digits[from[i] & 15];
    }
}

size_t value_short_label(const char *text, size_t length, char to[LABEL_SHORT_MAX])
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    size_t kept = utf8_cut(text, length, LABEL_KEPT);

    crypto_hash_sha256(hash, (const unsigned char *)text, length);
    memcpy(to, text, kept);
    to[kept] = '~';
    hex(hash, 8, to + kept + 1);
    return kept + 1 + 16;
}

void value_hash_key(const char *text, size_t length, char to[KEY_HASH_BYTES])
{
    unsigned char hash[crypto_hash_sha256_BYTES];

    crypto_hash_sha256(hash, (const unsigned char *)text, length);
    hex(hash, sizeof hash, to);
}

static int compare(struct slice a, struct slice b)
{
    int order = memcmp(a.data, b.data, a.length < b.length ? a.length : b.length);

    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

bool value_add_tag(struct tag_set *tags, struct slice tag)
{
    uint32_t at = tags->count;
    int order = -1;

    while (at > 0 && (order = compare(tags->tag[at - 1], tag)) > 0)
        at--;
    if (at > 0 && order == 0)
        return true;
    if (tags->count == EVENT_TAGS_MAX)
        return false;
    memmove(&tags->tag[at + 1], &tags->tag[at], (tags->count - at) * sizeof tag);
    tags->tag[at] = tag;
    tags->count++;
    return true;
}
