/*
 * refusal.c - finding a refusal in its table, how long to wait after it, and saying it.
 *
 * The first two are pure.  Saying it writes one line through log.h and is for those who decide; the
 * voice that it keeps is the caller's, so nothing here has a state.  If we die on any line a log line
 * is missing.
 */
#include "common/base/refusal.h"

#include "common/base/jitter.h"
#include "common/base/log.h"

#include <stdbool.h>
#include <string.h>

#define AGAIN_MS 10000
#define LINES_MAX 10 /* in that time */

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

/* May a line be written?  Bounds what a store that finds a new reason each time can write. */
static bool speaks(struct refusal_voice *voice, const struct refusal *refusal, mono_t now)
{
    bool another = refusal != voice->last;

    if (mono_ms_between(voice->window, now) >= AGAIN_MS || voice->lines == 0) {
        voice->window = now;
        voice->lines = 0;
    }
    if (voice->lines >= LINES_MAX)
        return false;
    return another || mono_ms_between(voice->said, now) >= AGAIN_MS;
}

void refusal_tell(struct refusal_voice *voice, const char *event, const char *what,
                  const struct refusal *refusal, const char *why, mono_t now)
{
    static void (*const say[])(const char *, const char *, ...) = {
        [REFUSAL_NORMAL] = log_debug,
        [REFUSAL_RETRY_SOON] = log_warn,
        [REFUSAL_RETRY_SLOWLY] = log_warn,
        [REFUSAL_STAND_DOWN] = log_warn,
        [REFUSAL_OPERATOR] = log_error,
    };

    if (!speaks(voice, refusal, now)) {
        voice->unsaid++;
        return;
    }
    say[refusal->class](event, "refusal=%s class=%s what=%s unsaid=%u why=\"%s\" means=\"%s\"",
                        refusal->name, refusal_class_name(refusal->class), what, voice->unsaid, why,
                        refusal->means);
    voice->last = refusal;
    voice->said = now;
    voice->lines++;
    voice->unsaid = 0;
}

void refusal_over(struct refusal_voice *voice)
{
    voice->last = NULL;
}
