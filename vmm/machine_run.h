/* SPDX-License-Identifier: MIT */
/*
 * machine_run.h - how the machine's threads are run, paused and ended: loop.c, cpus.c, machine.c.
 */
#ifndef VMM_MACHINE_RUN_H
#define VMM_MACHINE_RUN_H

#include "machine.h"

#include <pthread.h>

#define NS_PER_SECOND INT64_C(1000000000)

/* A CPU's thread. */
typedef struct CpuThread {
    pthread_t thread;
    bool started, parked; /* RunState.lock */
} CpuThread;

typedef struct RunState {
    pthread_mutex_t lock; /* guards the following; nothing is called with it held */
    pthread_cond_t changed;
    unsigned pauses; /* who wants the CPUs to stand still; they run at 0 */
    bool ending;     /* their threads return */
    MachineRequest request;
    int status;

    pthread_mutex_t control; /* one at a time pauses, resets and resumes; before the machine lock */
    bool stopped;            /* by machine_stop(): one of the pauses. control */

    /* machine lock */
    bool clock_stopped;
    int64_t clock_at_stop, clock_offset; /* ns */
    Timer *timers;                       /* by deadline */
    int64_t give_up_at;                  /* host's time, ns; 0: never. The loop's thread */
} RunState;

Loop *loop_create(Machine *m);
void loop_destroy(Loop *loop);
void loop_give_up_after(Machine *m, double seconds);
/* Returns the exit status. */
int loop_run(Machine *m);

/* Context: machine lock. */
void machine_clock_stop(Machine *m);
void machine_clock_start(Machine *m);

/* Do what was requested; true: the machine is to end with *@status. Context: the loop. */
bool machine_serve_requests(Machine *m, int *status);

/* Sleep until the loop has taken up what a CPU requested. Context: a CPU's thread. */
void machine_wait_for_request(Machine *m);

/* In the order of a machine's life. Context of create and destroy: machine lock. */
int cpus_choose_kind(Machine *m, Error **errp);
int cpus_create(Machine *m, Error **errp);
int cpus_start(Machine *m, Error **errp); /* their threads, which wait while there are pauses */
void cpus_wait_parked(Machine *m);        /* RunState.pauses is above 0 */
void cpus_end(Machine *m);                /* their threads */
void cpus_destroy(Machine *m);
void cpus_finalize(Machine *m); /* no reader is left */
void cpus_free(Machine *m);     /* their storage, when the memory system has ended */

/* board.c: read -m; build the board on m->ms; end it. Context: machine lock, but options. */
int board_read_options(Machine *m, Error **errp);
int board_create(Machine *m, Error **errp);
void board_dismantle(Machine *m); /* nobody reaches anything any more once readers have gone */
void board_destroy(Machine *m);

/* trace.c: --trace-map, where it was asked for. Context: no lock. */
int trace_begin(Machine *m, Error **errp);
void trace_end(Machine *m);

/*
 * machine.c. m->run and m->loop, with one pause, which machine_power_on() ends; and their end.
 * Context: no lock.
 */
int machine_run_begin(Machine *m, Error **errp);
void machine_run_end(Machine *m);

/* machine.c. The first reset, after which the guest runs. Context: as machine_stop(). */
void machine_power_on(Machine *m);

#endif
