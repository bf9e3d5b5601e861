/*
 * spendctl.c - main() of the command-line tool: words -> request -> print the answer.
 *
 * Knows no command by name: the words are the rows of commands.def, and an answer is printed by
 * what it is made of (common/admin/output.h).  Talks to the control worker over the admin socket
 * and reads no configuration: where the socket is, is said by --socket, --runtime-dir or
 * SPENDD_RUNTIME_DIR. Owns nothing; killed on any line it leaves a question unanswered, and nothing
 * else.
 *
 * Exit code, a contract: 0 done, 1 refused by spendd, 2 wrong usage, 3 no daemon or no answer.
 */
#include "common/admin/admin_client.h"
#include "common/admin/output.h"
#include "common/base/attr.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_RUNTIME_DIR "/run/spendd"
#define DEFAULT_TIMEOUT_MS 5000

enum { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3 };

static const struct command {
    const char *word, *arguments, *help;
    size_t least, most;
} commands[] = {
#define COMMAND(id, word, least, most, arguments, help) {word, arguments, help, least, most},
#define ORDER COMMAND
#define TOOL COMMAND
#include "common/admin/commands.def"
#undef TOOL
#undef ORDER
#undef COMMAND
};

struct options {
    char endpoint[256];
    int64_t timeout_ms;
    const struct output *output;
    const char *const *words;
    size_t count;
};

/* What the answers of one question led to. */
struct outcome {
    const struct output *output;
    int exit_code;
};

static void print_help(FILE *to)
{
    fputs("usage: spendctl [options] command [argument...]\n\ncommands:\n", to);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(to, "  %-9s %s%s%s\n", commands[i].word, commands[i].arguments,
                commands[i].arguments[0] ? "  " : "", commands[i].help);
    fputs("\noptions:\n"
          "  -j, --json             the answer as JSON, one line\n"
          "  -d, --runtime-dir DIR  runtime_dir of spendd (SPENDD_RUNTIME_DIR, "
          "else " DEFAULT_RUNTIME_DIR ")\n"
          "  -s, --socket ENDPOINT  admin socket, as in admin.listen (ipc:///path)\n"
          "  -t, --timeout SECONDS  longest wait for an answer (5)\n"
          "  -h, --help             this text\n"
          "\nexit code: 0 done, 1 refused, 2 wrong usage, 3 no daemon or no answer\n",
          to);
}

static int usage(const char *what, const char *which)
{
    fprintf(stderr, "spendctl: %s: ", what);
    output_escaped(stderr, which);
    fputs("\nspendctl --help lists commands and options\n", stderr);
    return EXIT_USAGE;
}

/* Seconds, decimals allowed; more than 0 and at most a day. */
static int read_timeout(const char *text, int64_t *ms)
{
    char *end;
    double seconds;

    errno = 0;
    seconds = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !isfinite(seconds) || seconds < 0.001 ||
        seconds > 86400)
        return -1;
    *ms = (int64_t)(seconds * 1000);
    return 0;
}

static int set_endpoint(struct options *options, const char *format, const char *text)
{
    int used = snprintf(options->endpoint, sizeof options->endpoint, format, text);

    return used > 0 && (size_t)used < sizeof options->endpoint ? 0 : -1;
}

/* 0: go on; else the exit code plus one. */
static int read_option(struct options *options, int letter)
{
    switch (letter) {
    case 'j':
        options->output = &output_json;
        return 0;
    case 'd':
        return set_endpoint(options, "ipc://%s/admin.sock", optarg) == 0
                   ? 0
                   : 1 + usage("too long", optarg);
    case 's':
        return set_endpoint(options, "%s", optarg) == 0 ? 0 : 1 + usage("too long", optarg);
    case 't':
        return read_timeout(optarg, &options->timeout_ms) == 0
                   ? 0
                   : 1 + usage("--timeout is a number of seconds, at most 86400, not", optarg);
    case 'h':
        print_help(stdout);
        return 1 + EXIT_DONE;
    default:
        fputs("spendctl --help lists commands and options\n", stderr);
        return 1 + EXIT_USAGE;
    }
}

static int read_options(struct options *options, int argc, char **argv)
{
    static const struct option names[] = {
        {"json", no_argument, NULL, 'j'},         {"runtime-dir", required_argument, NULL, 'd'},
        {"socket", required_argument, NULL, 's'}, {"timeout", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    const char *dir = getenv("SPENDD_RUNTIME_DIR");
    int letter, stop = 0;

    *options = (struct options){.timeout_ms = DEFAULT_TIMEOUT_MS, .output = &output_text};
    if (set_endpoint(options, "ipc://%s/admin.sock", dir && dir[0] ? dir : DEFAULT_RUNTIME_DIR) !=
        0)
        return 1 + usage("SPENDD_RUNTIME_DIR is too long", dir);
    while (stop == 0 && (letter = getopt_long(argc, argv, "jd:s:t:h", names, NULL)) != -1)
        stop = read_option(options, letter);
    options->words = (const char *const *)argv + optind;
    options->count = (size_t)(argc - optind);
    return stop;
}

/* Is it a row of commands.def, with as many words as that row has places for? */
static int check_words(const struct options *options)
{
    if (options->count == 0) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (strcmp(options->words[0], commands[i].word) != 0)
            continue;
        if (commands[i].most == 0 && options->count > 1)
            return usage("this command takes no arguments, so not", options->words[1]);
        if (options->count - 1 > commands[i].most)
            return usage("too many words, from", options->words[commands[i].most + 1]);
        if (options->count - 1 < commands[i].least)
            return usage("its arguments are missing", commands[i].arguments);
        return EXIT_DONE;
    }
    return usage("no such command", options->words[0]);
}

static void on_answer(void *arg, int status, const char *json, size_t length)
{
    struct outcome *outcome = arg;
    const struct output *output = outcome->output;
    bool refused = status >= 300;
    struct err err;
    struct json_tree *tree = json_tree_read(json, length, &err);

    if (tree == NULL) {
        fprintf(stderr, "spendctl: the answer is no JSON: %s\n", err.text);
        outcome->exit_code = EXIT_NO_DAEMON;
        return;
    }
    if (refused)
        output->refusal(output->refusals_too ? stdout : stderr, status, tree, json, length);
    else
        output->answer(stdout, tree, json, length);
    outcome->exit_code = refused ? EXIT_REFUSED : EXIT_DONE;
    json_tree_free(&tree);
}

int main(int argc, char **argv)
{
    struct options options;
    struct outcome outcome = {0};
    struct err err;
    int stop = read_options(&options, argc, argv);

    if (stop != 0)
        return stop - 1;
    stop = check_words(&options);
    if (stop != EXIT_DONE)
        return stop;
    outcome.output = options.output;
    if (admin_ask(options.endpoint, options.words, options.count, options.timeout_ms, on_answer,
                  &outcome, &err) != 0) {
        fputs("spendctl: ", stderr);
        output_escaped(stderr, err.text);
        fputc('\n', stderr);
        return EXIT_NO_DAEMON;
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("spendctl: writing the answer");
        return EXIT_REFUSED;
    }
    return outcome.exit_code;
}
