/*
 * nearest.c - edit distance, for "the nearest is".  See nearest.h.
 * Pure: if we die on any line nothing outside has changed.
 */
#include "common/config/nearest.h"

#include "common/config/settings.h"

#include <string.h>

#define TEXT_MAX 63

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;

    return ab < c ? ab : c;
}

unsigned edit_distance(const char *a, const char *b)
{
    unsigned row[TEXT_MAX + 1], diagonal, above;
    size_t rows = strnlen(a, TEXT_MAX), columns = strnlen(b, TEXT_MAX);

    for (unsigned j = 0; j <= columns; j++)
        row[j] = j;
    for (unsigned i = 1; i <= rows; i++) {
        diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= columns; j++) {
            above = row[j];
            row[j] = least(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1] ? 1 : 0));
            diagonal = above;
        }
    }
    return row[columns];
}

const char *nearest_setting(const char *path)
{
    const char *best = settings_table[0].path;
    unsigned best_distance = edit_distance(path, best);

    for (size_t i = 1; i < settings_count; i++) {
        unsigned distance = edit_distance(path, settings_table[i].path);

        if (distance < best_distance) {
            best_distance = distance;
            best = settings_table[i].path;
        }
    }
    return best;
}
