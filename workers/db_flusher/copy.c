/*
 * copy.c - the rows of a COPY in PostgreSQL's binary format.  See copy.h.
 *
 * A row is the number of its fields, then each as its length (-1: null) and its bytes; integers in network
 * order.  What the bytes of a type are is the business of its receive function, which checks them: a
 * date counts days, a timestamptz microseconds, both from 2000 on; a numeric is digits of 10,000, the weight
 * of the first of them, and how many decimal places are shown.  Unchanged in every version that we know.
 */
#include "workers/db_flusher/copy.h"

#include <string.h>

#define MICROS_TO_2000 946684800000000LL
#define DAYS_TO_2000 10957
#define TEXT_OID 25
#define NUMERIC_NEGATIVE 0x4000
#define NUMERIC_DIGITS_MOST 10                /* of 10,000 each: 2^127 has 39 decimal digits */
#define NUMERIC_FRACTION (MONEY_SCALE / 4)    /* of them, behind the point */

_Static_assert(MONEY_SCALE % 4 == 0, "the point lies between two digits of 10,000");

static unsigned char *put16(unsigned char *to, int value)
{
    uint16_t bytes = __builtin_bswap16((uint16_t)value);

    memcpy(to, &bytes, sizeof bytes);
    return to + sizeof bytes;
}

static unsigned char *put32(unsigned char *to, int32_t value)
{
    uint32_t bytes = __builtin_bswap32((uint32_t)value);

    memcpy(to, &bytes, sizeof bytes);
    return to + sizeof bytes;
}

static unsigned char *put64(unsigned char *to, int64_t value)
{
    uint64_t bytes = __builtin_bswap64((uint64_t)value);

    memcpy(to, &bytes, sizeof bytes);
    return to + sizeof bytes;
}

/* Room for a field of so many bytes, its length written; NULL: no memory. */
static unsigned char *field(struct text *text, size_t length)
{
    unsigned char *to = text_room(text, 4 + length);

    return to ? put32(to, (int32_t)length) : NULL;
}

void copy_begin(struct text *text)
{
    static const char head[19] = "PGCOPY\n\377\r\n\0"; /* then no flags and no extension: zeros */

    text_add(text, head, sizeof head);
}

void copy_row(struct text *text, int fields)
{
    unsigned char *to = text_room(text, 2);

    if (to)
        put16(to, fields);
}

void copy_end(struct text *text)
{
    copy_row(text, -1);
}

void copy_null(struct text *text)
{
    unsigned char *to = text_room(text, 4);

    if (to)
        put32(to, -1);
}

void copy_bytes(struct text *text, const void *data, size_t length)
{
    unsigned char *to = field(text, length);

    if (to && length)
        memcpy(to, data, length);
}

void copy_string(struct text *text, const char *string)
{
    copy_bytes(text, string, strlen(string));
}

void copy_slice(struct text *text, struct slice slice)
{
    if (slice.length == 0)
        copy_null(text);
    else
        copy_bytes(text, slice.data, slice.length);
}

void copy_key(struct text *text, struct slice slice)
{
    copy_bytes(text, slice.data, slice.length);
}

void copy_bool(struct text *text, bool value)
{
    copy_bytes(text, value ? "\1" : "\0", 1);
}

void copy_int(struct text *text, int32_t number)
{
    unsigned char *to = field(text, 4);

    if (to)
        put32(to, number);
}

void copy_bigint(struct text *text, int64_t number)
{
    unsigned char *to = field(text, 8);

    if (to)
        put64(to, number);
}

void copy_double(struct text *text, double number)
{
    int64_t bits;

    memcpy(&bits, &number, sizeof bits);
    copy_bigint(text, bits);
}

/* Digits of 10,000, least significant first; how many. */
static int digits_of(unsigned __int128 value, uint16_t digit[NUMERIC_DIGITS_MOST])
{
    uint64_t low;
    int count = 0;

    for (; value > UINT64_MAX; value /= 10000)
        digit[count++] = (uint16_t)(value % 10000);
    for (low = (uint64_t)value; low; low /= 10000)
        digit[count++] = (uint16_t)(low % 10000);
    return count;
}

/* Decimal places that are shown: no zeros at their end. */
static int places(const uint16_t *digit, int least)
{
    int shown = MONEY_SCALE - 4 * least, last = digit[least];

    if (shown <= 0)
        return 0;
    for (; last % 10 == 0; last /= 10)
        shown--;
    return shown;
}

void copy_money(struct text *text, money_sum_t pico)
{
    unsigned __int128 value = pico < 0 ? -(unsigned __int128)pico : (unsigned __int128)pico;
    uint16_t digit[NUMERIC_DIGITS_MOST];
    int count = digits_of(value, digit), least = 0;
    unsigned char *to;

    while (least < count && digit[least] == 0)
        least++;
    to = field(text, 8 + 2 * (size_t)(count - least));
    if (!to)
        return;
    to = put16(to, count - least);
    to = put16(to, count ? count - 1 - NUMERIC_FRACTION : 0);
    to = put16(to, pico < 0 ? NUMERIC_NEGATIVE : 0);
    to = put16(to, count ? places(digit, least) : 0);
    while (count-- > least)
        to = put16(to, digit[count]);
}

void copy_time(struct text *text, int64_t micros)
{
    copy_bigint(text, micros - MICROS_TO_2000);
}

void copy_day(struct text *text, day_t day)
{
    copy_int(text, (int32_t)day - DAYS_TO_2000);
}

void copy_no_day(struct text *text)
{
    copy_int(text, INT32_MIN);
}

void copy_uuid(struct text *text, const unsigned char id[16])
{
    copy_bytes(text, id, 16);
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

void copy_epoch(struct text *text, const char *epoch)
{
    unsigned char id[16];
    int used = 0;

    for (; used < 16; epoch += 2) {
        epoch += *epoch == '-';
        id[used++] = (unsigned char)(hex_digit(epoch[0]) << 4 | hex_digit(epoch[1]));
    }
    copy_uuid(text, id);
}

void copy_tags(struct text *text, const struct tag_set *tags)
{
    size_t bytes = 12;
    unsigned char *to;

    for (uint32_t i = 0; i < tags->count; i++)
        bytes += 4 + tags->tag[i].length;
    to = field(text, tags->count ? bytes + 8 : bytes);
    if (!to)
        return;
    to = put32(to, tags->count > 0); /* dimensions */
    to = put32(to, 0);               /* no nulls */
    to = put32(to, TEXT_OID);
    if (tags->count) {
        to = put32(to, (int32_t)tags->count);
        to = put32(to, 1); /* the first index */
    }
    for (uint32_t i = 0; i < tags->count; i++) {
        to = put32(to, (int32_t)tags->tag[i].length);
        memcpy(to, tags->tag[i].data, tags->tag[i].length);
        to += tags->tag[i].length;
    }
}
