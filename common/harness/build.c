/*
 * build.c - the one object that holds the build id and the version; the Makefile passes both, so that
 * a new commit compiles one file again.  Two constants: nothing can be half done.
 */
#include "common/harness/build.h"

#ifndef SPENDD_BUILD
#error "SPENDD_BUILD and SPENDD_VERSION come from the Makefile"
#endif

const char build_id[] = SPENDD_BUILD;
const char build_version[] = SPENDD_VERSION;
