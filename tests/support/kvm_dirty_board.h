/* SPDX-License-Identifier: MIT */
/*
 * kvm_dirty_board.h - 1 MiB of RAM at 0 under the fake KVM, with one vCPU, whose dirty pages are
 * asked for. Needs cmocka.h before it.
 */
#ifndef TESTS_KVM_DIRTY_BOARD_H
#define TESTS_KVM_DIRTY_BOARD_H

#include "kvm_fake.h"
#include "machine.h"

enum { PAGE = 4096, PAGES = 256, A = DIRTY_MEMORY_VGA, B = DIRTY_MEMORY_MIGRATION };

typedef struct Board {
    KvmFake *fake;
    MemorySystem *ms;
    KVMState *kvm;
    KVMVcpu *cpu;
    KVMMemoryListener memory;
    MemoryRegion ram, twin;
    unsigned pauses, reports;
    bool marked_at_reset, wide_pages; /* for hooks */
    /* May look at an ioctl that comes; true: it is served. */
    bool (*before_ioctl)(struct Board *b, unsigned long request, void *arg);
} Board;

/* For kvm_create(): reports and pauses are counted, the rings' thread never wakes. */
KVMConfig kvm_dirty_board_config(Board *b, KVMDirtyLog mode);
/* @memory NULL: RAM of its own. @reap_ms 0: never. @caps NULL: all. */
void kvm_dirty_board_begin_with(Board *b, KVMDirtyLog mode, void *memory, unsigned reap_ms,
                                const KvmFakeCaps *caps);
void kvm_dirty_board_begin(Board *b, KVMDirtyLog mode);
void kvm_dirty_board_end(Board *b);

/* The guest writes. */
void write_at(Board *b, hwaddr gpa);
void write_page(Board *b, unsigned page);

void sync_now(Board *b);
void log_for(Board *b, unsigned client, bool on);
/* How many pages @client takes; *@first (may be NULL): the first of them. */
uint64_t take(Board *b, unsigned client, uint64_t *first);
/* ... is this one alone. */
void takes_page(Board *b, unsigned client, uint64_t page);

#endif
