/*
 * volume.c - the sealed segments of a spool that nobody owns.  See volume.h.
 *
 * Reads only.  Each lane is locked as its owner would lock it, for as long as the volume is open.  A segment
 * is verified when it is read; one that does not verify is left to an aggregator, which can rescue it.
 * If we die on any line, the locks go with us.
 */
#include "workers/redis_writer/volume.h"

#include "common/batch/segment_name.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static void add(struct volume *volume, unsigned lane, const struct identity *identity,
                const struct stat *st)
{
    volume->segment = realloc(volume->segment, (volume->count + 1) * sizeof *volume->segment);
    if (volume->segment == NULL)
        bug("out of memory for %zu segments", volume->count);
    volume->segment[volume->count++] = (struct volume_segment){
        .lane = lane,
        .identity = *identity,
        .sealed_ms = (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000};
}

static int list(struct volume *volume, unsigned lane, const char *path, struct err *err)
{
    int fd = openat(volume->lane[lane], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct identity identity;
    struct dirent *entry;
    struct stat st;
    bool applied;

    if (dir == NULL)
        return err_errno(err, "cannot read %s", path);
    while ((entry = readdir(dir)) != NULL) {
        if (!segment_name_read(entry->d_name, &identity, &applied) ||
            fstatat(volume->lane[lane], entry->d_name, &st, 0) != 0)
            continue;
        if (applied)
            volume->applied++;
        else
            add(volume, lane, &identity, &st);
    }
    closedir(dir);
    return 0;
}

static int take_lane(struct volume *volume, const char *path, struct err *err)
{
    int fd;

    if (volume->lanes == VOLUME_LANES_MAX)
        return err_set(err, "more than %d lanes", VOLUME_LANES_MAX);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, "cannot open %s", path);
    volume->lane[volume->lanes++] = fd;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? err_set(err, "%s is held by another process", path)
                                    : err_errno(err, "cannot lock %s", path);
    return list(volume, volume->lanes - 1, path, err);
}

static int by_sealing(const void *a, const void *b)
{
    const struct volume_segment *x = a, *y = b;

    if (x->sealed_ms != y->sealed_ms)
        return x->sealed_ms < y->sealed_ms ? -1 : 1;
    return (x->identity.seq > y->identity.seq) - (x->identity.seq < y->identity.seq);
}

int volume_open(struct volume *volume, const char *path, struct err *err)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char lane[512];
    unsigned index;
    int result = 0;

    *volume = (struct volume){.lanes = 0};
    if (dir == NULL)
        return err_errno(err, "%s", path);
    while (result == 0 && (entry = readdir(dir)) != NULL) {
        int end = 0;

        if (sscanf(entry->d_name, "lane-%u%n", &index, &end) != 1 || end == 0 ||
            entry->d_name[end] != '\0')
            continue;
        snprintf(lane, sizeof lane, "%s/%.200s", path, entry->d_name);
        result = take_lane(volume, lane, err);
    }
    closedir(dir);
    if (result == 0 && volume->lanes == 0)
        result = take_lane(volume, path, err);
    if (result == 0 && volume->count > 1)
        qsort(volume->segment, volume->count, sizeof *volume->segment, by_sealing);
    if (result != 0)
        volume_close(volume);
    return result;
}

void volume_close(struct volume *volume)
{
    for (unsigned i = 0; i < volume->lanes; i++)
        close(volume->lane[i]);
    free(volume->segment);
    *volume = (struct volume){.lanes = 0};
}

/* The whole file behind `room` free bytes; owned by the caller. */
static unsigned char *read_file(int directory, const char *name, size_t room, size_t *bytes,
                                struct err *err)
{
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    unsigned char *data = NULL;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0 || (data = malloc(room + (size_t)st.st_size)) == NULL) {
        err_errno(err, "cannot read %s", name);
        goto failed;
    }
    for (*bytes = 0; *bytes < (size_t)st.st_size;) {
        ssize_t got = read(fd, data + room + *bytes, (size_t)st.st_size - *bytes);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            err_errno(err, "cannot read %s", name);
            goto failed;
        }
        *bytes += (size_t)got;
    }
    close(fd);
    return data;
failed:
    if (fd >= 0)
        close(fd);
    free(data);
    return NULL;
}

static int check(const unsigned char *data, size_t bytes, struct envelope *envelope, struct err *err)
{
    const unsigned char *payload;
    size_t at = SEGMENT_HEADER_BYTES, payload_bytes;
    uint32_t shards;

    if (segment_header_check(data, bytes, &shards, err) != 0)
        return -1;
    while (record_next(data, bytes, &at, &payload, &payload_bytes) == RECORD_OK)
        envelope->records++;
    return at == bytes ? 0 : err_set(err, "it does not verify behind byte %zu", at);
}

char *volume_envelope(const struct volume *volume, const struct volume_segment *segment, size_t *bytes,
                      struct err *err)
{
    struct envelope envelope = {.identity = segment->identity};
    char name[SEGMENT_NAME], line[ENVELOPE_LINE_MAX];
    unsigned char *data, *body;
    size_t length, line_bytes;

    segment_name(&segment->identity, false, name);
    data = read_file(volume->lane[segment->lane], name, ENVELOPE_LINE_MAX, &length, err);
    if (data == NULL)
        return NULL;
    if (check(data + ENVELOPE_LINE_MAX, length, &envelope, err) != 0) {
        free(data);
        return NULL;
    }
    body = data + ENVELOPE_LINE_MAX + SEGMENT_HEADER_BYTES;
    envelope.body = body;
    envelope.body_bytes = length - SEGMENT_HEADER_BYTES;
    envelope.crc = crc32c(0, body, envelope.body_bytes);
    line_bytes = envelope_line(&envelope, line);
    memmove(data + line_bytes, body, envelope.body_bytes);
    memcpy(data, line, line_bytes);
    *bytes = line_bytes + envelope.body_bytes;
    return (char *)data;
}
