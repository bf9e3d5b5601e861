/*
 * recover.c - what a lane's new holder does before it takes anything.  See recover.h.
 *
 * Runs under the lane's lock, before ingest is bound (recover_step: later, from the loop, a little at
 * a time, for lanes that an orphan still held and files that could not be read).  Order matters: first
 * every segment is listed or sealed, then the directory is synced (what was found under a sealed name may
 * be pushed from then on), then the window is filled (window_file.c).
 *
 * If we die on any line: every step leaves either the old file or the new one, and the next holder
 * begins again from the top.
 */
#include "workers/aggregator/recover.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "workers/aggregator/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

int recover_volume(const char *path, bool allow_volatile, struct err *err)
{
    static const struct {
        uint32_t magic;
        const char *name;
    } refused[] = {{0x01021994, "tmpfs"},  {0x858458f6, "ramfs"},      {0x794c7630, "overlay"},
                   {0x6969, "NFS"},        {0xff534d42, "CIFS"},       {0xfe534d42, "SMB"},
                   {0x01021997, "9p"},     {0x00c36400, "Ceph"}};
    struct statfs fs;

    if (statfs(path, &fs) != 0)
        return err_errno(err, "cannot look at %s", path);
    for (size_t i = 0; i < COUNT_OF(refused) && !allow_volatile; i++)
        if ((uint32_t)fs.f_type == refused[i].magic)
            return err_set(err,
                           "spool.dir %s lies on %s, which may lose what was acknowledged: put it on "
                           "a local disk, or set spool.allow_volatile = true to accept the loss",
                           path, refused[i].name);
    return 0;
}

/* How much one call may do: each rename costs little, each seal waits for the disk. */
struct portion {
    unsigned renames, seals;
};

static void list_sealed(struct lane *lane, int from, const char *name, struct portion *left)
{
    struct identity identity;
    struct stat st;
    bool applied;

    if (!segment_name_read(name, &identity, &applied) || fstatat(from, name, &st, 0) != 0)
        return;
    if (from != lane->directory && renameat(from, name, lane->directory, name) != 0) {
        log_error("adopt_failed", "name=%s error=%s", name, strerror(errno));
        return;
    }
    lane_add(lane, &identity, st.st_size,
             (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000, applied);
    left->renames--;
}

/* One that cannot be recovered stays where it is, for a later step: it stops neither the others nor
 * the lane. */
static void recover_open(struct lane *lane, int from, const char *name, struct portion *left)
{
    struct err err;

    if (segment_recover(lane, from, name, &err) == 0)
        left->seals--;
    else
        log_error("segment_unreadable", "name=%s error=\"%s\"", name, err.text);
}

/* Both passes over a directory: the sealed files, then the open ones.  1: the portion was too small. */
static int take_over(struct lane *lane, int from, bool open_ones, struct portion *left,
                     struct err *err)
{
    int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    bool own = from == lane->directory;
    struct dirent *entry;
    uint64_t number;

    if (dir == NULL)
        return err_errno(err, "cannot read %s", lane->path);
    while (left->renames > 0 && left->seals > 0 && (entry = readdir(dir)) != NULL) {
        lane_alive(lane);
        if (!segment_name_open(entry->d_name, &number)) {
            if (!open_ones)
                list_sealed(lane, from, entry->d_name, left);
        } else if (open_ones && (!own || number < lane->open_first)) {
            recover_open(lane, from, entry->d_name, left);
        } else if (!open_ones && own && number >= lane->open_number) {
            lane->open_number = number + 1; /* numbers go on behind all that are there */
        }
    }
    closedir(dir);
    return left->renames == 0 || left->seals == 0;
}

static const struct portion all = {UINT_MAX, UINT_MAX};

int recover_lane(struct lane *lane, struct err *err)
{
    struct portion left = all;

    if (take_over(lane, lane->directory, false, &left, err) != 0)
        return -1;
    lane_sort(lane);
    lane->open_first = lane->open_number;
    if (take_over(lane, lane->directory, true, &left, err) != 0)
        return -1;
    /* Whoever died between a seal's rename and its sync left a name that a loss of power undoes: what it
     * names would be sealed again, under another identity, after this one was pushed. */
    if (fsync(lane->directory) != 0)
        return err_errno(err, "cannot sync %s", lane->path);
    return 0;
}

static void adopt_one(struct lane *lane, const char *path, struct portion *left)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    size_t before = lane->count;
    struct err err = {""};

    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        if (take_over(lane, fd, false, left, &err) < 0 || take_over(lane, fd, true, left, &err) < 0)
            log_error("adopt_failed", "lane=%s error=\"%s\"", path, err.text);
        if (lane->count > before) {
            if (fsync(lane->directory) != 0 || fsync(fd) != 0)
                log_error("adopt_failed", "lane=%s error=%s", path, strerror(errno));
            log_info("lane_adopted", "lane=%s segments=%zu", path, lane->count - before);
        }
    }
    close(fd);
}

static void adopt(struct lane *lane, int64_t processes, struct portion *left)
{
    DIR *dir = opendir(lane->settings->spool_dir);
    size_t before = lane->count;
    struct dirent *entry;
    char path[512];
    unsigned index;
    int end;

    if (dir == NULL)
        return;
    while (left->renames > 0 && left->seals > 0 && (entry = readdir(dir)) != NULL) {
        end = 0;
        if (sscanf(entry->d_name, "lane-%u%n", &index, &end) != 1 || entry->d_name[end] != '\0' ||
            index < processes)
            continue;
        snprintf(path, sizeof path, "%s/%.200s", lane->settings->spool_dir, entry->d_name);
        adopt_one(lane, path, left);
    }
    closedir(dir);
    if (lane->count > before)
        lane_sort(lane); /* the window is filled from the youngest */
}

void recover_adopt(struct lane *lane, int64_t processes)
{
    struct portion left = all;

    adopt(lane, processes, &left);
}

bool recover_step(struct lane *lane, int64_t processes)
{
    struct portion left = {.renames = 500, .seals = 1};
    struct err err;

    if (take_over(lane, lane->directory, true, &left, &err) < 0)
        log_error("recovery_failed", "error=\"%s\"", err.text);
    if (lane->index == 0)
        adopt(lane, processes, &left);
    return left.renames == 0 || left.seals == 0;
}
