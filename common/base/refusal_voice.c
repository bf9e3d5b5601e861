/*
 * refusal_voice.c - says a refusal: one line through log.h, and not each time.
 *
 * The voice that it keeps is the caller's, so nothing here has a state.  If we die on any line a log
 * line is missing.
 */
#include "common/base/refusal.h"

#include "common/base/log.h"

#include <stdbool.h>

#define AGAIN_MS 10000
#define LINES_MAX 10 /* in that time */

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
