/*
 * lane.c - one spool directory: its lock, its sealed segments, their names and marks.  See lane.h.
 *
 * Owns the directory's descriptor and its flock (close-on-exec, so that no child keeps it), the list
 * of sealed segments, and the naming of what is sealed.  The list is what lies on the disk: a segment
 * enters it after its rename is durable and leaves it when its file is gone.
 *
 * If we die on any line: a ".done" that was renamed but not synced comes back as not applied and is
 * pushed again, which the ledger skips; a file that was to be deleted and is still there likewise.
 * Nothing that PostgreSQL does not have is ever deleted here.
 */
#include "workers/aggregator/lane.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/batch/ranges.h"
#include "workers/aggregator/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DELETE_MS 100 /* thousands of files go in portions: the loop must turn */
#define SKEW_MOST 1000000 /* the clocks parted by more: another life, another epoch */

static int take(struct lane *lane, struct err *err)
{
    bool held;

    lane->directory = open(lane->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lane->directory < 0)
        return err_errno(err, "cannot open %s", lane->path);
    if (flock(lane->directory, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        err_set(err, "%s is held by another process", lane->path);
    else
        err_errno(err, "cannot lock %s", lane->path);
    held = errno == EWOULDBLOCK;
    close(lane->directory);
    lane->directory = -1;
    return held ? 1 : -1;
}

int lane_open(struct lane *lane, const struct settings *settings, struct stats_page *stats,
              unsigned index, struct err *err)
{
    memset(lane, 0, sizeof *lane);
    lane->settings = settings;
    lane->stats = stats;
    lane->index = index;
    snprintf(lane->path, sizeof lane->path, "%s/lane-%u", settings->spool_dir, index);
    if (mkdir(lane->path, 0700) != 0 && errno != EEXIST)
        return err_errno(err, "cannot make %s", lane->path);
    return take(lane, err);
}

int lane_open_at(struct lane *lane, const struct settings *settings, struct stats_page *stats,
                 const char *path, struct err *err)
{
    memset(lane, 0, sizeof *lane);
    lane->settings = settings;
    lane->stats = stats;
    lane->directory = -1;
    if ((size_t)snprintf(lane->path, sizeof lane->path, "%s", path) >= sizeof lane->path)
        return err_set(err, "%s is too long a path", path);
    return take(lane, err);
}

void lane_close(struct lane *lane)
{
    free(lane->epochs);
    free(lane->sealed);
    if (lane->directory >= 0)
        close(lane->directory);
    lane->directory = -1;
    lane->epochs = NULL;
    lane->sealed = NULL;
}

static uint32_t epoch_index(struct lane *lane, const char *epoch)
{
    for (uint32_t i = lane->epoch_count; i-- > 0;)
        if (strcmp(lane->epochs[i], epoch) == 0)
            return i;
    lane->epochs = realloc(lane->epochs, (lane->epoch_count + 1) * sizeof *lane->epochs);
    if (lane->epochs == NULL)
        bug("out of memory for epochs");
    snprintf(lane->epochs[lane->epoch_count], EPOCH_TEXT, "%s", epoch);
    return lane->epoch_count++;
}

/* UUIDv7: 48 bits of milliseconds, then chance. */
static void mint(char epoch[EPOCH_TEXT])
{
    unsigned char b[16];
    uint64_t ms = (uint64_t)(wall_now().micros / 1000);

    randombytes_buf(b, sizeof b);
    for (int i = 0; i < 6; i++)
        b[i] = (unsigned char)(ms >> (40 - 8 * i));
    b[6] = (unsigned char)(0x70 | (b[6] & 0x0f));
    b[8] = (unsigned char)(0x80 | (b[8] & 0x3f));
    snprintf(epoch, EPOCH_TEXT,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

void lane_identity(struct lane *lane, struct identity *identity)
{
    int64_t skew = clock_skew_micros(), moved = skew - lane->minted_skew;
    char epoch[EPOCH_TEXT];

    if (!lane->minted || moved > SKEW_MOST || moved < -SKEW_MOST) {
        mint(epoch);
        lane->epoch = epoch_index(lane, epoch);
        lane->next_seq = 1;
        lane->minted_skew = skew;
        lane->minted = true;
        log_info("epoch_minted", "lane=%u epoch=%s", lane->index, epoch);
    }
    memcpy(identity->epoch, lane->epochs[lane->epoch], EPOCH_TEXT);
    identity->shard = 0;
    identity->seq = lane->next_seq++;
}

void lane_identity_of(const struct lane *lane, const struct sealed *sealed,
                      struct identity *identity)
{
    memcpy(identity->epoch, lane->epochs[sealed->epoch], EPOCH_TEXT);
    identity->shard = 0;
    identity->seq = sealed->seq;
}

/* The sums follow each change of a mark. */
static void weigh(struct lane *lane, const struct sealed *sealed, int sign)
{
    lane->bytes += sign * (int64_t)sealed->bytes;
    if (!sealed->applied) {
        lane->unapplied_bytes += sign * (int64_t)sealed->bytes;
        lane->unapplied += sign;
    }
}

struct sealed *lane_add(struct lane *lane, const struct identity *identity, int64_t bytes,
                        int64_t sealed_ms, bool applied)
{
    struct sealed *sealed;

    if (lane->count == lane->size) {
        lane->size = lane->size == 0 ? 64 : lane->size * 2;
        lane->sealed = realloc(lane->sealed, lane->size * sizeof *lane->sealed);
        if (lane->sealed == NULL)
            bug("out of memory for %zu segments", lane->size);
    }
    sealed = &lane->sealed[lane->count++];
    *sealed = (struct sealed){.seq = identity->seq,
                              .began_ms = lane->open_since_ms > 0 ? lane->open_since_ms : sealed_ms,
                              .sealed_ms = sealed_ms,
                              .applied_ms = sealed_ms,
                              .number = ++lane->numbered,
                              .epoch = epoch_index(lane, identity->epoch),
                              .bytes = (uint32_t)bytes,
                              .applied = applied};
    weigh(lane, sealed, 1);
    return sealed;
}

struct sealed *lane_find(struct lane *lane, const char *epoch, uint64_t seq)
{
    for (size_t i = 0; i < lane->count; i++)
        if (lane->sealed[i].seq == seq && strcmp(lane->epochs[lane->sealed[i].epoch], epoch) == 0)
            return &lane->sealed[i];
    return NULL;
}

void lane_remove(struct lane *lane, struct sealed *sealed)
{
    size_t at = (size_t)(sealed - lane->sealed);

    weigh(lane, sealed, -1);
    memmove(sealed, sealed + 1, (lane->count - at - 1) * sizeof *sealed);
    lane->count--;
}

static int by_sealing(const void *a, const void *b)
{
    const struct sealed *x = a, *y = b;

    if (x->sealed_ms != y->sealed_ms)
        return x->sealed_ms < y->sealed_ms ? -1 : 1;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

void lane_sort(struct lane *lane)
{
    if (lane->count > 1)
        qsort(lane->sealed, lane->count, sizeof *lane->sealed, by_sealing);
}

void lane_alive(const struct lane *lane)
{
    if (lane->alive != NULL)
        lane->alive(lane->alive_arg);
}

void lane_retry_hurt(struct lane *lane)
{
    for (size_t i = 0; i < lane->count; i++)
        lane->sealed[i].hurt = false;
}

static void mark(struct lane *lane, struct sealed *sealed, bool applied, int64_t now_ms)
{
    char from[SEGMENT_NAME], to[SEGMENT_NAME];
    struct identity identity;

    lane_identity_of(lane, sealed, &identity);
    segment_name(&identity, sealed->applied, from);
    segment_name(&identity, applied, to);
    if (renameat(lane->directory, from, lane->directory, to) != 0) {
        log_warn("segment_rename_failed", "from=%s error=%s", from, strerror(errno));
        return; /* as it was; the next word of Redis tries again */
    }
    weigh(lane, sealed, -1);
    sealed->applied = applied;
    sealed->applied_ms = now_ms;
    sealed->sent = sealed->pushed = 0;
    weigh(lane, sealed, 1);
    if (applied)
        stats_add(lane->stats, METRIC_segments_applied_total, 1);
}

unsigned lane_applied(struct lane *lane, const char *epoch, const char *ranges, int64_t now_ms)
{
    unsigned back = 0;

    if (ranges_have(ranges, 0) < 0)
        return 0;
    for (size_t i = 0; i < lane->count; i++) {
        struct sealed *sealed = &lane->sealed[i];
        bool applied;

        if (strcmp(lane->epochs[sealed->epoch], epoch) != 0)
            continue;
        applied = ranges_have(ranges, sealed->seq) == 1;
        if (applied == sealed->applied)
            continue;
        back += !applied;
        mark(lane, sealed, applied, now_ms);
    }
    return back;
}

static bool delete_file(struct lane *lane, const struct sealed *sealed)
{
    char name[SEGMENT_NAME];
    struct identity identity;

    lane_identity_of(lane, sealed, &identity);
    segment_name(&identity, sealed->applied, name);
    if (unlinkat(lane->directory, name, 0) == 0 || errno == ENOENT)
        return true;
    log_warn("segment_delete_failed", "name=%s error=%s", name, strerror(errno));
    return false;
}

/* Is there no room for more?  `reserve`: a little earlier, when applied segments should go. */
static bool crowded(const struct lane *lane, int64_t reserve)
{
    struct statvfs disk;

    if (lane->bytes + lane->open_bytes + reserve >= lane->settings->spool_max_bytes)
        return true;
    if (fstatvfs(lane->directory, &disk) != 0 || disk.f_blocks == 0)
        return false;
    return (uint64_t)disk.f_bavail * 100 <
           (uint64_t)disk.f_blocks * (uint64_t)lane->settings->spool_keep_free_percent;
}

void lane_upkeep(struct lane *lane, int64_t now_ms, int64_t ids_safe_ms)
{
    int64_t keep_ms = lane->settings->spool_keep_applied_s * 1000;
    bool tight = crowded(lane, lane->settings->spool_max_bytes / 10);
    mono_t until = mono_after_ms(mono_now(), DELETE_MS);
    size_t kept = 0;

    for (size_t i = 0; i < lane->count; i++) {
        struct sealed *sealed = &lane->sealed[i];
        bool due = now_ms - sealed->applied_ms >= keep_ms || tight;

        if (sealed->applied && due && sealed->sealed_ms <= ids_safe_ms &&
            !mono_reached(mono_now(), until) && delete_file(lane, sealed)) {
            weigh(lane, sealed, -1);
            continue;
        }
        lane->sealed[kept++] = *sealed;
    }
    lane->count = kept;
    lane->full = crowded(lane, 0);
}

void lane_figures(const struct lane *lane)
{
    int64_t oldest = lane->open_since_ms;

    for (size_t i = 0; i < lane->count; i++)
        if (!lane->sealed[i].applied && (oldest == 0 || lane->sealed[i].began_ms < oldest))
            oldest = lane->sealed[i].began_ms;
    stats_set(lane->stats, METRIC_spool_bytes, lane->bytes + lane->open_bytes);
    stats_set(lane->stats, METRIC_spool_unapplied_bytes, lane->unapplied_bytes + lane->open_bytes);
    stats_set(lane->stats, METRIC_spool_unapplied_segments, lane->unapplied);
    stats_set(lane->stats, METRIC_spool_oldest_unapplied_ms, oldest);
}

void lane_quarantine(struct lane *lane, const char *name, const char *why)
{
    char to[SEGMENT_NAME + 16];

    if (mkdirat(lane->directory, "quarantine", 0700) != 0 && errno != EEXIST)
        log_error("quarantine_failed", "name=%s error=%s", name, strerror(errno));
    snprintf(to, sizeof to, "quarantine/%.90s", name);
    if (renameat(lane->directory, name, lane->directory, to) != 0)
        log_error("quarantine_failed", "name=%s error=%s", name, strerror(errno));
    stats_add(lane->stats, METRIC_segments_quarantined_total, 1);
    log_error("segment_quarantined", "lane=%s name=%s why=\"%s\"", lane->path, name, why);
}

int lane_quarantine_bytes(struct lane *lane, const char *name, int64_t offset,
                          const unsigned char *data, size_t bytes, struct err *err)
{
    char to[SEGMENT_NAME + 64];
    int fd, result = 0;

    if (mkdirat(lane->directory, "quarantine", 0700) != 0 && errno != EEXIST)
        return err_errno(err, "cannot make %s/quarantine", lane->path);
    snprintf(to, sizeof to, "quarantine/%.90s.%" PRId64 ".%" PRId64, name, wall_now().micros, offset);
    fd = openat(lane->directory, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, "cannot make %s/%s", lane->path, to);
    errno = disk_write(fd, data, bytes, 0);
    if (errno != 0 || fdatasync(fd) != 0)
        result = err_errno(err, "cannot write %s/%s", lane->path, to);
    close(fd);
    if (result != 0) {
        unlinkat(lane->directory, to, 0); /* it is tried again: no heap of halves on a full disk */
        return result;
    }
    stats_add(lane->stats, METRIC_segments_quarantined_total, 1);
    log_error("tail_quarantined", "lane=%s name=%s offset=%" PRId64 " bytes=%zu", lane->path, name,
              offset, bytes);
    return 0;
}
