/* SPDX-License-Identifier: MIT */
/*
 * mirror.h - a listener that keeps its own copy of an address space from nothing but what it is
 * told, and complains of every call that does not fit.
 */
#ifndef TESTS_MIRROR_H
#define TESTS_MIRROR_H

#include "shown.h"
#include <membus/listener.h>

/* An ioeventfd or a coalesced range, as told. */
typedef struct MirrorSignal {
    bool is_eventfd;
    hwaddr addr, length;
    uint64_t data;
} MirrorSignal;

#define MIRROR_SIGNALS 512

typedef struct Mirror {
    MemoryListener listener;
    Shown shown;
    MirrorSignal signal[MIRROR_SIGNALS]; /* in no order */
    unsigned signals;
    const char *error; /* the first complaint, or NULL */
    bool open;         /* between begin and commit */
    unsigned begins, adds, dels, nops, masks;
    bool past_dels; /* of this space, in this commit */
    hwaddr last_del, last_add;
    bool has_del, has_add;
} Mirror;

/* @nop: whether the listener has region_nop, which must then come for each unchanged range. */
void mirror_init(Mirror *mirror, const char *name, bool nop);
/* Reset the counters, not the copy. */
void mirror_forget_counts(Mirror *mirror);
/* Whether it is there; each may be there several times. */
bool mirror_take_signal(Mirror *mirror, MirrorSignal signal);
void mirror_put_signal(Mirror *mirror, MirrorSignal signal);
void mirror_free(Mirror *mirror);

#endif
