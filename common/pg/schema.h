/*
 * schema.h - the version of spendd's own schema that this build writes and reads.
 * <schema>.schema_version has one row: (version int, install uuid, at timestamptz).  Release N runs on
 * schema N and N + 1 (migrations only expand).
 */
#ifndef SPENDD_PG_SCHEMA_H
#define SPENDD_PG_SCHEMA_H

#define SCHEMA_VERSION 1
#define SCHEMA_VERSION_MOST (SCHEMA_VERSION + 1)

#endif
