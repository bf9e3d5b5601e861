/*
 * segment.c - a segment file as bytes: read it, judge it, save what can be saved.  See segment.h.
 *
 * Two kinds of damage.  An *open* segment that ends in a torn record is what a crash leaves: what
 * stands behind the tear was never synced as a whole and so never acknowledged; it is cut, kept in
 * quarantine unless it is zeros, and the rest is sealed under a new identity.  A *sealed* segment that
 * does not verify has lost bytes that were acknowledged: every intact record in it, also behind the
 * damage, is sealed again under a new identity, and the file goes to quarantine, loudly.  Should the
 * damaged batch have been applied meanwhile, each of its events is known in PostgreSQL by its id, so
 * the second identity counts only what the first did not.
 *
 * If we die on any line: the new segment is durable before the old file moves; dying between the two
 * makes the same rescue happen again, and again the ids keep the sum exact.
 */
#include "workers/aggregator/segment.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/event/event.h"
#include "workers/aggregator/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void segment_free(struct segment *segment)
{
    free(segment->memory);
    segment->memory = segment->data = NULL;
}

static void judge(struct segment *segment)
{
    const unsigned char *payload;
    size_t payload_bytes;
    uint32_t shards;
    struct err err;

    segment->records = 0;
    segment->good = 0;
    segment->header = segment_header_check(segment->data, segment->bytes, &shards, &err) == 0;
    if (!segment->header)
        return;
    segment->good = SEGMENT_HEADER_BYTES;
    while (record_next(segment->data, segment->bytes, &segment->good, &payload, &payload_bytes) ==
           RECORD_OK)
        segment->records++;
}

bool segment_whole(const struct segment *segment)
{
    return segment->header && segment->good == segment->bytes;
}

bool segment_tail_is_zeros(const struct segment *segment)
{
    for (size_t i = segment->good; i < segment->bytes; i++)
        if (segment->data[i] != 0)
            return false;
    return true;
}

uint32_t segment_salvage(struct segment *segment)
{
    const unsigned char *payload;
    size_t at = SEGMENT_HEADER_BYTES, kept = SEGMENT_HEADER_BYTES, payload_bytes, start;
    uint32_t count = 0;

    while (at < segment->bytes) {
        start = at;
        if (record_next(segment->data, segment->bytes, &at, &payload, &payload_bytes) != RECORD_OK) {
            at++; /* not here; perhaps one byte on */
            continue;
        }
        memmove(segment->data + kept, segment->data + start, at - start);
        kept += at - start;
        count++;
    }
    segment_header(segment->data, 1);
    segment->bytes = segment->good = kept;
    segment->records = count;
    segment->header = true;
    return count;
}

int segment_read(int directory, const char *name, struct segment *segment, struct err *err)
{
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    ssize_t got = 0;

    memset(segment, 0, sizeof *segment);
    if (fd < 0)
        return err_errno(err, "cannot open %s", name);
    if (fstat(fd, &st) != 0)
        goto failed;
    segment->memory = malloc(ENVELOPE_LINE_MAX + (size_t)st.st_size + SEGMENT_HEADER_BYTES);
    if (segment->memory == NULL) {
        err_set(err, "no memory for %s", name);
        close(fd);
        return -2;
    }
    segment->data = segment->memory + ENVELOPE_LINE_MAX;
    while (segment->bytes < (size_t)st.st_size) {
        got = read(fd, segment->data + segment->bytes, (size_t)st.st_size - segment->bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        segment->bytes += (size_t)got;
    }
    if (got < 0)
        goto failed;
    close(fd);
    judge(segment);
    return 0;
failed:
    err_errno(err, "cannot read %s", name);
    close(fd);
    segment_free(segment);
    return -1;
}

void segment_ids(const struct segment *segment, struct window *window, uint32_t now_second)
{
    const unsigned char *payload;
    size_t at = SEGMENT_HEADER_BYTES, bytes;
    struct event event;
    struct err err;

    while (at < segment->good &&
           record_next(segment->data, segment->good, &at, &payload, &bytes) == RECORD_OK) {
        int64_t second;

        if (payload[0] != RECORD_EVENT || event_decode(&event, payload + 1, bytes - 1, &err) != 0)
            continue;
        second = event.received / 1000000;
        if (second > now_second)
            second = now_second;
        (void)window_take(window, window_event(window, &event), (uint32_t)second, 0);
    }
}

/* From `name` in `from` to `to` in the lane, durably.  A name that cannot be made durable is given back: under
 * a sealed name that the lane does not know, nobody would look for the file before the next start. */
static int take_name(const struct lane *lane, int from, const char *name, const char *to, struct err *err)
{
    if (renameat(from, name, lane->directory, to) != 0)
        return err_errno(err, "cannot rename %s", name);
    if (fsync(lane->directory) == 0 && fsync(from) == 0)
        return 0;
    err_errno(err, "cannot sync %s", lane->path);
    if (renameat(lane->directory, to, from, name) != 0)
        log_error("segment_rename_failed", "from=%s to=%s error=%s", to, name, strerror(errno));
    return -1;
}

/* Syncs `fd`, known as `name` in `from`, and gives it an identity in the lane. */
static int seal(struct lane *lane, int fd, int from, const char *name, size_t bytes, struct err *err)
{
    struct identity identity;
    char to[SEGMENT_NAME];

    lane_identity(lane, &identity);
    segment_name(&identity, false, to);
    if (fdatasync(fd) != 0)
        return err_errno(err, "cannot sync %s", name);
    if (take_name(lane, from, name, to, err) != 0)
        return -1;
    lane_add(lane, &identity, (int64_t)bytes, wall_now().micros / 1000, false);
    stats_add(lane->stats, METRIC_segments_sealed_total, 1);
    return 0;
}

static int cut_and_seal(struct lane *lane, int from, const char *name, const struct segment *segment,
                        struct err *err)
{
    int fd = openat(from, name, O_RDWR | O_CLOEXEC), result;

    if (fd < 0)
        return err_errno(err, "cannot open %s", name);
    if (segment->good < segment->bytes && ftruncate(fd, (off_t)segment->good) != 0)
        result = err_errno(err, "cannot cut %s", name);
    else
        result = seal(lane, fd, from, name, segment->good, err);
    close(fd);
    return result;
}

int segment_recover(struct lane *lane, int from, const char *name, struct err *err)
{
    struct segment segment;
    int result = 0;

    if (segment_read(from, name, &segment, err) != 0)
        return -1;
#ifdef MUTANT_NO_TORN_CUT
    /* tests/mutants: a torn tail is not cut; the segment with it is unreadable, acked events too. */
    if (!segment_whole(&segment)) {
        segment_free(&segment);
        return renameat(from, name, lane->directory, "torn.lost");
    }
#endif
    if (!segment_tail_is_zeros(&segment))
        result = lane_quarantine_bytes(lane, name, (int64_t)segment.good, segment.data + segment.good,
                                       segment.bytes - segment.good, err);
    if (result == 0 && segment.records > 0)
        result = cut_and_seal(lane, from, name, &segment, err);
    else if (result == 0 && unlinkat(from, name, 0) != 0)
        result = err_errno(err, "cannot remove %s", name);
    if (result == 0)
        log_info("segment_recovered", "name=%s records=%u cut=%zu", name, segment.records,
                 segment.bytes - segment.good);
    segment_free(&segment);
    return result;
}

static int write_salvaged(struct lane *lane, const struct segment *segment, struct err *err)
{
    char name[SEGMENT_NAME];
    int fd, result;

    snprintf(name, sizeof name, "open-%" PRIu64 ".seg", lane->open_number++);
    fd = openat(lane->directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "cannot make %s", name);
    errno = disk_write(fd, segment->data, segment->bytes, 0);
    if (errno != 0)
        result = err_errno(err, "cannot write %s", name);
    else
        result = seal(lane, fd, lane->directory, name, segment->bytes, err);
    if (result != 0)
        unlinkat(lane->directory, name, 0);
    close(fd);
    return result;
}

int segment_rescue(struct lane *lane, struct sealed *sealed, struct segment *segment,
                   struct err *err)
{
    size_t at = (size_t)(sealed - lane->sealed), before = segment->bytes;
    char name[SEGMENT_NAME];
    struct identity identity;
    uint32_t saved = segment_salvage(segment);

    lane_identity_of(lane, sealed, &identity);
    segment_name(&identity, sealed->applied, name);
    if (saved > 0 && write_salvaged(lane, segment, err) != 0)
        return -1;
    if (saved > 0)
        lane->sealed[lane->count - 1].number = lane->sealed[at].number; /* the same events */
    lane_quarantine(lane, name, "does not verify; intact records were sealed again");
    log_error("segment_rescued", "name=%s records=%u bytes=%zu of=%zu", name, saved, segment->bytes,
              before);
    lane_remove(lane, &lane->sealed[at]);
    return 0;
}
