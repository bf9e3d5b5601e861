/*
 * secret.h - a secret as it stands in the settings, made readable: `file:/path` is read at each use
 * (each connect), so that a rotated password needs no restart.  Blocks for one read of a small file.
 */
#ifndef SPENDD_CONFIG_SECRET_H
#define SPENDD_CONFIG_SECRET_H

#include "common/base/attr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

bool secret_is_file(const char *value);

/* The text itself, or the contents of its file without the line end.  -1: err says why, never what. */
int secret_read(const char *value, char *to, size_t size, struct err *err) MUST_CHECK;

#endif
