/* SPDX-License-Identifier: MIT */
/* kvm_pair.h - the fake kernel and the running one, asked the same and compared. Needs cmocka.h. */
#ifndef TESTS_KVM_PAIR_H
#define TESTS_KVM_PAIR_H

#include "kvm_fake_state.h"
#include "kvm_host.h"
#include "rng.h"

#define GUEST_PAGES 24 /* that slots are in, from 0 */
#define HOST_PAGES 80
#define EVENTFDS 4

#define BITMAP 1024 /* bytes */
typedef enum Mode { PLAIN, MANUAL, ALL_SET, RING } Mode;

typedef struct Pair {
    Rng rng;
    KvmFake *fake;
    KvmHost host;
    int fake_vm, fake_vcpu;
    uint8_t *memory, *area; /* the slots'; the fake vCPU's */
    size_t area_size;
    unsigned nr_memslots;
    int event[2][EVENTFDS]; /* the fake's, the host's */
    uint8_t bitmap[2][BITMAP];
    unsigned long done, agreed[3]; /* answers: 0, refused, other */
    unsigned step;
    bool overlaps; /* zones may */
} Pair;

uint64_t pair_pick(Pair *p, const uint64_t *from, unsigned n);
/* One of the numbers that follow. */
#define PICK(p, ...)                                                                               \
    pair_pick(p, (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / 8)

/* Ask both. */

/* Both with one vCPU, and a slot for its code; skips the test where /dev/kvm cannot be used. */
void pair_start(Pair *p, uint64_t seed, Mode mode);
void pair_end(Pair *p);

/* What both answer; the test fails, and says @what, if they differ. */
int pair_ask(Pair *p, unsigned long request, void *ours, void *theirs, const char *what);
/*
 * The guest stores (writes to a port) 1, 2 or 4 bytes; what comes of it is compared, except where
 * there is no host memory or the kernel's answer is a matter of chance.
 */
void pair_store(Pair *p, uint32_t gpa, uint32_t data, unsigned len);
void pair_out(Pair *p, uint16_t port, uint32_t data, unsigned len);
/* Zones of a bus overlap each other, or ioeventfds. */
bool pair_is_ambiguous(const KvmFake *fake, bool pio);

#endif
