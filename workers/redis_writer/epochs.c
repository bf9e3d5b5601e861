/*
 * epochs.c - the epochs that the lanes hold segments of, and what each lane was told is applied.
 *
 * Pure bookkeeping, so that only what changed is sent to the lanes, and everything when a lane or a
 * generation begins.  If we die: the lanes announce their epochs to the next writer.
 */
#include "workers/redis_writer/epochs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int epochs_init(struct epochs *epochs)
{
    epochs->count = 0;
    epochs->epoch = calloc(EPOCHS_MAX, sizeof *epochs->epoch);
    return epochs->epoch != NULL ? 0 : -1;
}

static void take_out(struct epochs *epochs, size_t at)
{
    free(epochs->epoch[at].value);
    epochs->count--;
    memmove(&epochs->epoch[at], &epochs->epoch[at + 1],
            (epochs->count - at) * sizeof *epochs->epoch);
}

void epochs_cleanup(struct epochs *epochs)
{
    while (epochs->count > 0)
        take_out(epochs, epochs->count - 1);
    free(epochs->epoch);
    epochs->epoch = NULL;
}

static struct epoch *find(const struct epochs *epochs, const char *name)
{
    for (size_t i = 0; i < epochs->count; i++)
        if (strcmp(epochs->epoch[i].name, name) == 0)
            return &epochs->epoch[i];
    return NULL;
}

bool epochs_add(struct epochs *epochs, const char *name, uint32_t lane)
{
    struct epoch *epoch = find(epochs, name);

    if (epoch != NULL) {
        epoch->lane = lane;
        return false;
    }
    if (epochs->count == EPOCHS_MAX)
        take_out(epochs, 0);
    epoch = &epochs->epoch[epochs->count++];
    *epoch = (struct epoch){.lane = lane};
    snprintf(epoch->name, sizeof epoch->name, "%s", name);
    return true;
}

void epochs_lane_begins(struct epochs *epochs, uint32_t lane)
{
    for (size_t i = epochs->count; i-- > 0;) {
        if (epochs->epoch[i].lane == lane)
            take_out(epochs, i);
        else
            epochs->epoch[i].told &= ~(1u << lane);
    }
}

void epochs_untold(struct epochs *epochs)
{
    for (size_t i = 0; i < epochs->count; i++)
        epochs->epoch[i].told = 0;
}

bool epoch_says(struct epoch *epoch, const char *value)
{
    if (epoch->value != NULL && strcmp(epoch->value, value) == 0)
        return false;
    if (value[0] == '\0' && epoch->value == NULL)
        return false;
    free(epoch->value);
    epoch->value = value[0] == '\0' ? NULL : strdup(value);
    epoch->told = 0;
    return true;
}
