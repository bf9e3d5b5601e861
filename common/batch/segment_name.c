/*
 * segment_name.c - the names of files in a lane.  See segment_name.h.  Pure.
 */
#include "common/batch/segment_name.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DONE ".done"

void segment_name(const struct identity *identity, bool applied, char name[SEGMENT_NAME])
{
    snprintf(name, SEGMENT_NAME, "%s.%" PRIu32 ".%" PRIu64 ".seg%s", identity->epoch,
             identity->shard, identity->seq, applied ? DONE : "");
}

bool segment_name_read(const char *name, struct identity *identity, bool *applied)
{
    char again[SEGMENT_NAME];

    if (strlen(name) < EPOCH_TEXT || !epoch_valid(name, EPOCH_TEXT - 1))
        return false;
    memcpy(identity->epoch, name, EPOCH_TEXT - 1);
    identity->epoch[EPOCH_TEXT - 1] = '\0';
    if (sscanf(name + EPOCH_TEXT - 1, ".%" SCNu32 ".%" SCNu64, &identity->shard, &identity->seq) != 2)
        return false;
    for (int done = 0; done < 2; done++) {
        segment_name(identity, done, again);
        *applied = done;
        if (strcmp(name, again) == 0)
            return true;
    }
    return false;
}

bool segment_name_open(const char *name, uint64_t *number)
{
    int end = 0;

    return sscanf(name, "open-%" SCNu64 ".seg%n", number, &end) == 1 && end > 0 && name[end] == '\0';
}
