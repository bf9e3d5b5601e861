/*
 * output_text.c - answers for people.  See output.h.
 *
 * Knows no command: an object is a list of names and values (what it holds within follows on lines of its own),
 * a list of objects is a table (output_table.c), and an object that says "known": false is "unknown" with its
 * reason. So a new admin word, and a new member in an answer, are printed without a change
 * here. Everything printed passes output_escaped: a name in an answer may come from a stranger.
 */
#include "common/admin/output.h"

#include "common/admin/output_table.h"
#include "common/admin/value_text.h"

#include <stdbool.h>
#include <string.h>

#define LABEL_MAX 64
#define MARGIN 2

size_t output_escaped(FILE *to, const char *text)
{
    size_t columns = 0;

    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        bool second_control = c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f; /* U+0080 to U+009F */

        if (*c < 0x20 || *c == 0x7f || second_control) {
            if (to != NULL)
                fprintf(to, "\\x%02x", second_control ? c[1] : *c);
            columns += 4;
            c += second_control;
            continue;
        }
        if (to != NULL)
            fputc(*c, to);
        columns += (*c & 0xc0) != 0x80; /* not a continuation byte */
    }
    return columns;
}

void output_padded(FILE *to, const char *text, size_t width)
{
    size_t columns = output_escaped(to, text);

    for (; columns < width; columns++)
        fputc(' ', to);
}

/* --- an object: names and values, then its tables ------------------------------------------------
 */
static bool is_table(const struct json_tree *value)
{
    return value->kind == JSON_ARRAY && value->first != NULL && value->first->kind == JSON_OBJECT;
}

/* An object that itself holds objects: shown one line per member ("gate database"). */
static bool is_group(const struct json_tree *value)
{
    return value->kind == JSON_OBJECT && value->first != NULL && value->first->kind == JSON_OBJECT;
}

static bool print_unknown(FILE *to, const struct json_tree *value)
{
    const struct json_tree *known = json_member(value, "known"), *why = json_member(value, "why");

    if (known == NULL || known->kind != JSON_FALSE)
        return false;
    fputs("unknown: ", to);
    output_escaped(to, why && why->text ? why->text : "no reason was given");
    return true;
}

/* A list of pairs is broken behind a comma where the screen ends; one long text is left whole. */
static void print_wrapped(FILE *to, char *text, size_t indent)
{
    size_t column = indent;

    while (text != NULL) {
        char *next = strstr(text, ", ");

        if (next != NULL)
            *next = '\0';
        column += output_escaped(to, text);
        text = next != NULL ? next + 2 : NULL;
        if (text == NULL)
            return;
        /* With its own comma behind it. */
        if (column + 2 + strcspn(text, ",") + 1 > OUTPUT_COLUMNS) {
            fprintf(to, ",\n%*s", (int)indent, "");
            column = indent;
        } else {
            fputs(", ", to);
            column += 2;
        }
    }
}

static void print_pair(FILE *to, const char *label, const struct json_tree *value, size_t width)
{
    char text[VALUE_TEXT_MAX];

    output_padded(to, label, width + MARGIN);
    if (!print_unknown(to, value)) {
        value_text(value, text, sizeof text);
        print_wrapped(to, text, width + MARGIN);
    }
    fputc('\n', to);
}

/* "known": true, and no figures beside it: nothing to say. */
static bool is_bare(const struct json_tree *value)
{
    char text[VALUE_TEXT_MAX];

    if (value->kind != JSON_OBJECT || json_member(value, "known") == NULL)
        return false;
    value_text(value, text, sizeof text);
    return strcmp(text, "known") == 0;
}

/* What an object holds beside its own values: a line for each list or object within, and for each item of a
 * list of objects. */
static size_t print_within(FILE *to, const struct json_tree *object, const char *name, size_t width)
{
    size_t widest = 0;

    for (const struct json_tree *value = object->first; value != NULL; value = value->next) {
        char label[4 * LABEL_MAX], own[LABEL_MAX];
        size_t columns;

        if ((value->kind != JSON_OBJECT && value->kind != JSON_ARRAY) || value->first == NULL)
            continue;
        label_text(value->key, own, sizeof own);
        snprintf(label, sizeof label, "%s %s", name, own);
        columns = output_escaped(NULL, label);
        widest = columns > widest ? columns : widest;
        if (to == NULL)
            continue;
        for (const struct json_tree *item = is_table(value) ? value->first : value; item != NULL;
             item = is_table(value) ? item->next : NULL)
            print_pair(to, item == value || item == value->first ? label : "", item, width);
    }
    return widest;
}

/* Calls for each line of an object: `to` NULL only measures the widest label. */
static size_t print_lines(FILE *to, const struct json_tree *object, const char *prefix,
                          size_t width)
{
    size_t widest = 0;

    for (const struct json_tree *value = object->first; value != NULL; value = value->next) {
        char label[2 * LABEL_MAX + 2], name[LABEL_MAX];
        size_t columns;

        if (is_table(value) || is_bare(value))
            continue;
        label_text(value->key, name, sizeof name);
        snprintf(label, sizeof label, "%s%s%s", prefix, prefix[0] ? " " : "", name);
        if (is_group(value) && prefix[0] == '\0') {
            columns = print_lines(to, value, name, width);
        } else {
            size_t within;

            columns = output_escaped(NULL, label);
            if (to != NULL)
                print_pair(to, label, value, width);
            within = value->kind == JSON_OBJECT ? print_within(to, value, label, width) : 0;
            columns = within > columns ? within : columns;
        }
        widest = columns > widest ? columns : widest;
    }
    return widest;
}

/* A table that stands alone needs no name; beside others, what is a pause and what a worker must be said. */
static void print_tables(FILE *to, const struct json_tree *tree, bool apart)
{
    unsigned tables = apart;
    char name[LABEL_MAX];

    for (const struct json_tree *value = tree->first; value != NULL; value = value->next)
        tables += is_table(value);
    for (const struct json_tree *value = tree->first; value != NULL; value = value->next) {
        if (!is_table(value))
            continue;
        if (apart)
            fputc('\n', to);
        apart = true;
        label_text(value->key, name, sizeof name);
        if (tables > 1) {
            output_escaped(to, name);
            fputs(":\n", to);
        }
        output_table(to, value);
    }
}

static void answer(FILE *to, const struct json_tree *tree, const char *json, size_t length)
{
    bool lines = false;

    if (tree->kind != JSON_OBJECT) {
        output_json.answer(to, tree, json, length);
        return;
    }
    for (const struct json_tree *value = tree->first; value != NULL; value = value->next)
        lines = lines || !is_table(value);
    print_lines(to, tree, "", print_lines(NULL, tree, "", 0));
    print_tables(to, tree, lines);
}

/* The values, one behind the other; what is empty is left out, so a reason stands at the end. */
static void item(FILE *to, const struct json_tree *tree, const char *json, size_t length)
{
    char text[VALUE_TEXT_MAX];
    const char *before = "";

    if (tree->kind != JSON_OBJECT) {
        output_json.item(to, tree, json, length);
        return;
    }
    for (const struct json_tree *value = tree->first; value != NULL; value = value->next) {
        value_text(value, text, sizeof text);
        if (strcmp(text, "-") == 0)
            continue;
        fputs(before, to);
        output_escaped(to, text);
        before = "  ";
    }
    fputc('\n', to);
}

/* Why, then what the answer says beside it: each error of a file, each setting that was looked at. */
static void refusal(FILE *to, int status, const struct json_tree *tree, const char *json,
                    size_t length)
{
    const struct json_tree *error = json_member(tree, "error"), *errors = json_member(tree, "errors");

    (void)json;
    (void)length;
    fprintf(to, "refused (%d): ", status);
    output_escaped(to, error && error->text ? error->text : "no reason was given");
    fputc('\n', to);
    if (errors != NULL && errors->kind == JSON_ARRAY)
        for (const struct json_tree *line = errors->first; line != NULL; line = line->next)
            if (line->kind == JSON_STRING) {
                output_escaped(to, line->text);
                fputc('\n', to);
            }
    if (tree->kind == JSON_OBJECT)
        print_tables(to, tree, true);
}

const struct output output_text = {.answer = answer, .item = item, .refusal = refusal};
