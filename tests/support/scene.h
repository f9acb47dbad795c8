/* SPDX-License-Identifier: MIT */
/* scene.h - a small machine with one region of each kind, to try single calls on. */
#ifndef TESTS_SCENE_H
#define TESTS_SCENE_H

#include "device.h"

typedef struct Scene {
    MemorySystem *ms;
    AddressSpace *memory, dma;
    MemoryRegion ram, window, box, sub, root, bus; /* mapped */
    MemoryRegion grow, spare, spare_ram;           /* grow is mapped, the spares are not */
    Device *dev;
    /* what scenarios make; the fields say what is to be undone */
    MemoryRegion *made;
    AddressSpace *extra;
    MemoryListener listener;
    MemoryOwner *owner;
    void *mapped;
    hwaddr mapped_len;
    MemoryRegionCache cache;
    EventNotifier notifier;
    bool in_transaction;
    int fd;
} Scene;

/* Build the machine; end it and whatever a scenario left behind. Both assert. */
void scene_start(Scene *s);
void scene_end(Scene *s);

#endif
