/*
 * refusal.c - finding a refusal in its table, and how long to wait after it.  Pure.
 */
#include "common/base/refusal.h"

#include "common/base/jitter.h"

#include <string.h>

const char *refusal_class_name(enum refusal_class class)
{
    static const char *const names[] = {
        [REFUSAL_NORMAL] = "normal",
        [REFUSAL_RETRY_SOON] = "retry_soon",
        [REFUSAL_RETRY_SLOWLY] = "retry_slowly",
        [REFUSAL_STAND_DOWN] = "stand_down",
        [REFUSAL_OPERATOR] = "operator",
    };

    return names[class];
}

const struct refusal *refusal_find(const struct refusal *table, size_t rows, const char *text)
{
    const struct refusal *found = NULL;
    size_t longest = 0;

    for (size_t i = 0; i < rows; i++) {
        size_t length = strlen(table[i].match);

        if (length > longest && strncmp(text, table[i].match, length) == 0) {
            found = &table[i];
            longest = length;
        }
    }
    return found;
}

int64_t refusal_pause_ms(const struct refusal *refusal, unsigned attempts, int64_t soon_max_ms,
                         int64_t slow_max_ms, uint32_t dice)
{
    bool slowly = refusal->class == REFUSAL_RETRY_SLOWLY || refusal->class == REFUSAL_OPERATOR;
    int64_t most = slowly ? slow_max_ms : soon_max_ms;
    unsigned doublings = refusal->class == REFUSAL_NORMAL ? 0 : attempts;

    return jitter_backoff_ms(refusal->first_ms, most, doublings, dice);
}
