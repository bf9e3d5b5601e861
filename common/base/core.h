/*
 * core.h - may this process leave a core file, and may others of its user look into it?
 */
#ifndef SPENDD_BASE_CORE_H
#define SPENDD_BASE_CORE_H

/* For a process that holds secrets, before it is given any: core limit 0, no ptrace and no /proc/PID/mem
 * by others of the same user (PR_SET_DUMPABLE 0).  Not under AddressSanitizer, whose leak check attaches to
 * its own process. */
void core_forbid(void);

/* For a process without secrets whose parent has forbidden itself: as the operator's hard limit says. */
void core_allow(void);

#endif
