/* SPDX-License-Identifier: MIT */
/*
 * kvm_cpuid.c - what processor a vCPU says it is: what KVM offers on this host, and one core of a
 * package that has them all.
 *
 * The kernel offers what the host's processor is. What differs from CPU to CPU is put right
 * here; where leaves and bits are defined: SDM volume 2A, CPUID; AMD APM volume 3, appendix E.
 */
#include "cpu_kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define MAX_ENTRIES 256 /* of KVM's */
#define MAX_TOPOLOGY 3  /* entries of ours: threads, cores, the end */

#define BIT(n) (UINT32_C(1) << (n))
#define ECX_VMX BIT(5)
#define ECX_TSC_DEADLINE BIT(24)
#define ECX_OSXSAVE BIT(27)
#define ECX_HYPERVISOR BIT(31)
#define EDX_HTT BIT(28)
#define ECX_CMP_LEGACY BIT(1)
#define ECX_SVM BIT(2)

#define LEVEL_THREAD 1U
#define LEVEL_CORE 2U

/* Bits of an APIC id that number @cpus CPUs. */
static unsigned id_bits(unsigned cpus)
{
    unsigned bits = 0;

    while (1U << bits < cpus) {
        bits++;
    }
    return bits;
}

static uint32_t at_most(uint32_t value, uint32_t most)
{
    return value < most ? value : most;
}

static void with_bit(uint32_t *word, uint32_t bit, bool set)
{
    *word = set ? *word | bit : *word & ~bit;
}

/* Caches: those of the first two levels are a core's own, the others all share. */
static void share_cache(struct kvm_cpuid_entry2 *e, unsigned cpus)
{
    unsigned level = e->eax >> 5 & 7;
    uint32_t sharing = level > 2 ? (1U << id_bits(cpus)) - 1 : 0;

    e->eax = (e->eax & 0x3fff) | at_most(sharing, 0xfff) << 14;
}

static void adjust(struct kvm_cpuid_entry2 *e, unsigned id, unsigned cpus, bool tsc_deadline)
{
    unsigned bits = id_bits(cpus);

    switch (e->function) {
    case 1:
        e->ebx = (e->ebx & 0xffff) | at_most(1U << bits, 255) << 16 | id << 24;
        e->ecx = (e->ecx & ~(ECX_VMX | ECX_OSXSAVE)) | ECX_HYPERVISOR;
        with_bit(&e->ecx, ECX_TSC_DEADLINE, tsc_deadline);
        with_bit(&e->edx, EDX_HTT, cpus > 1);
        break;
    case 4:
        if (e->eax & 0x1f) {
            share_cache(e, cpus);
            e->eax |= at_most((1U << bits) - 1, 63) << 26;
        }
        break;
    case 0x80000001: /* no machines in the machine: their state would have to be reset, too */
        with_bit(&e->ecx, ECX_SVM, false);
        with_bit(&e->ecx, ECX_CMP_LEGACY, cpus > 1 && e->ecx & ECX_CMP_LEGACY);
        break;
    case 0x80000008:
        e->ecx = (e->ecx & 0xffff0000) | bits << 12 | at_most(cpus - 1, 255);
        break;
    case 0x8000001d:
        if (e->eax & 0x1f) {
            share_cache(e, cpus);
        }
        break;
    case 0x8000001e:
        e->eax = id;
        e->ebx = id & 0xff;
        e->ecx = 0;
        break;
    }
}

/* The kernel's topology leaves are the host's. */
static bool is_topology(uint32_t function)
{
    return function == 0xb || function == 0x1f || function == 0x80000026;
}

static struct kvm_cpuid_entry2 topology(unsigned index, uint32_t shift, uint32_t count,
                                        uint32_t level, unsigned id)
{
    return (struct kvm_cpuid_entry2){.function = 0xb,
                                     .index = index,
                                     .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                                     .eax = shift,
                                     .ebx = count,
                                     .ecx = level << 8 | index,
                                     .edx = id};
}

static void personalize(struct kvm_cpuid2 *cpuid, unsigned id, unsigned cpus, bool tsc_deadline)
{
    uint32_t kept = 0;
    bool has_topology = false;

    for (uint32_t i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

        has_topology |= e->function == 0xb;
        if (!is_topology(e->function)) {
            adjust(e, id, cpus, tsc_deadline);
            cpuid->entries[kept++] = *e;
        }
    }
    if (has_topology) {
        cpuid->entries[kept++] = topology(0, 0, 1, LEVEL_THREAD, id);
        cpuid->entries[kept++] = topology(1, id_bits(cpus), cpus, LEVEL_CORE, id);
        cpuid->entries[kept++] = topology(2, 0, 0, 0, id);
    }
    cpuid->nent = kept;
}

int kvm_cpuid_set(KvmCpu *c, Error **errp)
{
    const Machine *m = c->cpu->machine;
    KVMState *kvm = kvm_machine(m)->kvm;
    struct kvm_cpuid2 *cpuid =
        calloc(1, sizeof *cpuid + (MAX_ENTRIES + MAX_TOPOLOGY) * sizeof cpuid->entries[0]);
    int result;

    if (!cpuid) {
        return error_set(errp, ENOMEM, "memory is short");
    }
    cpuid->nent = MAX_ENTRIES;
    result = ioctl(kvm_fd(kvm), KVM_GET_SUPPORTED_CPUID, cpuid) < 0 ? -errno : 0;
    if (result == 0) {
        personalize(cpuid, c->cpu->index, m->nr_cpus,
                    kvm_check_extension(kvm, KVM_CAP_TSC_DEADLINE_TIMER) > 0);
        result = kvm_cpu_ioctl(c, KVM_SET_CPUID2, cpuid);
    }
    free(cpuid);
    return result < 0 ? error_set(errp, -result, "KVM's CPUID of CPU %u: %s", c->cpu->index,
                                  strerror(-result))
                      : 0;
}
