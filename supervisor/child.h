/*
 * child.h - one child's life as a table (child.def): state x event -> action and next state.  Pure.
 */
#ifndef SPENDD_SUPERVISOR_CHILD_H
#define SPENDD_SUPERVISOR_CHILD_H

#include <stdio.h>

enum child_state {
    CHILD_STOPPED,  /* no process, and none wanted */
    CHILD_HELD,     /* no process, because its gate is closed */
    CHILD_STARTING, /* process, not ready yet */
    CHILD_READY,
    CHILD_DRAINING, /* told to leave */
    CHILD_BACKOFF,  /* no process; started again when due */
    CHILD_FAILED,   /* no process: configuration or build; waits for a reload */
    CHILD_STATES
};

enum child_event {
    CHILD_START,   /* it should run, and may */
    CHILD_HOLD,    /* its gate is closed */
    CHILD_STOP,    /* it should leave */
    CHILD_IS_UP,   /* it said ready */
    CHILD_DUE,     /* the pause is over */
    CHILD_EXITED,  /* reaped, whatever the reason, except... */
    CHILD_REFUSED, /* ...exit 78, or it was of another build */
    CHILD_SILENT,  /* no sign of life for too long */
    CHILD_RELOAD,  /* a new configuration, or the operator's word to try afresh */
    CHILD_EVENTS
};

enum child_action {
    CHILD_NOTHING,
    CHILD_SPAWN,
    CHILD_DRAIN,  /* say drain, or say it again with less time */
    CHILD_ABORT,  /* SIGABRT now, SIGKILL soon */
    CHILD_RETRY,  /* settle when to start again */
    CHILD_SETTLE, /* START or HOLD it if it is wanted by now */
    CHILD_BUG,    /* cannot happen */
    CHILD_ACTIONS
};

struct child_step {
    enum child_action action;
    enum child_state next;
};

struct child_step child_step(enum child_state state, enum child_event event);

const char *child_state_name(enum child_state state);

/* The table for people: a line for each state and event in which something happens. */
void child_print(FILE *to);

#endif
