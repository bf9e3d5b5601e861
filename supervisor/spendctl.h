/*
 * spendctl.h - what the files of spendctl share: the options, and how something is asked.
 */
#ifndef SPENDD_SUPERVISOR_SPENDCTL_H
#define SPENDD_SUPERVISOR_SPENDCTL_H

#include "common/admin/admin_client.h"
#include "common/admin/output.h"
#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A contract: 0 done, 1 refused by spendd, 2 wrong usage, 3 no daemon or no answer. */
enum { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3 };

#define SPENDCTL_WORDS_MAX 16

struct options {
    char endpoint[256];
    struct bus_peer peer; /* the endpoint, and the keys for it */
    int64_t timeout_ms;
    bool timeout_given;
    bool lines; /* the items of the answer are records: one line of JSON each, whatever the form */
    const struct output *output;
    const char *words[SPENDCTL_WORDS_MAX]; /* the command and its arguments */
    size_t count;
};

int spendctl_usage(const char *what, const char *which); /* EXIT_USAGE */
void spendctl_complain(const char *text);                /* on standard error, escaped */

/* Asks, prints the answer, returns the exit code.  *heard (may be NULL): somebody answered. */
int spendctl_ask(const struct options *options, bool *heard);

/* A command's last answer, owned by the caller.  Its status; -1: nobody answered (err). */
int spendctl_fetch(const struct options *options, const char *const *words, size_t count, char **json,
                   struct err *err) MUST_CHECK;

/* Commands that are more than one question (spendctl_NAME.c); each returns the exit code. */
int spendctl_wait(struct options *options);
int spendctl_pause(struct options *options);
#define COMMAND(id, word, least, most, arguments, help)
#define ORDER(id, word, least, most, arguments, help)
#define TOOL(id, word, least, most, arguments, help) int tool_##id(struct options *options);
#include "common/admin/commands.def"
#undef TOOL
#undef ORDER
#undef COMMAND

#endif
