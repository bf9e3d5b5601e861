/*
 * test_lane.c - a lane's names, identities and marks; its recovery, whole and in short steps; lanes
 * that nobody holds.
 *
 * links: workers/aggregator/recover.c workers/aggregator/segment.c workers/aggregator/lane.c workers/aggregator/disk.c common/batch/segment_name.c workers/aggregator/window.c common/batch/ranges.c common/event/event.c common/event/codec.c common/batch/crc32c.c common/batch/record.c common/batch/envelope.c common/base/utf8.c common/base/clock.c common/base/log.c common/base/err.c common/stats/stats.c
 * libs: libsodium
 */
#include "workers/aggregator/recover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND 1000000

struct place {
    struct settings settings;
    struct lane lane;
};

static void open_lane(struct place *place)
{
    struct err err;
    int page = stats_create("test", &err);

    assert_int_equal(lane_open(&place->lane, &place->settings, stats_map(page, &err), 0, &err), 0);
    close(page);
}

static int begin(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    char root[] = "/tmp/spendd-lane-XXXXXX";

    if (place == NULL || mkdtemp(root) == NULL)
        return -1;
    snprintf(place->settings.spool_dir, sizeof place->settings.spool_dir, "%s", root);
    place->settings.spool_max_bytes = 1 << 30;
    open_lane(place);
    *state = place;
    return 0;
}

static int end(void **state)
{
    struct place *place = *state;
    char command[300];

    lane_close(&place->lane);
    snprintf(command, sizeof command, "rm -r '%s'", place->settings.spool_dir);
    free(place);
    return system(command);
}

static void put_file(const struct place *place, const char *path, unsigned records)
{
    unsigned char data[256];
    size_t used = SEGMENT_HEADER_BYTES;
    char whole[400];
    int fd;

    segment_header(data, 1);
    for (; records > 0; records--, used += RECORD_HEADER_BYTES + 5) {
        memcpy(data + used + RECORD_HEADER_BYTES, "\x02" "abcd", 5);
        record_frame(data + used, 5);
    }
    snprintf(whole, sizeof whole, "%s/%s", place->settings.spool_dir, path);
    fd = open(whole, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, used), used);
    close(fd);
}

static void make_directory(const struct place *place, const char *path)
{
    char whole[400];

    snprintf(whole, sizeof whole, "%s/%s", place->settings.spool_dir, path);
    assert_int_equal(mkdir(whole, 0700), 0);
}

static bool there(const struct place *place, const char *path)
{
    char whole[400];

    snprintf(whole, sizeof whole, "%s/%s", place->settings.spool_dir, path);
    return access(whole, F_OK) == 0;
}

/* Clocks that part are another life (a resumed memory snapshot): another epoch, from 1. */
static void clocks_that_part(void **state)
{
    struct place *place = *state;
    struct identity first, second, third, fourth;

    lane_identity(&place->lane, &first);
    place->lane.minted_skew -= SECOND / 2;
    lane_identity(&place->lane, &second);
    assert_string_equal(first.epoch, second.epoch);
    assert_int_equal(second.seq, first.seq + 1);
    place->lane.minted_skew += 2 * SECOND;
    lane_identity(&place->lane, &third);
    assert_string_not_equal(second.epoch, third.epoch);
    assert_int_equal(third.seq, 1);
    place->lane.minted_skew -= 3 * SECOND;
    lane_identity(&place->lane, &fourth);
    assert_string_not_equal(third.epoch, fourth.epoch);
    assert_int_equal(fourth.seq, 1);
}

static void names(void **state)
{
    static const char epoch[] = "0192f0c1-2345-7abc-8def-0123456789ab";
    static const char *const bad[] = {"", ".0.1.seg", ".0.1.seg.don", ".0.01.seg", ".0.1.seg.done.x",
                                      ".0.-1.seg", ".0.99999999999999999999.seg", ".1.seg"};
    struct identity identity = {.shard = 0, .seq = 7}, read;
    char name[SEGMENT_NAME];
    bool applied;

    (void)state;
    memcpy(identity.epoch, epoch, sizeof epoch);
    for (int done = 0; done < 2; done++) {
        segment_name(&identity, done, name);
        assert_true(segment_name_read(name, &read, &applied));
        assert_string_equal(read.epoch, epoch);
        assert_int_equal(read.seq, 7);
        assert_int_equal(applied, done);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        snprintf(name, sizeof name, "%s%s", i == 1 ? "0192" : epoch, bad[i]);
        assert_false(segment_name_read(name, &read, &applied));
    }
}

/* Marks follow what Redis says, in both directions; only what is applied, old enough and covered by
 * the window's image is deleted. */
static void marks_and_deletion(void **state)
{
    struct place *place = *state;
    struct lane *lane = &place->lane;
    struct identity identity;
    char name[SEGMENT_NAME], path[SEGMENT_NAME + 16];

    for (int i = 0; i < 3; i++) {
        lane_identity(lane, &identity);
        segment_name(&identity, false, name);
        snprintf(path, sizeof path, "lane-0/%s", name);
        put_file(place, path, 1);
        lane_add(lane, &identity, 37, 1000 + i, false);
    }
    assert_int_equal(lane_applied(lane, identity.epoch, "{[1,3)}", 5000), 0);
    assert_int_equal(lane->unapplied, 1);
    assert_int_equal(lane_applied(lane, identity.epoch, "{[2,3)}", 5000), 1);
    assert_int_equal(lane->unapplied, 2);
    assert_int_equal(lane_applied(lane, identity.epoch, "{[1,3)", 5000), 0); /* no ranges: no word */
    assert_int_equal(lane->unapplied, 2);
    assert_int_equal(lane_applied(lane, identity.epoch, "{[1,3)}", 5000), 0);
    lane_upkeep(lane, 6000, 1000); /* the image covers the first only */
    assert_int_equal(lane->count, 2);
    lane_upkeep(lane, 6000, 9000);
    assert_int_equal(lane->count, 1);
    assert_true(there(place, path));
    assert_int_equal(lane->unapplied, 1);
    assert_int_equal(lane->bytes, 37);
}

static unsigned signs;

static void sign(void *arg)
{
    (void)arg;
    signs++;
}

/* One that cannot be read stops no other, and is looked at again; what is open now is left alone. */
static void recovery_in_steps(void **state)
{
    struct place *place = *state;
    struct lane *lane = &place->lane;
    struct err err;

    make_directory(place, "lane-0/open-3.seg");
    put_file(place, "lane-0/open-1.seg", 2);
    put_file(place, "lane-0/open-5.seg", 2);
    put_file(place, "lane-0/open-4.seg", 0);
    lane->alive = sign;
    signs = 0;
    assert_int_equal(recover_lane(lane, &err), 0);
    assert_true(signs >= 4);
    assert_int_equal(lane->count, 2);
    assert_int_equal(lane->open_number, 6);
    assert_false(there(place, "lane-0/open-1.seg"));
    assert_false(there(place, "lane-0/open-4.seg"));
    assert_true(there(place, "lane-0/open-3.seg"));

    put_file(place, "lane-0/open-6.seg", 1); /* this life's own */
    assert_false(recover_step(lane, 1));
    assert_int_equal(lane->count, 2);
    assert_true(there(place, "lane-0/open-6.seg"));

    assert_int_equal(unlinkat(lane->directory, "open-3.seg", AT_REMOVEDIR), 0);
    put_file(place, "lane-0/open-3.seg", 1);
    assert_true(recover_step(lane, 1));
    assert_int_equal(lane->count, 3);
    assert_false(recover_step(lane, 1));
}

/* Lanes beyond the number of processes are taken over, unless somebody holds them. */
static void abandoned_lanes(void **state)
{
    struct place *place = *state;
    struct lane *lane = &place->lane, held;
    struct err err;
    unsigned steps = 0;

    make_directory(place, "lane-1");
    make_directory(place, "lane-7");
    put_file(place, "lane-1/open-0.seg", 1);
    put_file(place, "lane-7/open-0.seg", 1);
    put_file(place, "lane-7/open-9.seg", 1);
    put_file(place, "lane-7/0192f0c1-2345-7abc-8def-0123456789ab.0.4.seg", 1);
    put_file(place, "lane-7/0192f0c1-2345-7abc-8def-0123456789ab.0.3.seg.done", 1);
    assert_int_equal(lane_open(&held, &place->settings, lane->stats, 7, &err), 0);
    recover_adopt(lane, 2);
    assert_int_equal(lane->count, 0);
    assert_true(there(place, "lane-1/open-0.seg"));
    lane_close(&held);
    while (recover_step(lane, 2))
        steps++;
    assert_int_equal(steps, 2);
    assert_int_equal(lane->count, 4);
    assert_int_equal(lane->unapplied, 3);
    for (size_t i = 1; i < lane->count; i++)
        assert_true(lane->sealed[i - 1].sealed_ms <= lane->sealed[i].sealed_ms);
    assert_true(there(place, "lane-0/0192f0c1-2345-7abc-8def-0123456789ab.0.4.seg"));
    recover_adopt(lane, 1);
    assert_int_equal(lane->count, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(clocks_that_part, begin, end),
        cmocka_unit_test_setup_teardown(names, begin, end),
        cmocka_unit_test_setup_teardown(marks_and_deletion, begin, end),
        cmocka_unit_test_setup_teardown(recovery_in_steps, begin, end),
        cmocka_unit_test_setup_teardown(abandoned_lanes, begin, end),
    };

    if (sodium_init() < 0 || freopen("/dev/null", "w", stderr) == NULL)
        return 1; /* the lane's loud words are not this test's subject */
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("lane", tests, NULL, NULL);
}
