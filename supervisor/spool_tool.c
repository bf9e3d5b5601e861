/*
 * spool_tool.c - `spendd --spool`.  See spool_tool.h.
 *
 * spendd itself links neither the event's codec nor Redis: the aggregator's executable knows what lies in a
 * lane, redis_writer's how it gets into the queue, and each has a task for it.  push is the two, one after
 * the other: between them the lanes are unlocked for a moment, and whoever takes them then makes the second
 * one refuse.  If we die on any line, the task reads end of file and leaves; run it again.
 */
#include "supervisor/spool_tool.h"

#include "common/base/attr.h"
#include "supervisor/task.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_TEMPORARY_FAILURE 75

static const struct verb {
    const char *word, *worker, *task;
    const char *then_worker, *then_task; /* NULL: nothing */
} verbs[] = {
    {"ls", "aggregator", "spool-ls", NULL, NULL},
    {"cat", "aggregator", "spool-cat", NULL, NULL},
    {"verify", "aggregator", "spool-verify", NULL, NULL},
    {"push", "aggregator", "spool-recover", "redis_writer", "spool-push"},
};

static const struct verb *find(const char *word)
{
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (strcmp(verbs[i].word, word) == 0)
            return &verbs[i];
    return NULL;
}

int spool_tool_needs_config(const char *word)
{
    const struct verb *verb = find(word);

    return verb == NULL ? -1 : verb->then_task != NULL;
}

int spool_tool(struct settings *settings, const char *word, const char *given)
{
    const struct verb *verb = find(word);
    char directory[PATH_MAX];
    int code;

    if (realpath(given, directory) == NULL) {
        perror(given);
        return EXIT_TEMPORARY_FAILURE;
    }
    if (strlen(directory) >= sizeof settings->spool_dir) {
        fprintf(stderr, "spendd --spool: %s is too long a path\n", directory);
        return EXIT_TEMPORARY_FAILURE;
    }
    snprintf(settings->spool_dir, sizeof settings->spool_dir, "%.*s",
             (int)sizeof settings->spool_dir - 1, directory);
    snprintf(settings->log_level, sizeof settings->log_level, "warn");
    code = task_run(settings, verb->worker, verb->task);
    if (code == 0 && verb->then_task != NULL)
        code = task_run(settings, verb->then_worker, verb->then_task);
    return code;
}
