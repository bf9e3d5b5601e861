/*
 * spendctl_wait.c - "wait": until something is true of spendd, which may not run yet.
 *
 * For an init container or an entrypoint that holds another program back: the socket is tried again until
 * the time is over, whoever is not there yet or leaves in between.  While control answers, it is control
 * that waits; if we die on any line, nobody waits any more.
 * Exit code: 0 it is true, 1 it did not become true in time (or spendd did not come), 2 wrong usage.
 */
#include "supervisor/spendctl.h"

#include "common/base/clock.h"

#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_MS 60000
#define PAUSE_MS 100
#define ANSWER_MS 5000 /* control tells once a second that it still waits */

static void print_final(const struct options *options, int status, const char *json)
{
    const struct output *output = options->output;
    struct err err;
    struct json_tree *tree = json_tree_read(json, strlen(json), &err);

    if (tree == NULL)
        spendctl_complain(err.text);
    else if (status < 300)
        output->answer(stdout, tree, json, strlen(json));
    else
        output->refusal(output->refusals_too ? stdout : stderr, status, tree, json, strlen(json));
    json_tree_free(&tree);
}

int spendctl_wait(struct options *options)
{
    mono_t deadline = mono_after_ms(mono_now(), options->timeout_given ? options->timeout_ms : WAIT_MS);
    struct err err = {"not tried"};
    char left[32], *json;

    options->words[options->count] = "--timeout";
    options->words[options->count + 1] = left;
    for (;;) {
        int64_t ms = mono_ms_between(mono_now(), deadline);
        int status;

        snprintf(left, sizeof left, "%lldms", (long long)(ms > 0 ? ms : 1));
        options->timeout_ms = ANSWER_MS;
        status = spendctl_fetch(options, options->words, options->count + 2, &json, &err);
        if (status >= 0) {
            print_final(options, status, json);
            free(json);
            return status < 300 ? EXIT_DONE : status == 400 ? EXIT_USAGE : EXIT_REFUSED;
        }
        if (mono_reached(mono_now(), deadline))
            break;
        poll(NULL, 0, ms < PAUSE_MS ? (int)(ms > 0 ? ms : 0) : PAUSE_MS);
    }
    spendctl_complain(err.text);
    return EXIT_REFUSED;
}

/* Who paused is shown by status, for whoever finds it later. */
int spendctl_pause(struct options *options)
{
    const struct passwd *user = getpwuid(getuid());
    char who[80], host[40] = "";

    for (size_t i = 0; i < options->count; i++)
        if (strcmp(options->words[i], "--by") == 0)
            return spendctl_ask(options, NULL);
    if (gethostname(host, sizeof host - 1) != 0)
        snprintf(host, sizeof host, "?");
    snprintf(who, sizeof who, "%.35s@%.39s", user != NULL ? user->pw_name : "?", host);
    options->words[options->count++] = "--by";
    options->words[options->count++] = who;
    return spendctl_ask(options, NULL);
}
