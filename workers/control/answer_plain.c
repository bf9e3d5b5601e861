/*
 * answer_plain.c - the commands that are answered at once, from what this process has.
 *
 *   stats    {"metrics": [{"name", "kind", "total", "workers": {"aggregator.0": 12}}]}
 *   version  {"version", "build"}
 *
 * Owns nothing.  If we die on any line, an asker gets no answer and asks again.
 */
#include "workers/control/control.h"

#include "common/harness/build.h"
#include "common/json/json_put.h"
#include "workers/control/figures.h"

void answer_stats(struct control *control, const struct request *request)
{
    json_clear(control->out);
    figures_write(control->harness, control->out);
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
