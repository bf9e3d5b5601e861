/*
 * litellm_mend.c - Python's JSON -> JSON, in place.  See litellm_payload.h.
 *
 * json.dumps writes NaN and Infinity as they are, and a half of a surrogate pair as its escape.  Our reader takes
 * neither, and LiteLLM sends hundreds of requests in one body, their prompts included: one user's odd prompt
 * would take everybody's spend with it.  The length stays.
 * Pure.  If we die on any line nothing outside has changed.
 */
#include "workers/gateway/litellm_payload.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ESCAPE_BYTES 6 /* \uXXXX */

/* The code of the escape that begins here; -1: none does. */
static long code_at(const char *at, const char *end)
{
    char digits[5] = "";

    if (end - at < ESCAPE_BYTES || at[0] != '\\' || at[1] != 'u')
        return -1;
    memcpy(digits, at + 2, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

static bool is_high(long code)
{
    return code >= 0xd800 && code <= 0xdbff;
}

static bool is_low(long code)
{
    return code >= 0xdc00 && code <= 0xdfff;
}

/* An escape within a string; returns how long what stands there is. */
static size_t mend_escape(char *at, const char *end)
{
    long code = code_at(at, end);

    if (is_high(code) && is_low(code_at(at + ESCAPE_BYTES, end)))
        return 2 * (size_t)ESCAPE_BYTES;
    if (is_high(code) || is_low(code))
        memcpy(at, "\\ufffd", ESCAPE_BYTES);
    return code >= 0 ? ESCAPE_BYTES : 2;
}

/* A word outside of strings. */
static size_t mend_word(char *at, const char *end)
{
    static const struct {
        const char *word, *instead;
    } words[] = {{"NaN", "0  "}, {"-Infinity", "null     "}, {"Infinity", "null    "}};

    for (size_t i = 0; i < COUNT_OF(words); i++) {
        size_t bytes = strlen(words[i].word);

        if ((size_t)(end - at) < bytes || memcmp(at, words[i].word, bytes) != 0)
            continue;
        memcpy(at, words[i].instead, bytes);
        return bytes;
    }
    return 1;
}

void litellm_mend(char *text, size_t length)
{
    const char *end = text + length;
    bool quoted = false;

    for (char *at = text; at < end;) {
        if (*at == '"')
            quoted = !quoted;
        if (quoted && *at == '\\')
            at += mend_escape(at, end);
        else if (!quoted && (*at == 'N' || *at == 'I' || *at == '-'))
            at += mend_word(at, end);
        else
            at++;
    }
}
