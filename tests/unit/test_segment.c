/*
 * test_segment.c - an open segment cut at every byte offset: recovery seals exactly the records that
 * are whole; damage in the middle of a sealed one: every intact record is saved; a disk that refuses:
 * the next try finds everything as it was.
 *
 * links: workers/aggregator/segment.c workers/aggregator/lane.c workers/aggregator/disk.c common/batch/segment_name.c workers/aggregator/window.c common/batch/ranges.c common/event/event.c common/event/codec.c common/batch/crc32c.c common/batch/record.c common/batch/envelope.c common/base/utf8.c common/base/clock.c common/base/log.c common/base/err.c common/stats/stats.c
 * libs: libsodium
 */
#include "workers/aggregator/segment.h"

#include "common/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <sys/resource.h>
#include <unistd.h>

#define RECORDS 3
#define RECORD_BYTES (RECORD_HEADER_BYTES + 5)

/* In libc's place: a directory that cannot be synced while this is set. */
static bool sync_fails;

int fsync(int fd)
{
    (void)fd;
    errno = EIO;
    return sync_fails ? -1 : 0;
}

static size_t build(unsigned char *to)
{
    size_t used = SEGMENT_HEADER_BYTES;

    segment_header(to, 1);
    for (int i = 0; i < RECORDS; i++, used += RECORD_BYTES) {
        memcpy(to + used + RECORD_HEADER_BYTES, "\x02" "abcd", 5);
        record_frame(to + used, 5);
    }
    return used;
}

static void put_file(struct lane *lane, const char *name, const void *data, size_t bytes)
{
    int fd = openat(lane->directory, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    close(fd);
}

static void open_lane(struct lane *lane, struct settings *settings)
{
    char root[] = "/tmp/spendd-segment-XXXXXX";
    struct err err;
    int page;

    assert_non_null(mkdtemp(root));
    memset(settings, 0, sizeof *settings);
    snprintf(settings->spool_dir, sizeof settings->spool_dir, "%s", root);
    page = stats_create("test", &err);
    assert_int_equal(lane_open(lane, settings, stats_map(page, &err), 0, &err), 0);
    close(page);
}

static void close_lane(struct lane *lane, const struct settings *settings)
{
    char command[300];

    lane_close(lane);
    snprintf(command, sizeof command, "rm -r '%s'", settings->spool_dir);
    assert_int_equal(system(command), 0);
}

static void torn_at_every_offset(void **state)
{
    unsigned char data[256], longer[300] = {0};
    size_t bytes = build(data);
    struct settings settings;
    struct lane lane;
    struct err err;

    (void)state;
    open_lane(&lane, &settings);
    for (size_t cut = 0; cut <= bytes; cut++)
        for (size_t zeros = 0; zeros <= 20; zeros += 20) {
            size_t before = lane.count;
            size_t whole = cut < SEGMENT_HEADER_BYTES ? 0 : (cut - SEGMENT_HEADER_BYTES) / RECORD_BYTES;

            memset(longer, 0, sizeof longer);
            memcpy(longer, data, cut);
            put_file(&lane, "open-0.seg", longer, cut + zeros);
            assert_int_equal(segment_recover(&lane, lane.directory, "open-0.seg", &err), 0);
            assert_int_equal(faccessat(lane.directory, "open-0.seg", F_OK, 0), -1);
            assert_int_equal(lane.count - before, whole > 0);
            if (whole > 0)
                assert_int_equal(lane.sealed[before].bytes,
                                 SEGMENT_HEADER_BYTES + whole * RECORD_BYTES);
        }
    close_lane(&lane, &settings);
}

static void intact_records_are_saved(void **state)
{
    unsigned char data[256];
    size_t bytes = build(data);
    struct settings settings;
    struct lane lane;
    struct err err;

    (void)state;
    open_lane(&lane, &settings);
    for (size_t at = SEGMENT_HEADER_BYTES; at < bytes; at++) {
        struct identity identity;
        struct segment segment;
        struct sealed *sealed;
        char name[SEGMENT_NAME];

        lane_identity(&lane, &identity);
        segment_name(&identity, false, name);
        data[at] ^= 0x10;
        put_file(&lane, name, data, bytes);
        data[at] ^= 0x10;
        sealed = lane_add(&lane, &identity, (int64_t)bytes, 0, false);
        assert_int_equal(segment_read(lane.directory, name, &segment, &err), 0);
        assert_false(segment_whole(&segment));
        assert_int_equal(segment_rescue(&lane, sealed, &segment, &err), 0);
        assert_int_equal(segment.records, RECORDS - 1);
        segment_free(&segment);
        assert_null(lane_find(&lane, identity.epoch, identity.seq));
        assert_non_null(lane_find(&lane, identity.epoch, identity.seq + 1));
    }
    close_lane(&lane, &settings);
}

static unsigned in_quarantine(const struct lane *lane)
{
    int fd = openat(lane->directory, "quarantine", O_RDONLY | O_DIRECTORY);
    DIR *dir = fdopendir(fd);
    unsigned count = 0;

    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

/* The rename is done and cannot be made durable: the file is found again, by this process too. */
static void a_name_that_is_not_durable_is_given_back(void **state)
{
    unsigned char data[256];
    size_t bytes = build(data);
    struct settings settings;
    struct lane lane;
    struct err err;

    (void)state;
    open_lane(&lane, &settings);
    put_file(&lane, "open-0.seg", data, bytes);
    sync_fails = true;
    assert_int_equal(segment_recover(&lane, lane.directory, "open-0.seg", &err), -1);
    assert_int_equal(faccessat(lane.directory, "open-0.seg", F_OK, 0), 0);
    assert_int_equal(lane.count, 0);
    sync_fails = false;
    assert_int_equal(segment_recover(&lane, lane.directory, "open-0.seg", &err), 0);
    assert_int_equal(lane.count, 1);
    close_lane(&lane, &settings);
}

/* No room for a torn tail: the file stays as it is, and no half of the tail lies about. */
static void a_full_disk_leaves_no_halves(void **state)
{
    struct rlimit all, some;
    unsigned char data[256];
    size_t bytes = build(data);
    struct settings settings;
    struct lane lane;
    struct err err;

    (void)state;
    open_lane(&lane, &settings);
    put_file(&lane, "open-0.seg", data, bytes - 1);
    getrlimit(RLIMIT_FSIZE, &all);
    some = (struct rlimit){5, all.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &some);
    assert_int_equal(segment_recover(&lane, lane.directory, "open-0.seg", &err), -1);
    setrlimit(RLIMIT_FSIZE, &all);
    assert_non_null(strstr(err.text, strerror(EFBIG)));
    assert_int_equal(in_quarantine(&lane), 0);
    assert_int_equal(lane.count, 0);
    assert_int_equal(segment_recover(&lane, lane.directory, "open-0.seg", &err), 0);
    assert_int_equal(in_quarantine(&lane), 1);
    assert_int_equal(lane.count, 1);
    close_lane(&lane, &settings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torn_at_every_offset),
        cmocka_unit_test(intact_records_are_saved),
        cmocka_unit_test(a_name_that_is_not_durable_is_given_back),
        cmocka_unit_test(a_full_disk_leaves_no_halves),
    };

    if (sodium_init() < 0 || freopen("/dev/null", "w", stderr) == NULL)
        return 1; /* the lane's loud words are not this test's subject... */
    cmocka_set_message_output(CM_OUTPUT_TAP); /* ...and this form speaks on standard output alone */
    return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
