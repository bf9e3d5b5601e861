/*
 * spendctl_ask.c - one question to control, and its answer on the screen or in memory.  See spendctl.h.
 *
 * An item that says only how long it takes ("progress") is for standard error, and only where a person
 * looks.  Owns what it reads until the call is over; killed on any line it leaves a question unanswered.
 */
#include "supervisor/spendctl.h"

#include "common/admin/admin_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ITEM 102
#define MALFORMED 400

struct outcome {
    const struct options *options;
    bool heard, progress_shown;
    int exit_code;
};

struct kept {
    int status;
    char *json;
};

void spendctl_complain(const char *text)
{
    fputs("spendctl: ", stderr);
    output_escaped(stderr, text);
    fputc('\n', stderr);
}

static void show_progress(struct outcome *outcome, const struct json_tree *progress)
{
    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r%lld s ", (long long)json_integer(json_member(progress, "waited_s"), 0));
    fflush(stderr);
    outcome->progress_shown = true;
}

static void show(struct outcome *outcome, int status, const struct json_tree *tree, const char *json,
                 size_t length)
{
    const struct output *output = outcome->options->output;

    if (outcome->progress_shown)
        fputs("\r      \r", stderr);
    outcome->progress_shown = false;
    if (status >= 300)
        output->refusal(output->refusals_too ? stdout : stderr, status, tree, json, length);
    else if (outcome->options->lines && status == ITEM)
        output_json.answer(stdout, tree, json, length);
    else if (status == ITEM)
        output->item(stdout, tree, json, length);
    else
        output->answer(outcome->options->lines && !output->refusals_too ? stderr : stdout, tree, json,
                       length);
}

static void on_answer(void *arg, int status, const char *json, size_t length)
{
    struct outcome *outcome = arg;
    const struct json_tree *progress;
    struct err err;
    struct json_tree *tree = json_tree_read(json, length, &err);

    outcome->heard = true;
    if (tree == NULL) {
        fprintf(stderr, "spendctl: the answer is no JSON: %s\n", err.text);
        outcome->exit_code = EXIT_NO_DAEMON;
        return;
    }
    progress = json_member(tree, "progress");
    if (status == ITEM && progress != NULL)
        show_progress(outcome, progress);
    else
        show(outcome, status, tree, json, length);
    if (status == ITEM)
        fflush(stdout); /* a reader behind a pipe sees it now; whether it could be written is said at the end */
    outcome->exit_code = status == MALFORMED ? EXIT_USAGE : status >= 300 ? EXIT_REFUSED : EXIT_DONE;
    json_tree_free(&tree);
}

int spendctl_ask(const struct options *options, bool *heard)
{
    struct outcome outcome = {.options = options};
    struct err err;
    int asked = admin_ask(&options->peer, options->words, options->count, options->timeout_ms,
                          on_answer, &outcome, &err);

    if (heard != NULL)
        *heard = outcome.heard;
    if (asked != 0) {
        spendctl_complain(err.text);
        return EXIT_NO_DAEMON;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("spendctl: writing the answer");
        return EXIT_REFUSED;
    }
    return outcome.exit_code;
}

static void keep(void *arg, int status, const char *json, size_t length)
{
    struct kept *kept = arg;

    if (status == ITEM)
        return;
    free(kept->json);
    kept->status = status;
    kept->json = strndup(json, length);
}

int spendctl_fetch(const struct options *options, const char *const *words, size_t count, char **json,
                   struct err *err)
{
    struct kept kept = {.status = -1};

    *json = NULL;
    if (admin_ask(&options->peer, words, count, options->timeout_ms, keep, &kept, err) != 0) {
        free(kept.json);
        return -1;
    }
    if (kept.json == NULL)
        return err_set(err, "no memory, or no answer");
    *json = kept.json;
    return kept.status;
}
