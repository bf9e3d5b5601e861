/*
 * control.h - what the files that answer commands share: the worker's state, and how to answer.
 * One function per row of commands.def, each in the file that is named for what it answers.
 */
#ifndef SPENDD_CONTROL_CONTROL_H
#define SPENDD_CONTROL_CONTROL_H

#include "common/harness/harness.h"
#include "common/json/json.h"
#include "workers/control/request.h"

struct control {
    struct harness *harness;
    struct bus *bus;
    struct bus_socket *socket;
    struct status *status;
    struct orders *orders;
    struct listeners *listeners;
    struct relays *relays;
    struct pauses *pauses;
    struct waits *waits;
    struct heard_checks *checks;
    struct crowd *crowd;
    char gate_why[200];   /* why the gate database is closed; "": it is open */
    struct json_out *out; /* for an answer that is written at once: cleared by whoever begins one */
};

#define COMMAND(id, word, least, most, arguments, help)                                            \
    void answer_##id(struct control *control, const struct request *request);
#define ORDER(id, word, least, most, arguments, help)
#define TOOL(id, word, least, most, arguments, help)
#include "common/admin/commands.def"
#undef TOOL
#undef ORDER
#undef COMMAND

/* The final answer with what stands in control->out. */
void control_answer(struct control *control, const struct route *route);

/* An answer that is JSON already.  False: the asker has left, or does not read. */
bool control_reply(struct control *control, const struct route *route, int code, const char *json,
                   size_t length);

/* {"error": "..."}: 400 wrong words, 404 no such thing, 408 waited in vain, 409 not now, 500 failed. */
void control_refuse(struct control *control, const struct route *route, int code, const char *format,
                    ...) PRINTF_LIKE(4, 5);

#endif
