/*
 * face.h - what the other workers are told of health: one JSON document, over the channels `health`
 * (gateway, which serves it) and `health_control` (control, for spendctl health).
 *
 *   {"at_ms": 0, "instance": "...",
 *    "shared_status": {...},        what GET /health/shared-status answers, as it stands (models_write.c)
 *    "probes": [{"store", "passed", "detail", "since_ms"}],           since_ms: of this answer, wall time
 *    "models": [{"name", "healthy", "status", "error", "latency_ms", "checked_ms", "checked_by", "age_s",
 *               "checks_total", "failures_total", "cost_usd_total"}],
 *    "stores": [{"watch", "store", "value", "threshold", "state", "since_ms", "text",
 *               "detail"}]}
 *
 * What is not known is null.  The *_total count since the supervisor started, restarts of the health
 * checker included.  state: ok, over, unknown, off.
 */
#ifndef SPENDD_HEALTH_CHECKER_FACE_H
#define SPENDD_HEALTH_CHECKER_FACE_H

#include "common/base/err.h"
#include "common/json/json.h"

struct harness;
struct face;

/* Writes the members of the document into the open object. */
typedef void face_write_fn(void *arg, struct json_out *out);

struct face *face_new(struct harness *harness, face_write_fn *write, void *arg, struct err *err);
void face_free(struct face **face);

/* Something has changed: the document is written and sent soon. */
void face_changed(struct face *face);

#endif
