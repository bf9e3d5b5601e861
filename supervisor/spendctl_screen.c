/*
 * spendctl_screen.c - one screen of "top": what an operator looks for in `status`, and no more than the terminal
 * shows.  See spendctl_screen.h.
 *
 * The lines are made in memory, then drawn from the upper left, none longer than the terminal is wide, and as many
 * as it is high: what is drawn first never scrolls away.  The last line says how to leave, and how much had no
 * place.  Every text passes output_escaped: a name may come from a stranger.
 * Owns nothing beyond the call; killed on any line it leaves half a screen, and the parent puts the terminal back.
 */
#include "supervisor/spendctl_screen.h"

#include "common/admin/output.h"
#include "common/admin/value_text.h"
#include "common/base/clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HOME "\033[H"
#define END_OF_LINE "\033[K\n"
#define END_OF_SCREEN "\033[J"
#define RATES_PER_LINE 3

/* --- the terminal --------------------------------------------------------------------------------- */

/* As much of the line as has a place. */
static void show_line(const char *text, size_t bytes, size_t columns)
{
    size_t used = 0;

    for (size_t i = 0; i < bytes; i++) {
        used += ((unsigned char)text[i] & 0xc0) != 0x80; /* not a continuation byte */
        if (used > columns)
            break;
        putchar(text[i]);
    }
    fputs(END_OF_LINE, stdout);
}

static void show(const char *text)
{
    struct winsize size = {0};
    size_t left = 0, rows, columns;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        size.ws_row = 0;
    rows = size.ws_row > 1 ? size.ws_row - 1U : 23;
    columns = size.ws_col > 0 ? size.ws_col : 80;
    fputs(HOME, stdout);
    for (size_t row = 0; *text != '\0'; row++) {
        size_t bytes = strcspn(text, "\n");

        if (row < rows)
            show_line(text, bytes, columns);
        else
            left++;
        text += bytes + (text[bytes] == '\n');
    }
    fputs(END_OF_SCREEN "q quits", stdout);
    if (left > 0)
        printf("; %zu more lines", left);
    fflush(stdout);
}

/* --- parts ---------------------------------------------------------------------------------------- */

static void put(FILE *to, const struct json_tree *tree, const char *key)
{
    const struct json_tree *value = json_member(tree, key);
    char text[VALUE_TEXT_MAX] = "-";

    if (value != NULL)
        value_text(value, text, sizeof text);
    output_escaped(to, text);
}

static int64_t number(const struct json_tree *tree, const char *key)
{
    return json_integer(json_member(tree, key), 0);
}

static bool is_true(const struct json_tree *tree, const char *key)
{
    const struct json_tree *value = json_member(tree, key);

    return value != NULL && value->kind == JSON_TRUE;
}

static const char *text_of(const struct json_tree *tree, const char *key)
{
    const struct json_tree *value = json_member(tree, key);

    return value != NULL && value->kind == JSON_STRING ? value->text : "";
}

/* What is not known says so, and why. */
static bool put_unknown(FILE *to, const struct json_tree *tree)
{
    if (is_true(tree, "known"))
        return false;
    fputs("unknown: ", to);
    put(to, tree, "why");
    fputc('\n', to);
    return true;
}

/* How long ago that was. */
static void put_age(FILE *to, const struct json_tree *tree, const char *key, int width)
{
    int64_t at = number(tree, key), ms = wall_now().micros / 1000 - at;
    char text[32] = "-";

    if (at > 0)
        duration_text(ms > 0 ? ms : 0, text, sizeof text);
    fprintf(to, "%-*s", width, text);
}

/* --- lines ---------------------------------------------------------------------------------------- */

static void put_head(FILE *to, const struct json_tree *status)
{
    char now[32];

    wall_text(wall_now(), now, sizeof now);
    fprintf(to, "%.10s %.8s UTC  spendd ", now, now + 11);
    put(to, status, "version");
    fputs(" of ", to);
    put(to, status, "instance");
    fputs(", up ", to);
    put_age(to, status, "started_ms", 0);
    if (is_true(status, "draining")) {
        fputs("  DRAINING, ", to);
        put(to, status, "drain_left_ms");
        fputs(" left", to);
    }
    fputs("\n\n", to);
}

static void put_rates(FILE *to, const struct rate *rates, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (i % RATES_PER_LINE == 0)
            fprintf(to, "%-11s", i == 0 ? "events/s" : "");
        fprintf(to, "%-10s %8.1f%s", rates[i].name, rates[i].per_s, (i + 1) % RATES_PER_LINE == 0 ? "\n" : "   ");
    }
}

static void put_spool(FILE *to, const struct json_tree *spool)
{
    fputs("spool      ", to);
    if (number(spool, "unapplied_segments") == 0) {
        fputs("everything is in PostgreSQL; ", to);
    } else {
        put(to, spool, "unapplied_segments");
        fputs(" segments to go, ", to);
        put(to, spool, "unapplied_bytes");
        fputs(", the oldest ", to);
        put(to, spool, "oldest_unapplied_s");
        fputs(" old; ", to);
    }
    put(to, spool, "bytes");
    fputs(" on disk\n", to);
}

static void put_queue(FILE *to, const struct json_tree *queue)
{
    fputs("queue      ", to);
    if (put_unknown(to, queue))
        return;
    put(to, queue, "length");
    fputs(" batches, ", to);
    put(to, queue, "bytes");
    if (number(queue, "aside") > 0) {
        fputs("; put aside: ", to);
        put(to, queue, "aside");
    }
    fputc('\n', to);
}

static void put_lock(FILE *to, const struct json_tree *lock)
{
    fputs("lock       ", to);
    if (put_unknown(to, lock))
        return;
    if (text_of(lock, "holder")[0] == '\0') {
        fputs("nobody has it\n", to);
        return;
    }
    put(to, lock, "holder");
    fputs(", for ", to);
    put(to, lock, "ttl_ms");
    fputs(" yet\n", to);
}

static void put_database(FILE *to, const struct json_tree *gate)
{
    fputs("database   ", to);
    if (put_unknown(to, gate))
        return;
    fputs(is_true(gate, "open") ? "gate open" : "GATE CLOSED: ", to);
    if (!is_true(gate, "open"))
        put(to, gate, "why");
    fputc('\n', to);
}

/* Only where spendd adopts LiteLLM's lists. */
static void put_litellm(FILE *to, const struct json_tree *litellm)
{
    const struct json_tree *lists = json_member(litellm, "lists");
    int64_t waiting = 0;

    if (!is_true(litellm, "adopt"))
        return;
    for (const struct json_tree *list = lists != NULL ? lists->first : NULL; list != NULL; list = list->next)
        waiting += json_integer(list, 0);
    if (is_true(litellm, "held_here"))
        fprintf(to, "litellm    pod locks held here; %lld elements in the lists\n", (long long)waiting);
    else
        fputs("litellm    pod locks not held here\n", to);
}

static void put_pauses(FILE *to, const struct json_tree *pauses)
{
    for (const struct json_tree *pause = pauses != NULL ? pauses->first : NULL; pause != NULL; pause = pause->next) {
        fputs("PAUSED     ", to);
        put(to, pause, "what");
        fputs(strcmp(text_of(pause, "scope"), "fleet") == 0 ? " in every instance, by " : " here, by ", to);
        put(to, pause, "who");
        fputs(number(pause, "until_ms") > 0 ? ", until " : ", until it is resumed", to);
        if (number(pause, "until_ms") > 0)
            put(to, pause, "until_ms");
        fputc('\n', to);
    }
}

static void put_worker(FILE *to, const struct json_tree *worker)
{
    bool ready = strcmp(text_of(worker, "state"), "READY") == 0;
    const char *why = text_of(worker, "why");
    char name[48];

    snprintf(name, sizeof name, "%.40s.%lld", text_of(worker, "name"), (long long)number(worker, "index"));
    fprintf(to, "%-18s %-9s %8lld  ", name, text_of(worker, "state"), (long long)number(worker, "restarts"));
    put_age(to, worker, "since_ms", 14);
    output_escaped(to, !ready && why[0] != '\0' ? why : text_of(worker, "status"));
    fputc('\n', to);
}

static void put_workers(FILE *to, const struct json_tree *status)
{
    const struct json_tree *workers = json_member(status, "workers");

    if (workers == NULL || workers->first == NULL) {
        fputs("\nworkers    the supervisor does not answer\n", to);
        return;
    }
    fprintf(to, "\n%-18s %-9s %8s  %-14s%s\n", "WORKER", "STATE", "RESTARTS", "SINCE", "STATUS");
    for (const struct json_tree *one = workers->first; one != NULL; one = one->next)
        put_worker(to, one);
}

/* --- the screen ----------------------------------------------------------------------------------- */

void screen_draw(const struct json_tree *status, const struct rate *rates, size_t count)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);

    if (to == NULL) {
        screen_complain("no memory");
        return;
    }
    put_head(to, status);
    put_rates(to, rates, count);
    put_spool(to, json_member(status, "spool"));
    put_queue(to, json_member(status, "queue"));
    put_lock(to, json_member(status, "lock"));
    put_database(to, json_member(json_member(status, "gate"), "database"));
    put_litellm(to, json_member(status, "litellm"));
    put_pauses(to, json_member(status, "paused"));
    put_workers(to, status);
    if (fclose(to) == 0)
        show(text);
    free(text);
}

void screen_complain(const char *text)
{
    char *lines = NULL;
    size_t size;
    FILE *to = open_memstream(&lines, &size);

    if (to == NULL)
        return;
    fputs("spendctl: ", to);
    output_escaped(to, text);
    fputs("\n\nasked again until it answers\n", to);
    if (fclose(to) == 0)
        show(lines);
    free(lines);
}
