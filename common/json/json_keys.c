/*
 * json_keys.c - is a key repeated within its object?
 *
 * A set of 64-bit hashes of (document, object, key), in a table of fixed size that is wiped only when
 * half full: documents are told apart by their number in the hash, so the usual small one costs a few
 * probes and no wiping.  Two different keys of one document meet with odds of 10^-12 at its largest;
 * then that one event is refused as if it repeated a key, and nothing else suffers.
 */
#include "common/json/json.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS (4 * JSON_KEYS_MAX)
#define MIX 0x9e3779b97f4a7c15ULL

struct json_keys {
    uint64_t document;
    uint32_t used;     /* slots filled */
    uint32_t in_this;  /* keys of this document */
    uint64_t slot[SLOTS];
};

struct json_keys *json_keys_new(void)
{
    struct json_keys *keys = calloc(1, sizeof *keys);

    if (keys == NULL)
        bug("out of memory for a set of keys");
    return keys;
}

void json_keys_free(struct json_keys **keys)
{
    free(*keys);
    *keys = NULL;
}

void json_keys_begin(struct json_keys *keys)
{
    keys->document++;
    keys->in_this = 0;
    if (keys->used >= SLOTS / 2) {
        memset(keys->slot, 0, sizeof keys->slot);
        keys->used = 0;
    }
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    unsigned __int128 product = (unsigned __int128)(hash ^ word) * MIX;

    return (uint64_t)product ^ (uint64_t)(product >> 64) ^ MIX;
}

static uint64_t hash_key(uint64_t hash, const char *key, size_t length)
{
    uint64_t word;

    hash = mix(hash, length);
    for (; length >= 8; key += 8, length -= 8) {
        memcpy(&word, key, 8);
        hash = mix(hash, word);
    }
    word = 0;
    memcpy(&word, key, length);
    hash = mix(mix(hash, word), MIX >> 1);
    return hash != 0 ? hash : 1;
}

enum json_key json_keys_add(struct json_keys *keys, uint32_t object, const char *key, size_t length)
{
    uint64_t hash = hash_key(mix(keys->document * MIX, object), key, length);
    size_t at = hash % SLOTS;

    if (keys->in_this == JSON_KEYS_MAX)
        return JSON_KEY_TOO_MANY;
    for (; keys->slot[at] != 0; at = (at + 1) % SLOTS)
        if (keys->slot[at] == hash)
            return JSON_KEY_REPEATED;
    keys->slot[at] = hash;
    keys->used++;
    keys->in_this++;
    return JSON_KEY_NEW;
}
