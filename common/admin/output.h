/*
 * output.h - how an answer of the admin socket is shown: one table of functions per form, so that
 * no printer ever asks which form it is.
 */
#ifndef SPENDD_ADMIN_OUTPUT_H
#define SPENDD_ADMIN_OUTPUT_H

#include "common/json/json_tree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct output {
    bool refusals_too; /* refusals go to standard output as well, not to standard error */
    /* An answer that says yes, and (refusal) one that says no.  `tree` is `json` read; `json` is `length`
     * bytes of valid JSON. */
    void (*answer)(FILE *to, const struct json_tree *tree, const char *json, size_t length);
    /* One item of a stream: an event among others, so a line. */
    void (*item)(FILE *to, const struct json_tree *tree, const char *json, size_t length);
    void (*refusal)(FILE *to, int status, const struct json_tree *tree, const char *json,
                    size_t length);
};

/* For people: aligned tables; units are read off the names (_bytes, _ms, _s). */
extern const struct output output_text;

/* For programs: the JSON as it came, one answer a line. */
extern const struct output output_json;

/* Prints text from outside with control characters as \xNN, and returns the columns it takes.
 * `to` NULL: only measures. */
size_t output_escaped(FILE *to, const char *text);

#endif
