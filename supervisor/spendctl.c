/*
 * spendctl.c - main() of the command-line tool: words -> request -> print the answer.
 *
 * The words are the rows of commands.def, and an answer is printed by what it is made of
 * (common/admin/output.h); only what is more than one question has a file of its own (spendctl_NAME.c).
 * Talks to the control worker over the admin socket and reads no configuration: where the socket is, is
 * said by --socket, --runtime-dir or SPENDD_RUNTIME_DIR. Owns nothing; killed on any line it leaves a
 * question unanswered, and nothing else.
 */
#include "supervisor/spendctl.h"

#include "common/admin/admin_client.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_RUNTIME_DIR "/run/spendd"
#define DEFAULT_TIMEOUT_MS 5000
#define HELP_COLUMN 15

static const struct command {
    const char *word, *arguments, *help;
    size_t least, most;
    int (*run)(struct options *options); /* NULL: one question */
} commands[] = {
#define COMMAND(id, word, least, most, arguments, help) {word, arguments, help, least, most, NULL},
#define ORDER COMMAND
#define TOOL(id, word, least, most, arguments, help) {word, arguments, help, least, most, tool_##id},
#include "common/admin/commands.def"
#undef TOOL
#undef ORDER
#undef COMMAND
};

/* Commands of control that spendctl asks in a way of its own. */
static const struct {
    const char *word;
    int (*run)(struct options *options);
} ways[] = {{"wait", spendctl_wait}, {"pause", spendctl_pause}};

static void print_help(FILE *to)
{
    fputs("usage: spendctl [options] command [argument...]\n\ncommands:\n", to);
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        const struct command *command = &commands[i];

        if (command->arguments[0] == '\0')
            fprintf(to, "  %-*s%s\n", HELP_COLUMN, command->word, command->help);
        else
            fprintf(to, "  %s %s\n  %*s%s\n", command->word, command->arguments, HELP_COLUMN, "",
                    command->help);
    }
    fputs("\noptions, before the command or behind it:\n"
          "  -j, --json             the answer as JSON, one line\n"
          "  -d, --runtime-dir DIR  runtime_dir of spendd (SPENDD_RUNTIME_DIR, "
          "else " DEFAULT_RUNTIME_DIR ")\n"
          "  -s, --socket ENDPOINT  admin socket, as in admin.listen (ipc:///path)\n"
          "  -k, --keys FILE        for tcp:// your CURVE key pair (spendd --curve-keys DIR NAME)\n"
          "  -S, --server-key FILE  for tcp:// the public key of spendd\n"
          "  -t, --timeout SECONDS  longest wait for an answer (5), or for what wait waits for (60)\n"
          "  -h, --help             this text\n"
          "\n"
          "A time T is 500ms, 30s, 5m, 2h or 7d.\n"
          "exit code: 0 done, 1 refused, 2 wrong usage, 3 no daemon or no answer\n",
          to);
}

int spendctl_usage(const char *what, const char *which)
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
static int read_option(struct options *options, int letter, const char *value)
{
    switch (letter) {
    case 'j':
        options->output = &output_json;
        return 0;
    case 'd':
        return set_endpoint(options, "ipc://%s/admin.sock", value) == 0
                   ? 0
                   : 1 + spendctl_usage("too long", value);
    case 's':
        return set_endpoint(options, "%s", value) == 0 ? 0 : 1 + spendctl_usage("too long", value);
    case 't':
        options->timeout_given = true;
        return read_timeout(value, &options->timeout_ms) == 0
                   ? 0
                   : 1 + spendctl_usage("--timeout is a number of seconds, at most 86400, not", value);
    case 'k':
        options->peer.keys = value;
        return 0;
    case 'S':
        options->peer.server_key = value;
        return 0;
    case 'h':
        print_help(stdout);
        return 1 + EXIT_DONE;
    default:
        fputs("spendctl --help lists commands and options\n", stderr);
        return 1 + EXIT_USAGE;
    }
}

static const struct option names[] = {
    {"json", no_argument, NULL, 'j'},         {"runtime-dir", required_argument, NULL, 'd'},
    {"socket", required_argument, NULL, 's'}, {"timeout", required_argument, NULL, 't'},
    {"keys", required_argument, NULL, 'k'},   {"server-key", required_argument, NULL, 'S'},
    {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
};

/* Behind the command stand its own arguments, and any of ours.  0: go on. */
static int read_behind(struct options *options, int argc, char **argv)
{
    int stop = 0;

    for (int i = optind; i < argc && stop == 0; i++) {
        const struct option *ours = NULL;

        for (const struct option *one = names; one->name != NULL && ours == NULL; one++)
            if ((strncmp(argv[i], "--", 2) == 0 && strcmp(argv[i] + 2, one->name) == 0) ||
                (argv[i][0] == '-' && argv[i][1] == one->val && argv[i][2] == '\0'))
                ours = one;
        if (ours != NULL && ours->has_arg == required_argument && i + 1 == argc)
            stop = 1 + spendctl_usage("this option needs a value", argv[i]);
        else if (ours != NULL)
            stop = read_option(options, ours->val, ours->has_arg == required_argument ? argv[++i] : NULL);
        else if (options->count == SPENDCTL_WORDS_MAX)
            stop = 1 + spendctl_usage("too many words, from", argv[i]);
        else
            options->words[options->count++] = argv[i];
    }
    return stop;
}

static int read_options(struct options *options, int argc, char **argv)
{
    const char *dir = getenv("SPENDD_RUNTIME_DIR");
    int letter, stop = 0;

    *options = (struct options){.timeout_ms = DEFAULT_TIMEOUT_MS, .output = &output_text};
    if (set_endpoint(options, "ipc://%s/admin.sock", dir && dir[0] ? dir : DEFAULT_RUNTIME_DIR) !=
        0)
        return 1 + spendctl_usage("SPENDD_RUNTIME_DIR is too long", dir);
    while (stop == 0 && (letter = getopt_long(argc, argv, "+jd:s:k:S:t:h", names, NULL)) != -1)
        stop = read_option(options, letter, optarg);
    if (stop == 0)
        stop = read_behind(options, argc, argv);
    options->peer.endpoint = options->endpoint;
    return stop;
}

/* The row of commands.def, if it has as many words as that row has places for.  NULL: told why. */
static const struct command *find(const struct options *options)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        const struct command *command = &commands[i];

        if (strcmp(options->words[0], command->word) != 0)
            continue;
        if (command->most == 0 && options->count > 1)
            spendctl_usage("this command takes no arguments, so not", options->words[1]);
        else if (options->count - 1 > command->most)
            spendctl_usage("too many words, from", options->words[command->most + 1]);
        else if (options->count - 1 < command->least)
            spendctl_usage("its arguments are missing", command->arguments);
        else
            return command;
        return NULL;
    }
    spendctl_usage("no such command", options->words[0]);
    return NULL;
}

int main(int argc, char **argv)
{
    const struct command *command;
    struct options options;
    int stop = read_options(&options, argc, argv);

    if (stop != 0)
        return stop - 1;
    if (options.count == 0) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    command = find(&options);
    if (command == NULL)
        return EXIT_USAGE;
    options.lines = options.count > 1 && strcmp(options.words[0], "dead") == 0 &&
                    strcmp(options.words[1], "export") == 0;
    for (size_t i = 0; i < COUNT_OF(ways); i++)
        if (strcmp(ways[i].word, command->word) == 0)
            return ways[i].run(&options);
    return command->run != NULL ? command->run(&options) : spendctl_ask(&options, NULL);
}
