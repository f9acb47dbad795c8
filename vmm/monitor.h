/* SPDX-License-Identifier: MIT */
/*
 * monitor.h - commands for who watches a machine: on the console, or on a unix socket, in text or
 * in JSON (docs/monitor.md). A session has a thread of its own, so that a command may wait; it
 * takes the machine lock where what it calls asks for it.
 */
#ifndef VMM_MONITOR_H
#define VMM_MONITOR_H

#include "machine.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>

/* ---- The monitor ------------------------------------------------------------------- */

/*
 * The monitor of @m, reached from m->console (if there is one and it is used) and from what
 * --monitor says. Sets m->monitor. Returns 0 or a negative errno. Context of both: no machine lock
 * held.
 */
int monitor_create(Machine *m, Error **errp);
/* Ends its sessions; the CPUs' threads are there still. Fine without one. */
void monitor_destroy(Machine *m);

/* ---- Sessions ------------------------------------------------------------------------ */

typedef struct MonitorSession {
    Machine *machine;
    unsigned cpu;              /* whose registers and memory are meant */
    const atomic_bool *ending; /* what takes long looks at it; NULL: it need not */
    bool quit;                 /* the machine is to end when this was answered */
} MonitorSession;

/* Serve who is at @in and @out until one of them ends. @edit: they are a terminal. */
void monitor_serve_text(MonitorSession *session, FILE *in, FILE *out, bool edit);
void monitor_serve_json(MonitorSession *session, FILE *in, FILE *out);

/* Carry out @line and print what comes of it; @line is cut into words. */
void monitor_execute_text(MonitorSession *session, char *line, FILE *out);
/* The reply to @request, to be freed; NULL if memory is short. */
json_t *monitor_execute_json(MonitorSession *session, const char *request, size_t length);

/* ---- Commands --------------------------------------------------------------------------- */

typedef enum MonitorParamKind {
    MONITOR_NO_PARAM,
    MONITOR_FLAG,   /* -L, true */
    MONITOR_FORMAT, /* /8xb */
    MONITOR_NUMBER, /* 4096, 0x1000, $rip + 8 */
    MONITOR_WORD,
} MonitorParamKind;

typedef struct MonitorParam {
    const char *name;
    MonitorParamKind kind;
    char letter; /* of a flag */
    bool optional;
} MonitorParam;

#define MONITOR_MAX_PARAMS 5

typedef struct MonitorArg {
    bool given;
    uint64_t number;
    const char *text;
} MonitorArg;

/* A command that is being carried out. */
typedef struct MonitorCall {
    MonitorSession *session;
    Machine *machine;
    MonitorArg args[MONITOR_MAX_PARAMS]; /* in the order of the command's params */
    FILE *out;                           /* text, which is the result unless there is another */
    bool json;                           /* a program asks */
    json_t *result;                      /* for a program; NULL: the text */
    Error *err;
} MonitorCall;

typedef struct MonitorCommand {
    const char *name;
    const char *usage, *help;
    MonitorParam params[MONITOR_MAX_PARAMS];
    /* Returns 0 or a negative errno with call->err. Context: no lock held; may block. */
    int (*run)(MonitorCall *call);
} MonitorCommand;

/* All, ending in one without a name; other names of one have no usage. */
extern const MonitorCommand monitor_commands[];
/* The command that @text begins with, and what is behind its name; NULL: there is none. */
const MonitorCommand *monitor_find_command(const char *text, const char **rest);

/* Sums of numbers and registers ($rip, $cr3 ...). Returns 0 or a negative errno. */
int monitor_evaluate(MonitorSession *session, const char *text, uint64_t *value, Error **errp);
/* The state of the session's CPU; the machine stands still for the moment. */
int monitor_cpu_state(MonitorSession *session, CpuState *state, Error **errp);
/* What that CPU reaches: SMM's memory, if it is in SMM. */
AddressSpace *monitor_memory(MonitorSession *session, const CpuState *state);

/* "0x" and 16 digits, as everywhere in JSON. */
json_t *monitor_json_address(uint64_t addr);
json_t *monitor_json_text(const char *text);
/* Give up a list that was being made, if memory was short. */
int monitor_set_result(MonitorCall *call, json_t *result);

/* monitor_mtree.c, monitor_info.c */
int monitor_info_mtree(MonitorCall *call);
int monitor_info_ramblock(MonitorCall *call);
int monitor_info_memory_devices(MonitorCall *call);
int monitor_info_memdev(MonitorCall *call);
int monitor_info_slots(MonitorCall *call);
/* monitor_cpu.c */
int monitor_cpu(MonitorCall *call);
int monitor_info_registers(MonitorCall *call);
int monitor_info_pci(MonitorCall *call);
/* monitor_dirty.c */
int monitor_info_dirty(MonitorCall *call);
int monitor_dirty(MonitorCall *call);
/* monitor_dump.c */
int monitor_x(MonitorCall *call);
int monitor_xp(MonitorCall *call);
int monitor_gva2gpa(MonitorCall *call);
/* monitor_find.c, monitor_memory.c */
int monitor_find(MonitorCall *call);
int monitor_gpa2hva(MonitorCall *call);
int monitor_gpa2hpa(MonitorCall *call);
int monitor_pmemsave(MonitorCall *call);
int monitor_screen(MonitorCall *call);
/* monitor_control.c */
int monitor_object_add(MonitorCall *call);
int monitor_object_del(MonitorCall *call);
int monitor_device_add(MonitorCall *call);
int monitor_device_del(MonitorCall *call);
int monitor_stop(MonitorCall *call);
int monitor_cont(MonitorCall *call);
int monitor_system_reset(MonitorCall *call);
int monitor_quit(MonitorCall *call);
int monitor_info_status(MonitorCall *call);

#endif
