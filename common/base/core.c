/*
 * core.c - core files and eyes of others.  See core.h.
 *
 * Only the soft limit is set, so that a child without secrets can have it back; PR_SET_DUMPABLE is what
 * forbids, and exec takes it back by itself.  Neither call can fail in a way that we could mend.
 * If we die on any line: before it, nothing secret was here.
 */
#include "common/base/core.h"

#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#ifdef __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static void limit(bool none)
{
    struct rlimit core;

    if (getrlimit(RLIMIT_CORE, &core) != 0)
        return;
    core.rlim_cur = none ? 0 : core.rlim_max;
    setrlimit(RLIMIT_CORE, &core);
}

void core_forbid(void)
{
    if (SANITIZED)
        return;
    limit(true);
    prctl(PR_SET_DUMPABLE, 0);
}

void core_allow(void)
{
    limit(false);
}
