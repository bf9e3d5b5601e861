/*
 * log.c - one line per fact on standard error.  See log.h.
 *
 * The only file-scope state in the tree that is not const: a name, a generation, a level, a format and
 * what was said lately, because every line needs them and no caller should carry them.  Only the loop's
 * thread logs.  A line is built on the stack and leaves in one write(), so lines of different processes
 * do not mix; if we die before it, that line is missing.
 *
 * A line that would not fit loses its last pairs, whole, and says so with line_cut=1: what is written parses.
 */
#include "common/base/log.h"

#include "common/base/clock.h"
#include "common/base/log_fields.h"
#include "common/base/log_limit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_BYTES 4096
#define TAIL_BYTES 32 /* always left for ` line_cut=1` or `,"line_cut":1}` and the newline */
#define BURST 100     /* until a setting says otherwise */

enum format { FORMAT_TEXT, FORMAT_LOGFMT, FORMAT_JSON };

struct line {
    char bytes[LINE_BYTES];
    size_t used;
    bool full; /* a pair did not fit: nothing more is put */
    bool cut;  /* something is missing: says so at its end */
};

static char process_name[48] = "spendd";
static unsigned process_generation;
static enum log_level level_now = LOG_LEVEL_INFO;
static enum format format_now = FORMAT_TEXT;
static struct log_limit limit_now = {.burst = BURST};
static bool to_journal;

static const char *const level_words[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARN] = "warn",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

/* --- what is set ---------------------------------------------------------------------------------- */

/* Standard error leads to systemd's journal, which takes a severity as <N> in front of a line.  Asked of
 * the socket, as workers have no environment. */
static bool leads_to_journal(void)
{
    struct sockaddr_un peer = {0};
    socklen_t size = sizeof peer - 1;
    size_t length;

    if (getpeername(STDERR_FILENO, (struct sockaddr *)&peer, &size) != 0 || peer.sun_family != AF_UNIX)
        return false;
    length = strlen(peer.sun_path);
    return strncmp(peer.sun_path, "/run/systemd/journal", 20) == 0 && length > 7 &&
           strcmp(peer.sun_path + length - 7, "/stdout") == 0;
}

void log_init(const char *name, unsigned generation)
{
    int saved = errno;

    snprintf(process_name, sizeof process_name, "%s", name);
    process_generation = generation;
    to_journal = leads_to_journal();
    errno = saved;
}

void log_set_level(enum log_level level)
{
    level_now = level;
}

void log_set_format(const char *word)
{
    static const char *const words[] = {
        [FORMAT_TEXT] = "text",
        [FORMAT_LOGFMT] = "logfmt",
        [FORMAT_JSON] = "json",
    };

    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcmp(word, words[i]) == 0)
            format_now = (enum format)i;
}

void log_set_burst(unsigned burst)
{
    limit_now.burst = burst;
}

int log_level_from(const char *word)
{
    for (size_t i = 0; i < COUNT_OF(level_words); i++)
        if (strcmp(word, level_words[i]) == 0)
            return (int)i;
    return -1;
}

/* --- a line --------------------------------------------------------------------------------------- */

static void put(struct line *line, const char *text)
{
    size_t length = strlen(text);

    if (length > LINE_BYTES - TAIL_BYTES - line->used) {
        line->full = true;
        return;
    }
    memcpy(line->bytes + line->used, text, length);
    line->used += length;
}

static void put_value(struct line *line, const char *value, bool quoted)
{
    size_t room;

    put(line, quoted ? "\"" : "");
    room = LINE_BYTES - TAIL_BYTES - line->used;
    /* Room for the closing quote, and for a short pair behind a long one. */
    line->used += log_escape(line->bytes + line->used, room > 128 ? room - 64 : room / 2, &value);
    line->cut |= *value != '\0';
    put(line, quoted ? "\"" : "");
}

static void put_pair(struct line *line, const char *key, const char *value, bool quoted, bool number)
{
    size_t before = line->used;

    if (line->full)
        return;
    if (format_now == FORMAT_JSON) {
        put(line, before > 1 && line->bytes[before - 1] != '{' ? ",\"" : "\"");
        put(line, key);
        put(line, "\":");
        put_value(line, value, !number);
    } else {
        put(line, before > 0 ? " " : "");
        put(line, key);
        put(line, "=");
        put_value(line, value, quoted || !log_plain(value));
    }
    if (line->full) {
        line->used = before;
        line->cut = true;
    }
}

static void put_head(struct line *line, enum log_level level, const char *event)
{
    char when[32], number[16];

    wall_text(wall_now(), when, sizeof when);
    snprintf(number, sizeof number, "%u", process_generation);
    if (format_now == FORMAT_TEXT) {
        const char *const words[] = {when, " ", level_words[level], " ", process_name, "/", number, " ", event};

        for (size_t i = 0; i < COUNT_OF(words); i++)
            put(line, words[i]);
        return;
    }
    put(line, format_now == FORMAT_JSON ? "{" : "");
    put_pair(line, "ts", when, false, false);
    put_pair(line, "level", level_words[level], false, false);
    put_pair(line, "process", process_name, false, false);
    put_pair(line, "life", number, false, true);
    put_pair(line, "event", event, false, false);
}

static void send_line(struct line *line, enum log_level level)
{
    static const char severities[] = {'3', '4', '6', '7'}; /* of syslog */
    const char *tail = "";
    char prefixed[LINE_BYTES + 4];
    int used;

    if (line->cut)
        tail = format_now == FORMAT_JSON ? ",\"line_cut\":1" : " line_cut=1";
    used = snprintf(prefixed, sizeof prefixed, "%s%.*s%s%s\n",
                    to_journal ? (const char[]){'<', severities[level], '>', '\0'} : "",
                    (int)line->used, line->bytes, tail, format_now == FORMAT_JSON ? "}" : "");
    if (used > 0 && write(STDERR_FILENO, prefixed, (size_t)used) < 0) {
        /* Nowhere left to say so. */
    }
}

static void tell_suppressed(mono_t now, bool all)
{
    const char *event;
    unsigned count;

    while (log_limit_told(&limit_now, now, all, &event, &count)) {
        struct line line = {.used = 0};
        char number[16];

        snprintf(number, sizeof number, "%u", count);
        put_head(&line, LOG_LEVEL_WARN, "log_suppressed");
        put_pair(&line, "message", event, false, false);
        put_pair(&line, "count", number, false, true);
        send_line(&line, LOG_LEVEL_WARN);
    }
}

void log_leave(void)
{
    int saved = errno;

    tell_suppressed(mono_now(), true);
    errno = saved;
}

static void write_line(enum log_level level, const char *event, const char *format, va_list ap)
{
    struct line line = {.used = 0};
    struct log_walk walk = {.at = format};
    struct log_field field;
    mono_t now = mono_now();
    int saved = errno;

    if (level > level_now)
        return;
    tell_suppressed(now, false);
    if (!log_limit_allows(&limit_now, format, event, now)) {
        errno = saved;
        return;
    }
    put_head(&line, level, event);
    va_copy(walk.arguments, ap);
    while (log_field_next(&walk, &field))
        put_pair(&line, field.key, field.value, field.quoted, field.number);
    va_end(walk.arguments);
    send_line(&line, level);
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
