/*
 * tokens.h - who may come in: the tokens of a setting, and whether one is among them.
 */
#ifndef SPENDD_GATEWAY_TOKENS_H
#define SPENDD_GATEWAY_TOKENS_H

#include "common/base/clock.h"

#include <stdbool.h>
#include <stddef.h>

#define TOKENS_MAX 32
#define TOKEN_HASH_BYTES 32

struct tokens {
    bool wanted; /* the setting asks for one */
    bool failed; /* its file cannot be read: nobody comes in; said once */
    size_t count;
    unsigned char hash[TOKENS_MAX][TOKEN_HASH_BYTES];
    mono_t read_at;
};

/* Reads the setting (tokens with spaces or commas between, or a file: with them in one line), and a file
 * again once a second at most.  What went wrong is logged when it changes. */
void tokens_refresh(struct tokens *tokens, const char *name, const char *setting, mono_t now);
void tokens_stale(struct tokens *tokens); /* read it again at the next refresh */

/* Does this value of an Authorization header (NULL: there is none) let its sender in?  Takes as long for a
 * wrong token as for a right one. */
bool tokens_admit(const struct tokens *tokens, const char *authorization);

#endif
