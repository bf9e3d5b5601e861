/*
 * checks.h - what the health checker tells: models and what is watched of the stores.
 */
#ifndef SPENDD_CONTROL_CHECKS_H
#define SPENDD_CONTROL_CHECKS_H

#include "common/base/err.h"
#include "common/json/json.h"

struct bus;
struct heard_checks;

struct heard_checks *heard_checks_new(struct bus *bus, struct err *err);
void heard_checks_free(struct heard_checks **checks); /* before the bus is closed */

/* Members of the answer to `health`: "checks" (known, why), "models", "stores". */
void heard_checks_write(const struct heard_checks *checks, struct json_out *out);

#endif
