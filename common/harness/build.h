/*
 * build.h - which build this executable belongs to.  The build id is the first record on fd 3: a worker
 * of another build than its supervisor is refused.
 */
#ifndef SPENDD_HARNESS_BUILD_H
#define SPENDD_HARNESS_BUILD_H

extern const char build_id[];      /* "0.1.0-1234567890ab" */
extern const char build_version[]; /* "0.1.0" */

#endif
