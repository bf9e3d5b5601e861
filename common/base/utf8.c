/*
 * utf8.c - is this text?  See utf8.h.
 * ASCII, which is nearly everything, is passed eight bytes at a time; the rest by the table of the
 * Unicode standard (3.9, well-formed byte sequences).  Pure; reads nothing behind `length`.
 */
#include "common/base/utf8.h"

#include <stdint.h>
#include <string.h>

#define HIGH_BITS 0x8080808080808080ULL
#define LOW_BITS 0x0101010101010101ULL

/* Bytes of the character at `at`, which is not ASCII; 0: malformed. */
static size_t character(const unsigned char *at, size_t left)
{
    unsigned char least = 0x80, most = 0xbf;
    size_t length = *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;

    if (*at < 0xc2 || *at > 0xf4 || left < length)
        return 0;
    if (*at == 0xe0)
        least = 0xa0;
    else if (*at == 0xed)
        most = 0x9f; /* surrogates */
    else if (*at == 0xf0)
        least = 0x90;
    else if (*at == 0xf4)
        most = 0x8f;
    if (at[1] < least || at[1] > most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

size_t utf8_valid_bytes(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t i = 0, step;
    uint64_t word;

    while (i < length) {
        if (length - i >= 8) {
            memcpy(&word, at + i, 8);
            if ((word & HIGH_BITS) == 0) {
                i += 8;
                continue;
            }
        }
        step = at[i] < 0x80 ? 1 : character(at + i, length - i);
        if (step == 0)
            return i;
        i += step;
    }
    return i;
}

bool utf8_clean(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;
    uint64_t word;
    size_t i = 0;

    /* One pass for the common case: no byte above 0x7f and none that is 0. */
    for (; length - i >= 8; i += 8) {
        memcpy(&word, at + i, 8);
        if (((word | (word - LOW_BITS)) & HIGH_BITS) != 0)
            break;
    }
    while (i < length && at[i] - 1u < 0x7f) /* what is left of it is too short for a call */
        i++;
    return i == length || (memchr(at + i, 0, length - i) == NULL &&
                           utf8_valid_bytes(text + i, length - i) == length - i);
}

size_t utf8_cut(const char *text, size_t length, size_t most)
{
    if (length <= most)
        return length;
    while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80)
        most--;
    return most;
}
