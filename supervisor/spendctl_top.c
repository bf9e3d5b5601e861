/*
 * spendctl_top.c - "top": what is going on, again and again; rates are differences of counters.
 *
 * On a terminal a screen (spendctl_screen.c) that is drawn anew each interval and left with q; elsewhere one plain
 * line for each interval, for a log or a pipe.  The terminal's mode is kept by a parent that only waits: however
 * the one that draws ends, the parent puts it back.  Reads only; owns nothing beyond the call.
 */
#include "supervisor/spendctl.h"

#include "supervisor/spendctl_screen.h"

#include "common/admin/words.h"
#include "common/base/clock.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define INTERVAL_MS 1000
#define ENTER_SCREEN "\033[?1049h\033[?25l"
#define LEAVE_SCREEN "\033[?25h\033[?1049l"

/* Counters whose rate is shown, as they stand in status.events. */
static const char *const rates[] = {"accepted", "duplicate", "rejected", "counted", "known", "conflict"};
#define RATES COUNT_OF(rates)

struct top {
    const struct options *options;
    bool screen;
    int64_t interval_ms, count; /* count 0: until q */
    int64_t before[RATES];
    struct rate rate[RATES];
    mono_t at; /* of `before`; micros 0: none yet */
};

static void take_rates(struct top *top, const struct json_tree *status)
{
    const struct json_tree *events = json_member(status, "events");
    mono_t now = mono_now();
    double seconds = (double)mono_ms_between(top->at, now) / 1000;

    for (size_t i = 0; i < RATES; i++) {
        int64_t value = json_integer(json_member(events, rates[i]), 0);

        /* A counter that went back is a restart: no rate this time. */
        top->rate[i].name = rates[i];
        top->rate[i].per_s = top->at.micros > 0 && seconds > 0 && value >= top->before[i]
                                 ? (double)(value - top->before[i]) / seconds
                                 : 0;
        top->before[i] = value;
    }
    top->at = now;
}

static int64_t number(const struct json_tree *status, const char *group, const char *name)
{
    return json_integer(json_member(json_member(status, group), name), -1);
}

static void print_line(const struct top *top, const struct json_tree *status)
{
    unsigned ready = 0, workers = 0;
    const struct json_tree *list = json_member(status, "workers");
    char time[32];

    for (const struct json_tree *one = list != NULL ? list->first : NULL; one != NULL; one = one->next) {
        const struct json_tree *state = json_member(one, "state");

        workers++;
        ready += state != NULL && state->text != NULL && strcmp(state->text, "READY") == 0;
    }
    wall_text(wall_now(), time, sizeof time);
    printf("%.19sZ", time);
    for (size_t i = 0; i < RATES; i++)
        printf(" %s/s=%.1f", rates[i], top->rate[i].per_s);
    printf(" unapplied_segments=%lld unapplied_bytes=%lld oldest_s=%lld queue=%lld queue_bytes=%lld "
           "ready=%u/%u\n",
           (long long)number(status, "spool", "unapplied_segments"),
           (long long)number(status, "spool", "unapplied_bytes"),
           (long long)number(status, "spool", "oldest_unapplied_s"),
           (long long)number(status, "queue", "length"), (long long)number(status, "queue", "bytes"), ready,
           workers);
    fflush(stdout);
}

/* False: it was asked to end.  A key is looked for even if `next` is over: who does not answer has taken that time. */
static bool pause_until(const struct top *top, mono_t next)
{
    struct pollfd keys = {STDIN_FILENO, POLLIN, 0};
    int64_t left;
    char key;

    do {
        left = mono_ms_between(mono_now(), next);
        if (poll(&keys, top->screen ? 1 : 0, left > 0 ? (int)left : 0) > 0 &&
            (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q' || key == 3))
            return false;
    } while (left > 0);
    return true;
}

static int look(struct top *top)
{
    const char *const words[] = {"status"};
    struct err err;
    char *json;
    struct json_tree *tree;
    int status = spendctl_fetch(top->options, words, 1, &json, &err);

    tree = status == 200 ? json_tree_read(json, strlen(json), &err) : NULL;
    if (tree == NULL) {
        if (status >= 0 && status != 200)
            err_set(&err, "refused (%d)", status);
        free(json);
        (top->screen ? screen_complain : spendctl_complain)(err.text);
        return EXIT_NO_DAEMON;
    }
    take_rates(top, tree);
    if (top->screen)
        screen_draw(tree, top->rate, RATES);
    else if (top->options->output == &output_json)
        top->options->output->answer(stdout, tree, json, strlen(json));
    else
        print_line(top, tree);
    json_tree_free(&tree);
    free(json);
    return ferror(stdout) ? EXIT_REFUSED : EXIT_DONE;
}

/* On a screen one that does not answer is waited for; a pipe is told with the exit code. */
static int run(struct top *top)
{
    for (int64_t shown = 1;; shown++) {
        mono_t next = mono_after_ms(mono_now(), top->interval_ms);
        int code = look(top);

        if ((code != EXIT_DONE && !top->screen) || code == EXIT_REFUSED)
            return code;
        if (shown == top->count || !pause_until(top, next))
            return code;
    }
}

/* Draws in a child: whatever ends it, the terminal is put back by us. */
static int run_on_screen(struct top *top)
{
    struct termios before, raw;
    int status = 0;
    pid_t child;

    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return run(top);
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* a stopped screen would leave the terminal like this */
    fflush(stdout);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
        fputs(ENTER_SCREEN, stdout);
        status = run(top);
        fflush(stdout);
        _exit(status);
    }
    signal(SIGINT, SIG_IGN); /* the child's: it ends, and so do we */
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    if (child < 0 || waitpid(child, &status, 0) != child)
        status = -1;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fputs(LEAVE_SCREEN, stdout);
    fflush(stdout);
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_DONE;
}

int tool_top(struct options *options)
{
    const char *time = NULL, *number_text = NULL, *plain[SPENDCTL_WORDS_MAX];
    const struct words_option known[] = {{"--interval", &time, NULL}, {"--count", &number_text, NULL}};
    struct top top = {.options = options, .interval_ms = INTERVAL_MS};
    size_t others;
    struct err err;

    if (words_read(options->count - 1, options->words + 1, known, COUNT_OF(known), plain, &others, &err) != 0 ||
        (time != NULL && duration_read(time, &top.interval_ms, &err) != 0) ||
        (number_text != NULL && words_number(number_text, 1, 1000000000, &top.count, &err) != 0))
        return spendctl_usage("top", err.text);
    if (others > 0)
        return spendctl_usage("top takes no such word", plain[0]);
    top.screen = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && options->output != &output_json;
    return top.screen ? run_on_screen(&top) : run(&top);
}
