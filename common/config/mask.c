/*
 * mask.c - what of a secret may be shown.  See mask.h.
 *
 * Masks too much rather than too little: of an address everything between the first ':' of the user part and
 * the last '@' of the value's authority goes, as does every value of a parameter whose name contains "pass",
 * "secret" or "token".  Pure: if we die on any line nothing outside has changed.
 */
#include "common/config/mask.h"

#include "common/config/secret.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define STARS "***"

struct text {
    char *to;
    size_t size, length;
};

static void add(struct text *text, const char *from, size_t bytes)
{
    size_t room = text->size - 1 - text->length;

    if (bytes > room)
        bytes = room;
    memcpy(text->to + text->length, from, bytes);
    text->length += bytes;
    text->to[text->length] = '\0';
}

static bool telling(const char *name, size_t bytes)
{
    static const char *const words[] = {"pass", "secret", "token"};

    for (size_t w = 0; w < sizeof words / sizeof words[0]; w++)
        for (size_t i = 0; i + strlen(words[w]) <= bytes; i++)
            if (strncasecmp(name + i, words[w], strlen(words[w])) == 0)
                return true;
    return false;
}

/* Where the value of a parameter ends: quotes may hold separators. */
static size_t value_bytes(const char *value, const char *separators)
{
    size_t at = 1;

    if (value[0] != '\'')
        return strcspn(value, separators);
    while (value[at] != '\0' && value[at] != '\'')
        at += value[at] == '\\' && value[at + 1] != '\0' ? 2 : 1;
    return value[at] == '\'' ? at + 1 : at;
}

/* name=value pairs, parted by any of `separators`; libpq allows blanks around '='. */
static void mask_pairs(struct text *text, const char *at, const char *separators)
{
    while (*at != '\0') {
        size_t name = strcspn(at, "=");
        const char *value = at + name;
        size_t blank, bytes;

        if (*value == '\0') {
            add(text, at, name);
            return;
        }
        blank = 1 + strspn(value + 1, " ");
        add(text, at, name + blank);
        bytes = value_bytes(value + blank, separators);
        if (telling(at, name))
            add(text, STARS, strlen(STARS));
        else
            add(text, value + blank, bytes);
        at = value + blank + bytes;
        bytes = strspn(at, separators);
        add(text, at, bytes);
        at += bytes;
    }
}

/* scheme://user:password@host/path?pairs */
static void mask_url(struct text *text, const char *value, const char *authority)
{
    size_t query = strcspn(authority, "?");
    const char *at = memrchr(authority, '@', query);
    const char *colon = at != NULL ? memchr(authority, ':', (size_t)(at - authority)) : NULL;

    if (colon != NULL) {
        add(text, value, (size_t)(colon + 1 - value));
        add(text, STARS, strlen(STARS));
        add(text, at, (size_t)(authority + query - at));
    } else {
        add(text, value, (size_t)(authority + query - value));
    }
    if (authority[query] == '?') {
        add(text, "?", 1);
        mask_pairs(text, authority + query + 1, "&");
    }
}

void secret_mask(const char *value, char *to, size_t size)
{
    struct text text = {to, size, 0};
    const char *authority = strstr(value, "://");

    to[0] = '\0';
    if (value[0] == '\0' || secret_is_file(value))
        add(&text, value, strlen(value));
    else if (authority != NULL)
        mask_url(&text, value, authority + 3);
    else if (strchr(value, '=') != NULL)
        mask_pairs(&text, value, " ");
    else
        add(&text, STARS, strlen(STARS));
}

void secret_hide(const char *value, char *to, size_t size)
{
    snprintf(to, size, "%s", value[0] == '\0' || secret_is_file(value) ? value : STARS);
}
