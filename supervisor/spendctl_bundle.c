/*
 * spendctl_bundle.c - "support-bundle": what somebody else needs to understand this spendd, in one directory.
 *
 * The answers of control as they are (it masks what is secret before it answers), the machine, and the end of
 * the log, if it can be read: from the journal, or a file that is named.  Passwords in the log's lines are
 * masked here, whoever wrote them.  A new directory, mode 0700; nothing is written over.
 * If we die on any line, a part of it is there.
 */
#include "supervisor/spendctl.h"

#include "common/admin/words.h"
#include "common/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define LOG_BYTES (512 * 1024)
#define JOURNAL "journalctl --no-pager -n 1000 -u spendd 2>&1"

/* What is asked, and the file that the answer goes to. */
static const struct question {
    const char *words[2], *file;
} questions[] = {
    {{"version", NULL}, "version.json"}, {{"status", NULL}, "status.json"},
    {{"health", NULL}, "health.json"},   {{"queues", NULL}, "queues.json"},
    {{"lock", NULL}, "lock.json"},       {{"fleet", NULL}, "fleet.json"},
    {{"config", NULL}, "config.json"},   {{"stats", NULL}, "stats.json"},
    {{"dead", "ls"}, "dead.json"},
};

static FILE *make(int directory, const char *name)
{
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

    if (file == NULL)
        perror(name);
    return file;
}

/* Where the next secret of a line may begin, behind its mark; NULL: none is left. */
static char *next_mark(char *at, bool *url)
{
    static const char *const marks[] = {"://", "password=", "passwd=", "secret=", "token="};
    char *first = NULL;

    for (size_t i = 0; i < COUNT_OF(marks); i++) {
        char *found = strcasestr(at, marks[i]);

        if (found == NULL || (first != NULL && found + strlen(marks[i]) >= first))
            continue;
        first = found + strlen(marks[i]);
        *url = i == 0;
    }
    return first;
}

/* "://user:PASSWORD@" and "password=PASSWORD": the password becomes ***. */
static void put_masked(FILE *to, char *line)
{
    char *at = line, *begin;
    bool url = false;

    while ((begin = next_mark(at, &url)) != NULL) {
        char *end = begin + strcspn(begin, url ? " \t\"'\n" : " \t\"'&\n");
        char *host = url ? memrchr(begin, '@', (size_t)(end - begin)) : end;
        char *from = url && host != NULL ? memchr(begin, ':', (size_t)(host - begin)) : begin;

        fwrite(at, 1, (size_t)(begin - at), to);
        at = begin;
        if (host == NULL || from == NULL)
            continue;
        from += url;
        fwrite(at, 1, (size_t)(from - at), to);
        fputs("***", to);
        at = host;
    }
    fputs(at, to);
}

static void copy_log(int directory, FILE *from)
{
    FILE *to = make(directory, "log.txt");
    char line[4096];

    while (to != NULL && fgets(line, sizeof line, from) != NULL)
        put_masked(to, line);
    if (to != NULL)
        fclose(to);
}

static void take_log(int directory, const char *path)
{
    FILE *from = path != NULL ? fopen(path, "r") : popen(JOURNAL, "r");

    if (from == NULL) {
        fprintf(stderr, "spendctl: log: %s\n", strerror(errno));
        return;
    }
    /* From the middle of a line on, if it is long. */
    if (path != NULL && fseek(from, -LOG_BYTES, SEEK_END) != 0)
        rewind(from);
    copy_log(directory, from);
    if (path != NULL)
        fclose(from);
    else
        pclose(from);
}

static void describe_machine(int directory)
{
    FILE *to = make(directory, "machine.txt");
    struct utsname name;
    char time[32];

    if (to == NULL)
        return;
    if (uname(&name) == 0)
        fprintf(to, "%s %s %s %s\n", name.sysname, name.release, name.version, name.machine);
    fprintf(to, "%s\n%ld processors, %lld MiB\n", wall_text(wall_now(), time, sizeof time),
            sysconf(_SC_NPROCESSORS_ONLN),
            (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / (1024 * 1024));
    fclose(to);
}

/* How many were answered. */
static unsigned take_answers(const struct options *options, int directory)
{
    unsigned answered = 0;

    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        const struct question *question = &questions[i];
        struct err err;
        char *json;
        int status = spendctl_fetch(options, question->words, question->words[1] != NULL ? 2 : 1, &json, &err);
        FILE *to = make(directory, question->file);

        if (to != NULL)
            fprintf(to, "%s\n", status >= 0 ? json : err.text);
        if (to != NULL)
            fclose(to);
        if (status < 0)
            spendctl_complain(err.text);
        answered += status >= 0;
        free(json);
        if (status < 0 && answered == 0)
            break; /* nobody is there: once is enough */
    }
    return answered;
}

int tool_support_bundle(struct options *options)
{
    const char *log = NULL, *plain[SPENDCTL_WORDS_MAX];
    const struct words_option known[] = {{"--log", &log, NULL}};
    char path[64], time[32];
    unsigned answered;
    size_t others;
    struct err err;
    int directory;

    if (words_read(options->count - 1, options->words + 1, known, 1, plain, &others, &err) != 0)
        return spendctl_usage("support-bundle", err.text);
    if (others > 1)
        return spendctl_usage("support-bundle makes one directory, not", plain[1]);
    wall_text(wall_now(), time, sizeof time);
    snprintf(path, sizeof path, "spendd-support-%.10s-%.2s%.2s%.2s", time, time + 11, time + 14, time + 17);
    if (others == 0)
        plain[0] = path;
    directory = mkdir(plain[0], 0700) == 0 ? open(plain[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (directory < 0) {
        fprintf(stderr, "spendctl: %s: %s\n", plain[0], strerror(errno));
        return EXIT_REFUSED;
    }
    answered = take_answers(options, directory);
    describe_machine(directory);
    take_log(directory, log);
    close(directory);
    printf("%s\n", plain[0]);
    return answered > 0 ? EXIT_DONE : EXIT_NO_DAEMON;
}
