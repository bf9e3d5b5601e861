/*
 * err.c - why something failed.  See err.h.
 * Owns nothing.  If the process dies here nothing is lost: these functions only format text.
 */
#include "common/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int err_set(struct err *err, const char *format, ...)
{
    int saved = errno;
    va_list ap;

    va_start(ap, format);
    vsnprintf(err->text, sizeof err->text, format, ap);
    va_end(ap);
    errno = saved;
    return -1;
}

int err_errno(struct err *err, const char *format, ...)
{
    int saved = errno;
    size_t used;
    va_list ap;

    va_start(ap, format);
    vsnprintf(err->text, sizeof err->text, format, ap);
    va_end(ap);
    used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(saved));
    errno = saved;
    return -1;
}

void bug_at(const char *file, int line, const char *format, ...)
{
    va_list ap;

    fprintf(stderr, "bug at %s:%d: ", file, line);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}
