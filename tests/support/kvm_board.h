/* SPDX-License-Identifier: MIT */
/*
 * kvm_board.h - a small machine under the fake kernel, and changes of its map, one of each kind,
 * that can be made and taken back.
 */
#ifndef TESTS_KVM_BOARD_H
#define TESTS_KVM_BOARD_H

#include "kvm_fake.h"
#include <membus/membus.h>

typedef struct KvmBoard {
    MemorySystem *ms;
    MemoryRegion ram, rom, mmio, window, aside, swapped[2], card;
    EventNotifier bell; /* of the card */
    KvmFake *fake;
    KVMState *kvm;
    KVMMemoryListener listener;
    unsigned reports;
    void (*heal)(struct KvmBoard *b); /* end what makes calls fail; may be NULL */
    unsigned long failed;             /* for the use of heal */
} KvmBoard;

typedef struct KvmFound {
    KvmFakeSlot slot[64];
    unsigned slots;
} KvmFound;

/* The board is mapped (in four slots), not registered. */
void kvm_board_start(KvmBoard *b, unsigned nr_memslots);
void kvm_board_end(KvmBoard *b);

void kvm_board_slots(KvmBoard *b, KvmFound *found);
/* What the guest finds where; the numbers and cuts of the slots may differ. */
bool kvm_board_same(const KvmFound *a, const KvmFound *b);
/* The slots are what the view in force shows, or the test fails: @what, call @k. */
void kvm_board_follows(KvmBoard *b, const char *what, unsigned long k);

/* A device's page within the RAM; a window onto the RAM at 4 MiB. There, and back again. */
int kvm_board_punch(KvmBoard *b, bool back);
int kvm_board_show(KvmBoard *b, bool back);
/* Something far from all changes comes and goes. */
void kvm_board_touch(KvmBoard *b);

typedef struct KvmChange {
    const char *name;
    /* 0 or a negative errno: nothing has changed. */
    int (*change)(KvmBoard *b, bool back);
    unsigned least; /* failing calls, there and back, once and for good */
} KvmChange;

#define KVM_CHANGES 8
extern const KvmChange kvm_changes[KVM_CHANGES];

#endif
