/*
 * output_json.c - answers for programs: the JSON as it came, one answer a line.  See output.h.
 * A refusal is JSON as well ({"error": ...}) and goes to the same place; the exit code tells.
 */
#include "common/admin/output.h"

static void answer(FILE *to, const struct json_tree *tree, const char *json, size_t length)
{
    (void)tree;
    fprintf(to, "%.*s\n", (int)length, json);
}

static void refusal(FILE *to, int status, const struct json_tree *tree, const char *json,
                    size_t length)
{
    (void)status;
    answer(to, tree, json, length);
}

const struct output output_json = {.refusals_too = true, .answer = answer, .item = answer, .refusal = refusal};
