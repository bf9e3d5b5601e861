/*
 * window_file.c - the dedupe window over a restart.  See window_file.h.
 *
 * Runs when all segments of the lane are listed, before ingest is bound.  The window is filled from the
 * old image and from the segments, then the new image is written beside the old one and renamed over
 * it.
 *
 * If we die on any line: there is the old image or the new one, and segments that are younger.
 */
#include "workers/aggregator/window_file.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "workers/aggregator/disk.h"
#include "workers/aggregator/segment.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE "window"
#define IMAGE_NEW "window.new"
#define BYTES_PER_ID 400 /* how much of the segments is read back for the window, at most */
#define PLACES_MOST 100000000
#define RUN 65536

/* Bytes of the old image, or NULL: there is none that can be read. */
static unsigned char *read_image(struct lane *lane, size_t *bytes)
{
    int fd = openat(lane->directory, IMAGE, O_RDONLY | O_CLOEXEC);
    unsigned char *image = NULL;
    struct stat st;
    ssize_t got;

    *bytes = 0;
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && st.st_size <= (off_t)PLACES_MOST * WINDOW_ENTRY_BYTES)
        image = malloc((size_t)st.st_size + 1);
    while (image != NULL && (got = read(fd, image + *bytes, (size_t)st.st_size - *bytes)) > 0)
        *bytes += (size_t)got;
    close(fd);
    return image;
}

static void load_segments(struct lane *lane, struct window *window, uint32_t now_second)
{
    int64_t since_ms = ((int64_t)now_second - lane->settings->dedupe_seconds) * 1000;
    int64_t budget = lane->settings->dedupe_ids * BYTES_PER_ID;
    size_t first = lane->count;

    while (first > 0 && budget > 0 && lane->sealed[first - 1].sealed_ms >= since_ms)
        budget -= lane->sealed[--first].bytes;
    for (; first < lane->count; first++) {
        struct segment segment;
        struct identity identity;
        char name[SEGMENT_NAME];
        struct err err;

        lane_alive(lane);
        lane_identity_of(lane, &lane->sealed[first], &identity);
        segment_name(&identity, lane->sealed[first].applied, name);
        if (segment_read(lane->directory, name, &segment, &err) != 0)
            continue; /* said when it is read for sending */
        segment_ids(&segment, window, now_second);
        segment_free(&segment);
    }
}

static int write_image(struct lane *lane, struct window *window, struct err *err)
{
    unsigned char header[WINDOW_HEADER_BYTES], *run = malloc((size_t)RUN * WINDOW_ENTRY_BYTES);
    int fd = openat(lane->directory, IMAGE_NEW, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t offset, bytes;
    bool good = fd >= 0 && run != NULL;

    window_image_header(window, header);
    good = good && disk_write(fd, header, sizeof header, 0) == 0 &&
           ftruncate(fd, (off_t)window_image_bytes(window)) == 0;
    while (good && window_image_next(window, run, RUN, &offset, &bytes))
        good = disk_write(fd, run, bytes, (int64_t)offset) == 0;
    good = good && fdatasync(fd) == 0 &&
           renameat(lane->directory, IMAGE_NEW, lane->directory, IMAGE) == 0 &&
           fsync(lane->directory) == 0;
    free(run);
    if (good)
        return fd;
    err_errno(err, "cannot write %s/%s", lane->path, IMAGE_NEW);
    if (fd >= 0)
        close(fd);
    return -1;
}

struct window *window_file_open(struct lane *lane, int *image_fd, struct err *err)
{
    unsigned char key[WINDOW_KEY_BYTES];
    uint32_t now_second = (uint32_t)(wall_now().micros / 1000000);
    struct window *window;
    size_t bytes, places = 0;
    unsigned char *image = read_image(lane, &bytes);
    bool known = image != NULL && window_image_key(image, bytes, key, &places) == 0;

    if (!known)
        randombytes_buf(key, sizeof key);
    window = window_new((size_t)lane->settings->dedupe_ids, lane->settings->dedupe_seconds, key);
    window_contents(window, lane->settings->dedupe_database);
    for (size_t i = 0; known && i < places; i++)
        if (WINDOW_HEADER_BYTES + (i + 1) * WINDOW_ENTRY_BYTES <= bytes)
            window_image_load(window, image + WINDOW_HEADER_BYTES + i * WINDOW_ENTRY_BYTES,
                              now_second);
    free(image);
    load_segments(lane, window, now_second);
    *image_fd = write_image(lane, window, err);
    if (*image_fd < 0) {
        /* A full disk must not keep the spool from draining: segments then wait for their age. */
        log_warn("window_image_failed", "error=\"%s\"", err->text);
    }
    log_info("window_loaded", "ids=%zu image=%d", window_count(window), known);
    return window;
}
