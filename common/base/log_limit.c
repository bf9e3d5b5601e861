/*
 * log_limit.c - how often the same message may be written.  See log_limit.h.
 * Pure.  If we die on any line a count of suppressed lines is not told.
 */
#include "common/base/log_limit.h"

#include <stdint.h>

static bool over(const struct log_limit_site *site, mono_t now)
{
    return mono_ms_between(site->since, now) >= LOG_LIMIT_WINDOW_MS;
}

/* The place of this message, or one that it may take; NULL: all are taken. */
static struct log_limit_site *find(struct log_limit *limit, const void *key, const char *event,
                                   mono_t now)
{
    struct log_limit_site *open = NULL;
    size_t first = (size_t)(((uintptr_t)key ^ (uintptr_t)event) * UINT64_C(0x9e3779b97f4a7c15) >> 58);

    for (size_t i = 0; i < LOG_LIMIT_SITES; i++) {
        struct log_limit_site *site = &limit->site[(first + i) % LOG_LIMIT_SITES];

        if (site->site == key && site->event == event)
            return site;
        if (open == NULL && (site->site == NULL || (over(site, now) && site->suppressed == 0)))
            open = site;
    }
    return open;
}

bool log_limit_allows(struct log_limit *limit, const void *key, const char *event, mono_t now)
{
    struct log_limit_site *site = limit->burst > 0 ? find(limit, key, event, now) : NULL;

    if (site == NULL)
        return true;
    if (site->site != key || site->event != event || over(site, now))
        *site = (struct log_limit_site){.site = key, .event = event, .since = now};
    if (site->lines < limit->burst) {
        site->lines++;
        return true;
    }
    site->suppressed++;
    return false;
}

bool log_limit_told(struct log_limit *limit, mono_t now, bool all, const char **event,
                    unsigned *suppressed)
{
    for (size_t i = 0; i < LOG_LIMIT_SITES; i++) {
        struct log_limit_site *site = &limit->site[i];

        if (site->suppressed == 0 || (!all && !over(site, now)))
            continue;
        *event = site->event;
        *suppressed = site->suppressed;
        site->suppressed = 0;
        return true;
    }
    return false;
}
