/*
 * keys.h - CURVE keys: are the files that the settings name as they must be; and `spendd --curve-keys`.
 */
#ifndef SPENDD_SUPERVISOR_KEYS_H
#define SPENDD_SUPERVISOR_KEYS_H

#include "common/base/attr.h"
#include "common/base/err.h"
#include "common/config/settings.h"

/* Certificates readable, whole, closed to others; directories of clients there.  -1: one is not. */
int keys_check(const struct settings *settings, struct err *err) MUST_CHECK;

/* `spendd --curve-keys DIR [NAME]`: makes a key pair and says what to do with it.  Without a name the
 * server's: DIR/server.key and DIR/server.pub; with one a client's: DIR/NAME.key and DIR/clients/NAME.pub.
 * Nothing is written over.  The exit code. */
int keys_make(const char *directory, const char *name) MUST_CHECK;

#endif
