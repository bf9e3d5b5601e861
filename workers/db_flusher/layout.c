/*
 * layout.c - opens the layout that the settings name.  See layout.h.
 *
 * Owns the layout's memory; dying here loses nothing.
 */
#include "workers/db_flusher/layout.h"

#include <stdlib.h>
#include <string.h>

static const struct layout_kind *const kinds[] = {&layout_spendd, &layout_litellm};

struct layout *layout_open(const struct settings *settings, struct err *err)
{
    struct layout *layout = calloc(1, sizeof *layout);

    if (!layout) {
        err_set(err, "out of memory");
        return NULL;
    }
    layout->settings = settings;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(kinds[i]->name, settings->database_layout) == 0)
            layout->kind = kinds[i];
    if (!layout->kind)
        bug("database.layout has a word that no layout answers to");
    if (layout->kind->open(layout, err))
        layout_close(&layout);
    return layout;
}

void layout_close(struct layout **layout)
{
    if (*layout && (*layout)->kind->close)
        (*layout)->kind->close(*layout);
    free(*layout);
    *layout = NULL;
}

bool layout_logs(const struct layout *layout)
{
    return layout->kind->keeps_log && layout->settings->spend_log_enabled;
}
