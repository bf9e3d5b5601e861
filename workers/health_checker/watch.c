/*
 * watch.c - the table of what is watched (watch.def): each figure against its threshold.  See watch.h.
 *
 * At its threshold a figure is over; a line is logged when that changes, not while it lasts.  What a store
 * does not tell, or may not be asked, is unknown: never ok.  The figures of the host (descriptors, the
 * spool's disk) are read here; the others come with the probes.  Owns no data; if we die on any line
 * the states are found anew, and said again.
 */
#include "workers/health_checker/watch.h"

#include "common/base/log.h"
#include "common/harness/harness.h"
#include "common/json/json_put.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#define FILES_BESIDES 1280 /* of an aggregator, beside its connections: supervisor/listen.h */

enum watch_state { STATE_UNKNOWN, STATE_OK, STATE_OVER, STATE_OFF };

static const char *const state_names[] = {"unknown", "ok", "over", "off"};
static const char *const store_names[] = {"redis", "database", "host"};

static const struct watch_row {
    const char *name, *text;
    enum watch_store store;
    enum metric metric;
    size_t threshold; /* offset in struct settings */
} rows[WATCHES] = {
#define WATCH(name, store, text)                                                                   \
    [WATCH_##name] = {#name, text, WATCH_STORE_##store, METRIC_watch_##name,                       \
                      offsetof(struct settings, watch_##name)},
#include "workers/health_checker/watch.def"
#undef WATCH
};

struct store_watch {
    struct harness *harness;
    watch_changed_fn *changed;
    void *arg;
    struct timer *host;
    struct figures figures;
    enum watch_state state[WATCHES];
    wall_t since[WATCHES];
};

static int64_t threshold_of(const struct store_watch *watch, size_t i)
{
    int64_t value;

    memcpy(&value, (const char *)harness_settings(watch->harness) + rows[i].threshold, sizeof value);
    return value;
}

static enum watch_state judge(int64_t value, int64_t threshold)
{
    if (threshold == 0)
        return STATE_OFF;
    if (value < 0)
        return STATE_UNKNOWN;
    return value >= threshold ? STATE_OVER : STATE_OK;
}

/* That all is well, or not yet known, is no news at the start. */
static void tell(const struct store_watch *watch, size_t i, enum watch_state before, enum watch_state after)
{
    const char *detail = watch->figures.detail[i];

    if (after == STATE_OVER)
        log_warn("watch_over", "watch=%s store=%s value=%" PRId64 " threshold=%" PRId64 " text=\"%s\" detail=\"%s\"",
                 rows[i].name, store_names[rows[i].store], watch->figures.value[i], threshold_of(watch, i),
                 rows[i].text, detail);
    else if (before == STATE_OVER)
        log_info("watch_back", "watch=%s store=%s state=%s value=%" PRId64 " threshold=%" PRId64, rows[i].name,
                 store_names[rows[i].store], state_names[after], watch->figures.value[i],
                 threshold_of(watch, i));
    else
        log_debug("watch_state", "watch=%s state=%s", rows[i].name, state_names[after]);
}

static void judge_all(struct store_watch *watch)
{
    struct stats_page *page = harness_stats(watch->harness);
    unsigned over = 0;

    for (size_t i = 0; i < WATCHES; i++) {
        enum watch_state after = judge(watch->figures.value[i], threshold_of(watch, i));

        stats_set(page, rows[i].metric, watch->figures.value[i]);
        over += after == STATE_OVER;
        if (after == watch->state[i])
            continue;
        tell(watch, i, watch->state[i], after);
        watch->state[i] = after;
        watch->since[i] = wall_now();
        watch->changed(watch->arg);
    }
    stats_set(page, METRIC_watches_over, over);
}

void store_watch_take(struct store_watch *watch, enum watch_store store, const struct figures *figures)
{
    for (size_t i = 0; i < WATCHES; i++)
        if (rows[i].store == store) {
            watch->figures.value[i] = figures->value[i];
            memcpy(watch->figures.detail[i], figures->detail[i], sizeof figures->detail[i]);
        }
    judge_all(watch);
}

void store_watch_reload(struct store_watch *watch)
{
    judge_all(watch);
}

/* --- the host ------------------------------------------------------------------------------------- */

static void look_at_files(const struct settings *settings, struct figures *figures)
{
    int64_t need = settings->ingest_max_connections + FILES_BESIDES;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    figures->value[WATCH_host_files_percent] =
        limit.rlim_max == RLIM_INFINITY ? 0 : figures_percent(need, (int64_t)limit.rlim_max);
    snprintf(figures->detail[WATCH_host_files_percent], 120, "%" PRId64 " of %" PRId64, need,
             limit.rlim_max == RLIM_INFINITY ? -1 : (int64_t)limit.rlim_max);
}

static void look_at_disk(const struct settings *settings, struct figures *figures)
{
    struct statvfs disk;
    int64_t used;

    if (settings->spool_dir[0] == '\0' || statvfs(settings->spool_dir, &disk) < 0)
        return;
    used = (int64_t)(disk.f_blocks - disk.f_bfree); /* as df counts it: what root alone may use is not ours */
    figures->value[WATCH_host_spool_disk_percent] = figures_percent(used, used + (int64_t)disk.f_bavail);
}

static void on_host(void *arg)
{
    struct store_watch *watch = arg;
    const struct settings *settings = harness_settings(watch->harness);
    struct figures figures;

    figures_unknown(&figures);
    look_at_files(settings, &figures);
    look_at_disk(settings, &figures);
    store_watch_take(watch, WATCH_STORE_host, &figures);
    timer_in_ms(watch->host, settings->health_idle_probe_ms);
}

/* --- life ----------------------------------------------------------------------------------------- */

void store_watch_write(const struct store_watch *watch, struct json_out *out)
{
    json_key(out, "stores");
    json_array(out);
    for (size_t i = 0; i < WATCHES; i++) {
        int64_t value = watch->figures.value[i];

        json_object(out);
        json_put_text(out, "watch", rows[i].name);
        json_put_text(out, "store", store_names[rows[i].store]);
        json_put_number_if(out, "value", value >= 0, value);
        json_put_number(out, "threshold", threshold_of(watch, i));
        json_put_text(out, "state", state_names[watch->state[i]]);
        json_put_number_if(out, "since_ms", watch->since[i].micros > 0, watch->since[i].micros / 1000);
        json_put_text(out, "text", rows[i].text);
        json_put_text(out, "detail", watch->figures.detail[i]);
        json_end(out);
    }
    json_end(out);
}

struct store_watch *store_watch_new(struct harness *harness, watch_changed_fn *changed, void *arg, struct err *err)
{
    struct store_watch *watch = calloc(1, sizeof *watch);

    if (watch == NULL) {
        err_set(err, "no memory");
        return NULL;
    }
    watch->harness = harness;
    watch->changed = changed;
    watch->arg = arg;
    figures_unknown(&watch->figures);
    watch->host = harness_timer(harness, on_host, watch);
    timer_in_ms(watch->host, 0);
    judge_all(watch);
    return watch;
}

void store_watch_free(struct store_watch **watch)
{
    if (*watch == NULL)
        return;
    harness_untimer(&(*watch)->host);
    free(*watch);
    *watch = NULL;
}
