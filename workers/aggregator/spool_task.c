/*
 * spool_task.c - `spendd --spool ls|cat|verify`, and the first half of push: a dead pod's volume, looked at
 * without a daemon.  See spool_task.h.
 *
 * spool.dir is a spool, or one lane of it.  Each lane is locked while it is looked at, as its owner would:
 * what is in use is refused.  ls, cat and verify change nothing, not even a lane's window; recover does what
 * an aggregator does at its start (recover.c): open segments are cut, sealed and named under a new epoch, so
 * that a volume of which a copy lives on elsewhere reuses no identity.
 * If we die on any line: what was renamed is what an aggregator would find.
 *
 * Exit code: 0; 1 damage was found; 75 in use, or could not be read.
 */
#include "workers/aggregator/spool_task.h"

#include "common/base/clock.h"
#include "common/event/event_json.h"
#include "common/json/json_put.h"
#include "workers/aggregator/recover.h"
#include "workers/aggregator/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EXIT_DAMAGED 1

/* One file of a lane. */
struct file {
    char name[SEGMENT_NAME];
    bool open, applied;
    int64_t bytes, sealed_ms;
    uint64_t seq;
};

struct tour {
    struct lane *lane;
    struct json_out *out;
    const char *verb;
    uint64_t segments, records, applied, damaged, torn, events;
};

typedef int lane_fn(struct tour *tour, struct err *err);

static int by_sealing(const void *a, const void *b)
{
    const struct file *x = a, *y = b;

    if (x->open != y->open)
        return x->open ? 1 : -1; /* the open ones are the youngest */
    if (x->sealed_ms != y->sealed_ms)
        return x->sealed_ms < y->sealed_ms ? -1 : 1;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

/* The lane's segments, oldest first; owned by the caller.  NULL with *count 0: none; -1 in *count: err. */
static struct file *list(const struct lane *lane, ssize_t *count, struct err *err)
{
    int fd = openat(lane->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct file *files = NULL;
    struct dirent *entry;
    struct stat st;

    *count = -1;
    if (dir == NULL) {
        err_errno(err, "cannot read %s", lane->path);
        return NULL;
    }
    *count = 0;
    while ((entry = readdir(dir)) != NULL) {
        struct file file = {.open = false};
        struct identity identity = {.seq = 0};
        uint64_t number;

        file.open = segment_name_open(entry->d_name, &number);
        if ((!file.open && !segment_name_read(entry->d_name, &identity, &file.applied)) ||
            fstatat(lane->directory, entry->d_name, &st, 0) != 0)
            continue;
        snprintf(file.name, sizeof file.name, "%.90s", entry->d_name);
        file.seq = file.open ? number : identity.seq;
        file.bytes = st.st_size;
        file.sealed_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
        files = realloc(files, (size_t)(*count + 1) * sizeof *files);
        if (files == NULL)
            bug("out of memory for %zd names", *count);
        files[(*count)++] = file;
    }
    closedir(dir);
    if (*count > 1)
        qsort(files, (size_t)*count, sizeof *files, by_sealing);
    return files;
}

/* --- ls, verify ----------------------------------------------------------------------------------- */

static const char *judge(struct tour *tour, const struct file *file, const struct segment *segment)
{
    tour->segments++;
    tour->records += segment->records;
    tour->applied += file->applied;
    if (segment_whole(segment))
        return file->open ? "open" : file->applied ? "applied" : "sealed";
    if (file->open && segment_tail_is_zeros(segment))
        return "open"; /* as a crash leaves it */
    if (file->open) {
        tour->torn++;
        return "torn";
    }
    tour->damaged++;
    return "damaged";
}

static void print_file(const struct file *file, const struct segment *segment, const char *state)
{
    char time[32];

    wall_text((wall_t){file->sealed_ms * 1000}, time, sizeof time);
    printf("%-8s %10" PRId64 " bytes %8" PRIu32 " records  %.19sZ  %s\n", state, file->bytes,
           segment->records, time, file->name);
}

static int look(struct tour *tour, struct err *err)
{
    bool all = strcmp(tour->verb, "ls") == 0;
    ssize_t count;
    struct file *files = list(tour->lane, &count, err);

    if (all)
        printf("%s\n", tour->lane->path);
    for (ssize_t i = 0; i < count; i++) {
        struct segment segment;
        const char *state = "unread";

        if (segment_read(tour->lane->directory, files[i].name, &segment, err) != 0) {
            fprintf(stderr, "%s/%s: %s\n", tour->lane->path, files[i].name, err->text);
            tour->damaged++;
            continue;
        }
        state = judge(tour, &files[i], &segment);
        if (all)
            print_file(&files[i], &segment, state);
        else if (!segment_whole(&segment) && strcmp(state, "open") != 0)
            printf("%s/%s: %s: %zu of %zu bytes are whole records (%" PRIu32 ")\n", tour->lane->path,
                   files[i].name, state, segment.good, segment.bytes, segment.records);
        segment_free(&segment);
    }
    free(files);
    return count < 0 ? -1 : 0;
}

/* --- cat ------------------------------------------------------------------------------------------ */

static void print_line(struct tour *tour)
{
    size_t length;
    const char *json = json_text(tour->out, &length);

    fwrite(json, 1, length, stdout);
    putchar('\n');
    tour->events++;
}

static void print_dead(struct tour *tour, const unsigned char *body, size_t bytes)
{
    const char *reason;
    const unsigned char *refused;
    size_t reason_bytes, refused_bytes;

    if (record_dead(body, bytes, &reason, &reason_bytes, &refused, &refused_bytes) != 0)
        return;
    json_object(tour->out);
    json_put_bool(tour->out, "dead", true);
    json_key(tour->out, "reason");
    json_bytes(tour->out, reason, reason_bytes);
    json_key(tour->out, "payload");
    json_bytes(tour->out, (const char *)refused, refused_bytes);
    json_end(tour->out);
    print_line(tour);
}

static void print_records(struct tour *tour, const struct segment *segment)
{
    const unsigned char *payload;
    size_t at = SEGMENT_HEADER_BYTES, bytes;
    struct event event;
    struct err err;

    while (at < segment->good &&
           record_next(segment->data, segment->good, &at, &payload, &bytes) == RECORD_OK) {
        json_clear(tour->out);
        if (bytes > 1 && payload[0] == RECORD_DEAD) {
            print_dead(tour, payload + 1, bytes - 1);
        } else if (bytes > 1 && event_decode(&event, payload + 1, bytes - 1, &err) == 0) {
            event_json(tour->out, &event);
            print_line(tour);
        } else {
            fprintf(stderr, "a record that this build cannot read\n");
            tour->damaged++;
        }
    }
}

/* What PostgreSQL does not have: an applied segment was counted. */
static int cat(struct tour *tour, struct err *err)
{
    ssize_t count;
    struct file *files = list(tour->lane, &count, err);

    for (ssize_t i = 0; i < count; i++) {
        struct segment segment;

        if (files[i].applied)
            continue;
        if (segment_read(tour->lane->directory, files[i].name, &segment, err) != 0) {
            fprintf(stderr, "%s/%s: %s\n", tour->lane->path, files[i].name, err->text);
            tour->damaged++;
            continue;
        }
        if (!files[i].open && !segment_whole(&segment)) {
            fprintf(stderr, "%s/%s: damaged: its intact records follow\n", tour->lane->path, files[i].name);
            tour->damaged++;
            segment_salvage(&segment);
        }
        print_records(tour, &segment);
        segment_free(&segment);
    }
    free(files);
    return count < 0 ? -1 : 0;
}

/* --- recover -------------------------------------------------------------------------------------- */

static int recover(struct tour *tour, struct err *err)
{
    if (recover_lane(tour->lane, err) != 0)
        return -1;
    tour->segments += tour->lane->count;
    return 0;
}

/* --- a spool, or one lane ------------------------------------------------------------------------- */

static int visit(struct harness *harness, struct tour *tour, const char *path, lane_fn *work,
                 struct err *err)
{
    struct lane lane;
    int result = lane_open_at(&lane, harness_settings(harness), harness_stats(harness), path, err);

    if (result == 0) {
        tour->lane = &lane;
        result = work(tour, err);
    }
    lane_close(&lane);
    return result == 0 ? 0 : -1;
}

/* Lanes in the directory that were visited; -1: err. */
static int visit_lanes(struct harness *harness, struct tour *tour, lane_fn *work, struct err *err)
{
    const char *root = harness_settings(harness)->spool_dir;
    struct dirent **names;
    int count = scandir(root, &names, NULL, versionsort), lanes = 0;
    char path[512];

    if (count < 0)
        return err_errno(err, "%s", root);
    for (int i = 0; i < count; i++) {
        unsigned index;
        int end = 0;

        if (lanes >= 0 && sscanf(names[i]->d_name, "lane-%u%n", &index, &end) == 1 && end > 0 &&
            names[i]->d_name[end] == '\0') {
            snprintf(path, sizeof path, "%s/%.200s", root, names[i]->d_name);
            lanes = visit(harness, tour, path, work, err) == 0 ? lanes + 1 : -1;
        }
        free(names[i]);
    }
    free(names);
    return lanes;
}

static void say(struct harness *harness, const struct tour *tour)
{
    if (strcmp(tour->verb, "cat") == 0)
        fprintf(stderr, "%" PRIu64 " records\n", tour->events);
    else if (strcmp(tour->verb, "recover") != 0)
        harness_status(harness, "%" PRIu64 " segments, %" PRIu64 " of them applied; %" PRIu64
                       " whole records; %" PRIu64 " damaged, %" PRIu64 " torn at the end",
                       tour->segments, tour->applied, tour->records, tour->damaged, tour->torn);
}

static void *run(struct harness *harness, const char *verb, lane_fn *work, int *code, struct err *err)
{
    struct tour tour = {.verb = verb};
    int lanes;

    *code = EXIT_TEMPORARY;
    if (sodium_init() < 0)
        bug("no libsodium");
    tour.out = json_out_new(false);
    lanes = visit_lanes(harness, &tour, work, err);
    if (lanes == 0) /* then it is a lane itself */
        lanes = visit(harness, &tour, harness_settings(harness)->spool_dir, work, err);
    json_out_free(&tour.out);
    if (lanes >= 0 && (fflush(stdout) != 0 || ferror(stdout)))
        lanes = err_errno(err, "standard output");
    if (lanes < 0) {
        harness_status(harness, "%.150s", err->text);
        return NULL;
    }
    say(harness, &tour);
    harness_leave(harness, tour.damaged > 0 ? EXIT_DAMAGED : EXIT_ASKED);
    return harness;
}

static void nothing(void *self)
{
    (void)self;
}

static void *ls_open(struct harness *harness, int *code, struct err *err)
{
    return run(harness, "ls", look, code, err);
}

static void *cat_open(struct harness *harness, int *code, struct err *err)
{
    return run(harness, "cat", cat, code, err);
}

static void *verify_open(struct harness *harness, int *code, struct err *err)
{
    return run(harness, "verify", look, code, err);
}

static void *recover_open(struct harness *harness, int *code, struct err *err)
{
    return run(harness, "recover", recover, code, err);
}

static const struct worker recover_task = {.name = "spool-recover", .open = recover_open, .close = nothing};
static const struct worker verify_task = {
    .name = "spool-verify", .open = verify_open, .close = nothing, .task = &recover_task};
static const struct worker cat_task = {
    .name = "spool-cat", .open = cat_open, .close = nothing, .task = &verify_task};
const struct worker spool_ls_task = {
    .name = "spool-ls", .open = ls_open, .close = nothing, .task = &cat_task};
