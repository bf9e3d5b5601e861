/*
 * tokens.c - who may come in.  See tokens.h.
 *
 * Owns the hashes of the tokens, never the tokens themselves.  A given token is hashed as well and compared with each
 * of them in constant time, so neither its length nor how much of it is right can be told from the time.
 * A file that cannot be read lets nobody in: whoever takes it away means that.
 * If we die on any line, nobody was let in by it.
 */
#include "workers/gateway/tokens.h"

#include "common/base/log.h"
#include "common/config/secret.h"

#include <sodium.h>
#include <string.h>
#include <strings.h>

#define FILE_AGAIN_MS 1000
#define TEXT_BYTES 4096
#define BETWEEN " ,\t"
#define SCHEME "Bearer "

_Static_assert(TOKEN_HASH_BYTES == crypto_hash_sha256_BYTES, "the hash is SHA-256");

static void take(struct tokens *tokens, const char *text)
{
    tokens->count = 0;
    for (text += strspn(text, BETWEEN); *text != '\0' && tokens->count < TOKENS_MAX;
         text += strspn(text, BETWEEN)) {
        size_t bytes = strcspn(text, BETWEEN);

        crypto_hash_sha256(tokens->hash[tokens->count++], (const unsigned char *)text, bytes);
        text += bytes;
    }
}

static void tell(struct tokens *tokens, const char *name, const struct err *err)
{
    bool failed = err->text[0] != '\0';

    if (failed && !tokens->failed)
        log_error("tokens_unreadable", "setting=%s error=\"%s\" consequence=\"nobody is let in\"", name, err->text);
    else if (!failed && tokens->failed)
        log_info("tokens_read", "setting=%s count=%zu", name, tokens->count);
    tokens->failed = failed;
}

void tokens_refresh(struct tokens *tokens, const char *name, const char *setting, mono_t now)
{
    char text[TEXT_BYTES];
    struct err err = {""};

    if (tokens->read_at.micros != 0 &&
        (!secret_is_file(setting) || !mono_reached(now, mono_after_ms(tokens->read_at, FILE_AGAIN_MS))))
        return;
    tokens->read_at = now;
    tokens->wanted = setting[0] != '\0';
    tokens->count = 0;
    if (!tokens->wanted)
        return;
    if (secret_read(setting, text, sizeof text, &err) == 0)
        take(tokens, text);
    sodium_memzero(text, sizeof text);
    if (err.text[0] == '\0' && tokens->count == 0)
        err_set(&err, "%s holds no token", name);
    tell(tokens, name, &err);
}

void tokens_stale(struct tokens *tokens)
{
    tokens->read_at = (mono_t){0};
}

bool tokens_admit(const struct tokens *tokens, const char *authorization)
{
    unsigned char hash[TOKEN_HASH_BYTES];
    unsigned found = 0;

    if (!tokens->wanted)
        return true;
    if (authorization == NULL || strncasecmp(authorization, SCHEME, strlen(SCHEME)) != 0)
        return false;
    authorization += strlen(SCHEME);
    authorization += strspn(authorization, " ");
    crypto_hash_sha256(hash, (const unsigned char *)authorization, strlen(authorization));
    for (size_t i = 0; i < tokens->count; i++)
        found |= (unsigned)(sodium_memcmp(hash, tokens->hash[i], sizeof hash) == 0);
    return found != 0;
}
