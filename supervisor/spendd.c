/*
 * spendd.c - main() of the daemon: options, --check, --print-config, --migrate, --print-states, or be the supervisor.
 *
 * Exit codes: 0 asked to leave (or all is well), 1 refused by PostgreSQL (--migrate), 2 wrong options,
 * 75 failed for now, 78 configuration.
 * If we die on any line before supervisor_run, nothing was started.
 */
#include "supervisor/supervisor.h"

#include "common/base/core.h"
#include "common/base/log.h"
#include "common/config/config.h"
#include "common/config/relations.h"
#include "common/harness/build.h"
#include "common/harness/harness.h"
#include "supervisor/keys.h"
#include "supervisor/spool_tool.h"
#include "supervisor/task.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/spendd/spendd.conf"
#define EXIT_USAGE 2

enum mode {
    MODE_RUN,
    MODE_CHECK,
    MODE_PRINT,
    MODE_MIGRATE,
    MODE_GIVE_BACK,
    MODE_STATES,
    MODE_KEYS,
    MODE_SPOOL,
    MODE_VERSION,
    MODE_HELP,
    MODE_WRONG
};

struct arguments {
    const char *config;
    enum mode mode;
    const char *keys, *name; /* --curve-keys DIR [NAME] */
    const char *spool, *directory; /* --spool VERB DIR */
};

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
    {"curve-keys", required_argument, NULL, 'K'}, {"spool", required_argument, NULL, 'S'},
    {"print-config", no_argument, NULL, 'p'}, {"migrate", no_argument, NULL, 'm'},
    {"give-back", no_argument, NULL, 'g'},
    {"print-states", no_argument, NULL, 's'}, {"version", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void print_help(FILE *to)
{
    fputs("usage: spendd [--config FILE] [--check | --print-config | --curve-keys DIR | --migrate |\n"
          "              --give-back | --print-states | --spool VERB DIR | --version | --help]\n"
          "\n"
          "Takes spend events from gateways and counts each of them in PostgreSQL exactly once.\n"
          "\n"
          "  --config FILE    read FILE instead of " DEFAULT_CONFIG "\n"
          "  --check          check the configuration and say what was checked; start nothing\n"
          "  --print-config   print the effective configuration, secrets masked; start nothing\n"
          "  --curve-keys DIR [NAME]\n"
          "                   make a key pair for tcp:// in DIR: the server's, or that of the client NAME\n"
          "  --migrate        make or upgrade the schema in PostgreSQL (as database.url), then leave; may\n"
          "                   run beside a living spendd\n"
          "  --give-back      what a killed spendd had claimed of LiteLLM's lists goes back to them, unless it\n"
          "                   was counted; may run beside a living spendd\n"
          "  --spool ls|cat|verify|push DIR\n"
          "                   a volume that no spendd runs on (a spool, or one lane of it): list its segments,\n"
          "                   print the events that PostgreSQL does not have as JSON lines, verify every\n"
          "                   record, or push everything into Redis as redis.url of FILE\n"
          "  --print-states   print what happens to a worker in which state\n"
          "  --version        print version and build\n"
          "  --help           print this\n"
          "\n"
          "Exit codes: 0 asked to leave or done, 1 refused by PostgreSQL (--migrate, --give-back) or\n"
          "damage found (--spool), 2 wrong options, 75 failed for now, 78 configuration.\n"
          "Signals: SIGTERM and SIGINT drain, a second one leaves at once; SIGHUP reads FILE again.\n",
          to);
}

static enum mode mode_of(int letter)
{
    switch (letter) {
    case 'k':
        return MODE_CHECK;
    case 'p':
        return MODE_PRINT;
    case 'm':
        return MODE_MIGRATE;
    case 'g':
        return MODE_GIVE_BACK;
    case 's':
        return MODE_STATES;
    case 'v':
        return MODE_VERSION;
    case 'h':
        return MODE_HELP;
    case 'K':
        return MODE_KEYS;
    case 'S':
        return MODE_SPOOL;
    default:
        return MODE_WRONG;
    }
}

static struct arguments parse(int argc, char **argv)
{
    struct arguments arguments = {.config = DEFAULT_CONFIG, .mode = MODE_RUN};
    int letter;

    while ((letter = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        if (letter == 'c')
            arguments.config = optarg;
        else if (arguments.mode != MODE_WRONG)
            arguments.mode = mode_of(letter);
        if (letter == 'K')
            arguments.keys = optarg;
        if (letter == 'S')
            arguments.spool = optarg;
    }
    if (arguments.mode == MODE_KEYS && optind < argc)
        arguments.name = argv[optind++];
    if (arguments.mode == MODE_SPOOL && optind < argc)
        arguments.directory = argv[optind++];
    if (arguments.mode == MODE_SPOOL &&
        (arguments.directory == NULL || spool_tool_needs_config(arguments.spool) < 0)) {
        fprintf(stderr, "spendd: --spool ls|cat|verify|push DIR\n");
        arguments.mode = MODE_WRONG;
    }
    if (optind < argc && arguments.mode != MODE_WRONG) {
        fprintf(stderr, "spendd: what is \"%s\"?\n", argv[optind]);
        arguments.mode = MODE_WRONG;
    }
    return arguments;
}

static void say(void *arg, const char *line)
{
    fprintf(arg, "%s\n", line);
}

static void say_narrowed(void *arg, const char *path, const char *text)
{
    (void)path;
    fprintf(arg, "warning: %s\n", text);
}

static int check(const char *config, const struct settings *settings, unsigned given)
{
    unsigned warnings;

    printf("%s: good\n", config);
    printf("checked: %zu settings (%u from the file, the others by default): names, types, bounds,\n"
           "         env: and file: values, socket paths, and how settings stand to each other\n",
           settings_count, given);
    puts("not checked: whether the directories, Redis and PostgreSQL can be reached");
    warnings = settings_narrowed(settings, say_narrowed, stdout);
    if (warnings == 0)
        puts("promise: an acknowledged event is counted exactly once");
    else
        puts("promise: narrowed by the above");
    return 0;
}

static void warn_narrowed(void *arg, const char *path, const char *text)
{
    (void)arg;
    log_warn("promise_narrowed", "setting=%s text=\"%s\"", path, text);
}

/* Descriptors 0, 1 and 2 exist, so that no other one is taken for them. */
static void open_standard(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static int with_settings(const struct arguments *arguments)
{
    static const struct settings nothing;
    struct settings settings = nothing;
    unsigned given = 0;
    struct err err;
    int code;

    if (config_load(arguments->config, &settings, &given, say, stderr) < 0)
        return EXIT_CONFIGURATION;
    if ((arguments->mode == MODE_CHECK || arguments->mode == MODE_RUN) && keys_check(&settings, &err) < 0) {
        fprintf(stderr, "%s: %s\n", arguments->config, err.text);
        return EXIT_CONFIGURATION;
    }
    if (arguments->mode == MODE_CHECK)
        return check(arguments->config, &settings, given);
    if (arguments->mode == MODE_PRINT) {
        config_print(&settings, stdout);
        return 0;
    }
    if (arguments->mode == MODE_MIGRATE) {
        settings.database_migrate = true; /* the command says so, whatever the file says */
        return task_run(&settings, "db_flusher", "migrate");
    }
    if (arguments->mode == MODE_GIVE_BACK)
        return task_run(&settings, "db_flusher", "give-back");
    log_set_level((enum log_level)log_level_from(settings.log_level));
    log_set_format(settings.log_format);
    log_set_burst((unsigned)settings.log_burst);
    settings_narrowed(&settings, warn_narrowed, NULL);
    code = supervisor_run(&settings, arguments->config);
    log_leave();
    return code;
}

/* Only push must know where Redis is. */
static int with_volume(const struct arguments *arguments)
{
    static const struct settings nothing;
    struct settings settings = nothing;
    unsigned given;

    if (spool_tool_needs_config(arguments->spool) == 0)
        settings_defaults(&settings);
    else if (config_load(arguments->config, &settings, &given, say, stderr) < 0)
        return EXIT_CONFIGURATION;
    return spool_tool(&settings, arguments->spool, arguments->directory);
}

int main(int argc, char **argv)
{
    struct arguments arguments = parse(argc, argv);

    open_standard();
    log_init("spendd", 0);
    core_forbid(); /* the file's secrets pass through here, whatever is asked */
    switch (arguments.mode) {
    case MODE_VERSION:
        printf("spendd %s (%s)\n", build_version, build_id);
        return 0;
    case MODE_STATES:
        child_print(stdout);
        return 0;
    case MODE_HELP:
        print_help(stdout);
        return 0;
    case MODE_WRONG:
        fputs("spendd --help tells the options\n", stderr);
        return EXIT_USAGE;
    case MODE_KEYS:
        return keys_make(arguments.keys, arguments.name);
    case MODE_SPOOL:
        return with_volume(&arguments);
    case MODE_RUN:
    case MODE_CHECK:
    case MODE_PRINT:
    case MODE_MIGRATE:
    case MODE_GIVE_BACK:
        return with_settings(&arguments);
    }
    return EXIT_USAGE;
}
