/*
 * answer_plain.c - the commands that are answered at once, from what this process has.
 *
 *   stats    {"metrics": [{"name", "kind", "total", "workers": {"aggregator.0": 12}}]}
 *   config   {"view": "control", "settings": [{"name", "value", "apply"}]}; secrets are masked
 *   version  {"version", "build"}
 *
 * Owns nothing.  If we die on any line, an asker gets no answer and asks again.
 */
#include "workers/control/control.h"

#include "common/harness/build.h"
#include "common/harness/roster.h"
#include "common/json/json_put.h"
#include "workers/control/figures.h"

#define MASK "********"

void answer_stats(struct control *control, const struct request *request)
{
    json_clear(control->out);
    figures_write(control->harness, control->out);
    control_answer(control, &request->route);
}

static void write_setting(struct json_out *out, const struct settings *settings,
                          const struct setting *setting)
{
    static const char *const applies[] = {
        [APPLY_LIVE] = "live", [APPLY_WORKER] = "worker", [APPLY_FULL] = "full"};
    char value[1100];

    settings_get(settings, setting, value, sizeof value);
    json_object(out);
    json_put_text(out, "name", setting->path);
    json_put_text(out, "value",
                  setting->kind == SETTING_SECRET && value[0] != '\0' ? MASK : value);
    json_put_text(out, "apply", applies[setting->apply]);
    json_end(out);
}

void answer_config(struct control *control, const struct request *request)
{
    int row = roster_find("control");

    json_clear(control->out);
    json_object(control->out);
    json_put_text(control->out, "view", "control");
    json_key(control->out, "settings");
    json_array(control->out);
    for (size_t i = 0; i < settings_count; i++)
        if (row >= 0 && setting_read_by(&settings_table[i], (unsigned)row))
            write_setting(control->out, harness_settings(control->harness), &settings_table[i]);
    json_end(control->out);
    json_end(control->out);
    control_answer(control, &request->route);
}

void answer_version(struct control *control, const struct request *request)
{
    json_clear(control->out);
    json_object(control->out);
    json_put_text(control->out, "version", build_version);
    json_put_text(control->out, "build", build_id);
    json_end(control->out);
    control_answer(control, &request->route);
}
