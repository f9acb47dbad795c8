/* SPDX-License-Identifier: MIT */
/*
 * kvm_scene.h - a board with memory of each kind, devices over it and windows onto it, and random
 * edits of it. Needs no oracle: what it shows is asked of the flat view.
 */
#ifndef TESTS_KVM_SCENE_H
#define TESTS_KVM_SCENE_H

#include "kvm_oracle.h"
#include "rng.h"
#include <membus/membus.h>

enum {
    K_RAM,               /* 32 pages */
    K_RAM2,              /* 16 */
    K_ODD,               /* 8, whose host memory begins within a page */
    K_ROM,               /* 8 */
    K_FLASH,             /* a ROM device of 8 */
    K_DEV,               /* a RAM device of 4 */
    K_GROW,              /* resizeable, 1 to 16 */
    K_MMIO,              /* and five more devices, of 16 bytes to 4 pages */
    K_BOX = K_MMIO + 6,  /* two containers */
    K_ALIAS = K_BOX + 2, /* windows */
    K_REGIONS = K_ALIAS + 8
};

typedef struct KvmScene {
    Rng rng;
    MemorySystem *ms;
    AddressSpace smm;
    uint64_t base; /* address of all */
    MemoryRegion board, smm_root, smm_ram, smm_window, mr[K_REGIONS];
    int in[K_REGIONS]; /* -1: nowhere; K_REGIONS: the board; else a box */
    uint8_t *odd, *dev;
    char did[512]; /* the edits since it was cleared */
} KvmScene;

void kvm_scene_start(KvmScene *s, uint64_t seed, uint64_t base);
void kvm_scene_end(KvmScene *s);
/* One edit; within a transaction or not. Returns what the call did. */
int kvm_scene_edit(KvmScene *s);

#endif
