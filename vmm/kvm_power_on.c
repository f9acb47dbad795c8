/* SPDX-License-Identifier: MIT */
/*
 * kvm_power_on.c - a vCPU's whole state: at power-on, and so after a reset.
 *
 * A vCPU that has just been made is a processor at power-on: its whole state is noted then,
 * and put back at reset. So nobody has to know what each register of each processor begins with.
 */
#include "cpu_kvm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define CR4_PAE (1U << 5)
#define MSR_TSC 0x10
#define MSR_MISC_ENABLE 0x1a0
#define MISC_ENABLE_FAST_STRINGS 1U
#define MTRR_VARIABLE 0x200 /* pairs of base and mask */
#define NR_MTRR_VARIABLE 16
#define HYPERV_FIRST 0x40000000U
#define HYPERV_LAST 0x40000fffU

/* MTRRs: older kernels do not list them among the MSRs that make up a vCPU's state. */
static const uint32_t mtrrs[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                 0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x2ff};

typedef struct KvmPowerOn {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debugregs;
    struct kvm_vcpu_events events;
    struct kvm_lapic_state lapic;
    struct kvm_mp_state mp_state;
    struct kvm_xsave *xsave; /* as long as the kernel wants it */
    struct kvm_msr_entry *msrs;
    unsigned nr_msrs;
} KvmPowerOn;

/* ---- Power-on ---------------------------------------------------------------------- */

/*
 * In the order of putting back: leaving SMM comes before the registers that it had swapped; where
 * the local APIC is (sregs) before what is in it; and who waits for a start-up IPI at last.
 */
static const struct {
    const char *name;
    unsigned long get, set;
    size_t offset;
    int needs; /* a KVM_CAP_*; 0: every kernel has it */
} parts[] = {
    {"events", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, offsetof(KvmPowerOn, events), 0},
    {"special registers", KVM_GET_SREGS, KVM_SET_SREGS, offsetof(KvmPowerOn, sregs), 0},
    {"registers", KVM_GET_REGS, KVM_SET_REGS, offsetof(KvmPowerOn, regs), 0},
    {"XCRs", KVM_GET_XCRS, KVM_SET_XCRS, offsetof(KvmPowerOn, xcrs), KVM_CAP_XCRS},
    {"debug registers", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, offsetof(KvmPowerOn, debugregs), 0},
    {"local APIC", KVM_GET_LAPIC, KVM_SET_LAPIC, offsetof(KvmPowerOn, lapic), 0},
    {"run state", KVM_GET_MP_STATE, KVM_SET_MP_STATE, offsetof(KvmPowerOn, mp_state), 0},
};
#define NR_PARTS (sizeof parts / sizeof parts[0])

static bool has_part(const KvmCpu *c, size_t i)
{
    KVMState *kvm = kvm_machine(c->cpu->machine)->kvm;

    return !parts[i].needs || kvm_check_extension(kvm, (unsigned)parts[i].needs) > 0;
}

static int access_msr(const KvmCpu *c, unsigned long request, struct kvm_msr_entry *entry)
{
    union {
        struct kvm_msrs list;
        uint8_t space[sizeof(struct kvm_msrs) + sizeof *entry];
    } one = {.list.nmsrs = 1};

    one.list.entries[0] = *entry;
    int result = kvm_cpu_ioctl(c, request, &one);
    *entry = one.list.entries[0];
    return result < 0 ? result : result == 1 ? 0 : -EINVAL;
}

/* MSRs that this vCPU has and that can be put back. */
static void save_msr(const KvmCpu *c, uint32_t index)
{
    KvmPowerOn *on = c->power_on;
    struct kvm_msr_entry entry = {.index = index};

    if ((index >= HYPERV_FIRST && index <= HYPERV_LAST) ||
        access_msr(c, KVM_GET_MSRS, &entry) < 0) {
        return;
    }
    if (index == MSR_TSC) {
        entry.data = 0;
    } else if (index == MSR_MISC_ENABLE) {
        entry.data |= MISC_ENABLE_FAST_STRINGS; /* or Linux does without them */
    }
    if (access_msr(c, KVM_SET_MSRS, &entry) == 0) {
        on->msrs[on->nr_msrs++] = entry;
    }
}

static int save_msrs(KvmCpu *c)
{
    KVMState *kvm = kvm_machine(c->cpu->machine)->kvm;
    struct kvm_msr_list count = {0}, *list;
    const unsigned nr_mtrrs = sizeof mtrrs / sizeof mtrrs[0];
    int result = 0;

    /* E2BIG, and how many there are. */
    if (ioctl(kvm_fd(kvm), KVM_GET_MSR_INDEX_LIST, &count) < 0 && errno != E2BIG) {
        return -errno;
    }
    list = calloc(1, sizeof *list + count.nmsrs * sizeof list->indices[0]);
    c->power_on->msrs =
        calloc(count.nmsrs + nr_mtrrs + NR_MTRR_VARIABLE, sizeof *c->power_on->msrs);
    if (!list || !c->power_on->msrs) {
        free(list);
        return -ENOMEM;
    }
    list->nmsrs = count.nmsrs;
    if (ioctl(kvm_fd(kvm), KVM_GET_MSR_INDEX_LIST, list) < 0) {
        result = -errno;
    }
    for (uint32_t i = 0; result == 0 && i < list->nmsrs; i++) {
        save_msr(c, list->indices[i]);
    }
    for (uint32_t i = 0; result == 0 && i < nr_mtrrs; i++) {
        save_msr(c, mtrrs[i]);
    }
    for (uint32_t i = 0; result == 0 && i < NR_MTRR_VARIABLE; i++) {
        save_msr(c, MTRR_VARIABLE + i);
    }
    free(list);
    return result;
}

static int save_xsave(KvmCpu *c)
{
    KVMState *kvm = kvm_machine(c->cpu->machine)->kvm;
    int size = kvm_vm_check_extension(kvm, KVM_CAP_XSAVE2);
    bool large = size > (int)sizeof(struct kvm_xsave);

    c->power_on->xsave = calloc(1, large ? (size_t)size : sizeof(struct kvm_xsave));
    if (!c->power_on->xsave) {
        return -ENOMEM;
    }
    return kvm_cpu_ioctl(c, large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, c->power_on->xsave);
}

int kvm_power_on_save(KvmCpu *c, Error **errp)
{
    const char *what = "memory";
    int result = -ENOMEM;

    c->power_on = calloc(1, sizeof *c->power_on);
    if (c->power_on) {
        what = "extended registers";
        result = save_xsave(c);
    }
    for (size_t i = 0; i < NR_PARTS && result >= 0; i++) {
        if (has_part(c, i)) {
            what = parts[i].name;
            result = kvm_cpu_ioctl(c, parts[i].get, (char *)c->power_on + parts[i].offset);
        }
    }
    if (result >= 0) {
        what = "MSRs";
        result = save_msrs(c);
    }
    return result < 0 ? error_set(errp, -result, "KVM does not tell CPU %u's %s: %s", c->cpu->index,
                                  what, strerror(-result))
                      : 0;
}

void kvm_power_on_free(KvmCpu *c)
{
    if (c->power_on) {
        free(c->power_on->xsave);
        free(c->power_on->msrs);
        free(c->power_on);
    }
}

/*
 * After a shutdown Linux 6.1 on AMD processors has wiped what it gives to the processor, the root
 * of the nested page tables too, and fills that in again only when the way of paging changes: a
 * guest that had no paging would not run any more.
 */
static int reload_page_tables(const KvmCpu *c)
{
    struct kvm_sregs other = c->power_on->sregs;

    other.cr4 ^= CR4_PAE;
    return kvm_cpu_ioctl(c, KVM_SET_SREGS, &other);
}

void kvm_power_on_restore(KvmCpu *c)
{
    KvmPowerOn *on = c->power_on;
    const char *what = "extended registers";
    int result = kvm_cpu_ioctl(c, KVM_SET_XSAVE, on->xsave);

    if (result >= 0) {
        what = "page tables";
        result = reload_page_tables(c);
    }
    /* MSRs first: some work on what an APIC or a register holds. */
    for (unsigned i = 0; i < on->nr_msrs && result >= 0; i++) {
        what = "MSRs";
        result = access_msr(c, KVM_SET_MSRS, &on->msrs[i]);
    }
    for (size_t i = 0; i < NR_PARTS && result >= 0; i++) {
        if (has_part(c, i)) {
            what = parts[i].name;
            result = kvm_cpu_ioctl(c, parts[i].set, (char *)on + parts[i].offset);
        }
    }
    if (result < 0) {
        vmm_complain("KVM does not reset CPU %u's %s: %s", c->cpu->index, what, strerror(-result));
    }
}
