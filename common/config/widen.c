/*
 * widen.c - see widen.h.  Walks the text token by token, knowing only what hides a number: strings and
 * the three kinds of comment.
 * Pure: if we die on any line nothing outside has changed.
 */
#include "common/config/widen.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MIN 10 /* 2147483648 has ten */

static size_t string_bytes(const char *at)
{
    size_t i = 1;

    while (at[i] != '\0' && at[i] != '"')
        i += at[i] == '\\' && at[i + 1] != '\0' ? 2 : 1;
    return at[i] == '"' ? i + 1 : i;
}

static size_t comment_bytes(const char *at)
{
    const char *end;

    if (at[0] == '#' || (at[0] == '/' && at[1] == '/'))
        return strcspn(at, "\n");
    if (at[0] != '/' || at[1] != '*')
        return 0;
    end = strstr(at + 2, "*/");
    return end != NULL ? (size_t)(end + 2 - at) : strlen(at);
}

/* Names, numbers, and what a number may be made of. */
static size_t word_bytes(const char *at)
{
    size_t i = 0;

    while (isalnum((unsigned char)at[i]) || at[i] == '_' || at[i] == '.' || at[i] == '-' || at[i] == '+')
        i++;
    return i;
}

static int needs_suffix(const char *word, size_t bytes)
{
    size_t digits = 0, sign = word[0] == '-' || word[0] == '+';

    while (sign + digits < bytes && isdigit((unsigned char)word[sign + digits]))
        digits++;
    return sign + digits == bytes && digits >= DIGITS_MIN;
}

static size_t step_bytes(const char *at)
{
    size_t bytes = *at == '"' ? string_bytes(at) : comment_bytes(at);

    if (bytes == 0)
        bytes = word_bytes(at);
    return bytes > 0 ? bytes : 1;
}

char *config_widen(const char *text)
{
    /* One letter for at least ten. */
    char *wide = malloc(strlen(text) + strlen(text) / DIGITS_MIN + 2), *to = wide;

    if (wide == NULL)
        return NULL;
    while (*text != '\0') {
        size_t bytes = step_bytes(text);

        memcpy(to, text, bytes);
        to += bytes;
        if (needs_suffix(text, bytes))
            *to++ = 'L';
        text += bytes;
    }
    *to = '\0';
    return wide;
}
