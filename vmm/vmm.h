/* SPDX-License-Identifier: MIT */
/*
 * vmm.h - boot a PC (i440FX) whose memory system is membus. What the `membus` command sees of vmm/.
 */
#ifndef VMM_VMM_H
#define VMM_VMM_H

#include <membus/types.h>

/* A machine as the command line describes it. What is NULL, 0 or false was not said. */
typedef struct VmmOptions {
    const char *accel;          /* auto, kvm, soft */
    const char *memory;         /* SIZE[,slots=N,maxmem=SIZE] */
    unsigned smp;               /* CPUs */
    const char *memory_backend; /* options of hostmem.h, for pc.ram */
    const char *bios;           /* file */
    const char *disk;           /* FILE[,readonly] */
    const char *kernel, *initrd, *append;
    const char *serial;    /* stdio, pty, file:F, null */
    const char *debugcon;  /* file */
    const char *monitor;   /* stdio, unix:PATH[,json] */
    const char *exit_on;   /* end when the guest's serial console has printed this */
    double timeout;        /* seconds; 0: none */
    const char *trace_map; /* file */
    bool bridge;           /* the disk is behind a PCI bridge */
} VmmOptions;

/* How a run ended: the exit status of `membus boot`. */
enum {
    VMM_DONE = 0,     /* --exit-on was seen; the guest, or the user, powered it off */
    VMM_TIMEOUT = 1,  /* --timeout, and --exit-on was not seen */
    VMM_TROUBLE = 2,  /* the machine cannot be built; a file cannot be read */
    VMM_CRASHED = 3,  /* a CPU cannot go on */
    VMM_SIGNAL = 128, /* and the number of the signal that ended it */
};

/* Build the machine and run it to its end; says on standard error what goes wrong. */
int vmm_run(const VmmOptions *options);

#endif
