/*
 * log.c - one line per fact on standard error.  See log.h.
 *
 * The only file-scope state in the tree that is not const: a name, a generation and a level, because
 * every line needs them and no caller should carry them.  A line is built on the stack and leaves in
 * one write(), so lines of different processes do not mix; if we die before it, that line is missing.
 */
#include "common/base/log.h"

#include "common/base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 1024

static char process_name[48] = "spendd";
static unsigned process_generation;
static enum log_level level_now = LOG_LEVEL_INFO;

static const char *const level_words[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

void log_init(const char *name, unsigned generation)
{
    snprintf(process_name, sizeof process_name, "%s", name);
    process_generation = generation;
}

void log_set_level(enum log_level level)
{
    level_now = level;
}

int log_level_from(const char *word)
{
    for (size_t i = 0; i < COUNT_OF(level_words); i++)
        if (strcmp(word, level_words[i]) == 0)
            return (int)i;
    return -1;
}

/* Control characters become '?': a line in the log is one line, whatever a peer sent. */
static void make_printable(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
}

static void write_line(enum log_level level, const char *event, const char *format, va_list ap)
{
    char line[LINE_BYTES], when[32];
    int saved = errno, used, more;
    size_t length;

    if (level > level_now)
        return;
    used = snprintf(line, sizeof line - 1, "%s %s %s/%u %s ", wall_text(wall_now(), when, sizeof when),
                    level_words[level], process_name, process_generation, event);
    length = (size_t)used < sizeof line - 1 ? (size_t)used : sizeof line - 2;
    more = vsnprintf(line + length, sizeof line - 1 - length, format, ap);
    length += more > 0 ? (size_t)more : 0;
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    make_printable(line, length);
    line[length] = '\n';
    if (write(STDERR_FILENO, line, length + 1) < 0) {
        /* Nowhere left to say so. */
    }
    errno = saved;
}

#define DEFINE_LOG(name, level)                                                                    \
    void name(const char *event, const char *format, ...)                                          \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, format);                                                                      \
        write_line(level, event, format, ap);                                                      \
        va_end(ap);                                                                                \
    }

DEFINE_LOG(log_error, LOG_LEVEL_ERROR)
DEFINE_LOG(log_warn, LOG_LEVEL_WARN)
DEFINE_LOG(log_info, LOG_LEVEL_INFO)
DEFINE_LOG(log_debug, LOG_LEVEL_DEBUG)
