/*
 * output_table.c - a list of objects as a table.  See output_table.h.
 *
 * Columns are the names in the first row.  What does not fit into 80 columns stands beneath its row, with its
 * name.  Owns nothing beyond the call; if we die on any line a part of the table has been printed.
 */
#include "common/admin/output_table.h"

#include "common/admin/output.h"
#include "common/admin/value_text.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define COLUMNS_MAX 24
#define LABEL_MAX 64
#define MARGIN 2
#define NARROWEST 16 /* a column that is cut to fit keeps this much */

static void heading(const char *key, char *text, size_t size)
{
    label_text(key, text, size);
    for (char *c = text; *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
}

struct table {
    const char *key[COLUMNS_MAX];
    size_t width[COLUMNS_MAX];
    size_t columns, beside; /* columns beside each other; the others go beneath */
};

static void cell(const struct json_tree *row, const char *key, char *text, size_t size)
{
    const struct json_tree *value = json_member(row, key);

    if (value == NULL)
        snprintf(text, size, "-");
    else
        value_text(value, text, size);
}

static bool fits(const struct table *table, size_t column, const char *text)
{
    return output_escaped(NULL, text) <= table->width[column];
}

static bool mostly_fits(const struct table *table, size_t column, const struct json_tree *list)
{
    char text[VALUE_TEXT_MAX];
    size_t fitting = 0, rows = 0;

    for (const struct json_tree *row = list->first; row != NULL; row = row->next) {
        cell(row, table->key[column], text, sizeof text);
        fitting += fits(table, column, text);
        rows++;
    }
    return 2 * fitting >= rows;
}

/* Columns give way, the widest first, until all have a place; their long cells go beneath their rows.  False:
 * that would take the place of most cells of a column. */
static bool squeeze(struct table *table, size_t used, const struct json_tree *list)
{
    for (unsigned gave_way = 0; used > OUTPUT_COLUMNS; gave_way++) {
        size_t widest = 0, over = used - OUTPUT_COLUMNS, before;

        for (size_t i = 1; i < table->columns; i++)
            if (table->width[i] > table->width[widest])
                widest = i;
        before = table->width[widest];
        if (widest == 0 || before <= NARROWEST)
            return false;
        table->width[widest] = before - NARROWEST > over ? before - over : NARROWEST;
        if (gave_way > 0 && !mostly_fits(table, widest, list))
            return false;
        used -= before - table->width[widest];
    }
    return true;
}

/* Where squeezing does not do, every column beyond the edge goes beneath. */
static void fit(struct table *table, const struct json_tree *list)
{
    struct table squeezed = *table;
    size_t used = 0;

    for (size_t i = 0; i < table->columns; i++)
        used += table->width[i] + (i > 0 ? MARGIN : 0);
    table->beside = squeezed.beside = table->columns;
    if (squeeze(&squeezed, used, list)) {
        *table = squeezed;
        return;
    }
    used = table->width[0];
    for (table->beside = 1; table->beside < table->columns; table->beside++) {
        used += MARGIN + table->width[table->beside];
        if (used > OUTPUT_COLUMNS)
            return;
    }
}

static void measure(struct table *table, const struct json_tree *list)
{
    char text[VALUE_TEXT_MAX];

    for (const struct json_tree *member = list->first->first;
         member != NULL && table->columns < COLUMNS_MAX; member = member->next) {
        heading(member->key, text, sizeof text);
        table->key[table->columns] = member->key;
        table->width[table->columns++] = output_escaped(NULL, text);
    }
    for (const struct json_tree *row = list->first; row != NULL; row = row->next)
        for (size_t i = 0; i < table->columns; i++) {
            size_t columns;

            cell(row, table->key[i], text, sizeof text);
            columns = output_escaped(NULL, text);
            if (columns > table->width[i])
                table->width[i] = columns;
        }
    fit(table, list);
}

/* "status ready; why killed": what has no place in the row and says something. */
static void print_beneath(FILE *to, const struct table *table, const struct json_tree *row)
{
    char text[VALUE_TEXT_MAX], label[LABEL_MAX];
    const char *before = "  ";

    for (size_t i = 0; i < table->columns; i++) {
        cell(row, table->key[i], text, sizeof text);
        if (strcmp(text, "-") == 0 || (i < table->beside && fits(table, i, text)))
            continue;
        label_text(table->key[i], label, sizeof label);
        fputs(before, to);
        output_escaped(to, label);
        fputc(' ', to);
        output_escaped(to, text);
        before = "; ";
    }
    if (before[0] == ';')
        fputc('\n', to);
}

static void print_row(FILE *to, const struct table *table, const struct json_tree *row)
{
    char text[VALUE_TEXT_MAX];

    for (size_t i = 0; i < table->beside; i++) {
        if (row == NULL)
            heading(table->key[i], text, sizeof text);
        else
            cell(row, table->key[i], text, sizeof text);
        if (!fits(table, i, text))
            text[0] = '\0';
        output_padded(to, text, i + 1 < table->beside ? table->width[i] + MARGIN : 0);
    }
    fputc('\n', to);
    if (row != NULL)
        print_beneath(to, table, row);
}

void output_table(FILE *to, const struct json_tree *list)
{
    struct table table = {0};

    measure(&table, list);
    print_row(to, &table, NULL);
    for (const struct json_tree *row = list->first; row != NULL; row = row->next)
        print_row(to, &table, row);
}
