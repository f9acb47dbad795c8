/* SPDX-License-Identifier: MIT */
/*
 * kvm_state.c - a vCPU's registers: for a debugger, and in a report of what went wrong.
 */
#include "cpu_kvm.h"

#include <stdio.h>
#include <string.h>

#define EFER_LMA (1U << 10)
#define NR_CODE_BYTES 16

static struct CpuSegment segment(const struct kvm_segment *s)
{
    return (struct CpuSegment){.selector = s->selector, .base = s->base, .limit = s->limit};
}

int kvm_state_get(Cpu *cpu, CpuState *state)
{
    const KvmCpu *c = cpu->state;
    struct kvm_regs r;
    struct kvm_sregs s;
    struct kvm_vcpu_events events;
    int result;

    if ((result = kvm_cpu_ioctl(c, KVM_GET_REGS, &r)) < 0 ||
        (result = kvm_cpu_ioctl(c, KVM_GET_SREGS, &s)) < 0 ||
        (result = kvm_cpu_ioctl(c, KVM_GET_VCPU_EVENTS, &events)) < 0) {
        return result;
    }
    *state = (CpuState){
        .rip = r.rip,
        .rsp = r.rsp,
        .rflags = r.rflags,
        .rax = r.rax,
        .rbx = r.rbx,
        .rcx = r.rcx,
        .rdx = r.rdx,
        .rsi = r.rsi,
        .rdi = r.rdi,
        .rbp = r.rbp,
        .r8 = r.r8,
        .r9 = r.r9,
        .r10 = r.r10,
        .r11 = r.r11,
        .r12 = r.r12,
        .r13 = r.r13,
        .r14 = r.r14,
        .r15 = r.r15,
        .cr0 = s.cr0,
        .cr2 = s.cr2,
        .cr3 = s.cr3,
        .cr4 = s.cr4,
        .efer = s.efer,
        .cs = segment(&s.cs),
        .ds = segment(&s.ds),
        .es = segment(&s.es),
        .fs = segment(&s.fs),
        .gs = segment(&s.gs),
        .ss = segment(&s.ss),
        .smm = events.flags & KVM_VCPUEVENT_VALID_SMM && events.smi.smm,
        .long_mode = s.efer & EFER_LMA && s.cs.l,
        .code32 = s.cs.db,
    };
    return 0;
}

/* ---- Reports ------------------------------------------------------------------------ */

static void report_exit(unsigned cpu, const struct kvm_run *run)
{
    switch (run->exit_reason) {
    case KVM_EXIT_FAIL_ENTRY:
        vmm_complain("CPU %u: the processor refuses to enter the guest, reason 0x%llx", cpu,
                     (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        vmm_complain("CPU %u: KVM's internal error %u%s", cpu, run->internal.suberror,
                     run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION
                         ? ": it cannot emulate the instruction"
                         : "");
        break;
    default:
        vmm_complain("CPU %u: KVM's exit %u is not known here", cpu, run->exit_reason);
        break;
    }
}

/* The instruction at @linear, as far as it is in memory. */
static void report_code(const KvmCpu *c, uint64_t linear)
{
    char text[3 * NR_CODE_BYTES + 1] = "";

    for (unsigned i = 0; i < NR_CODE_BYTES; i++) {
        struct kvm_translation at = {.linear_address = linear + i};
        MemTxResult found;
        uint8_t byte;

        if (kvm_cpu_ioctl(c, KVM_TRANSLATE, &at) < 0 || !at.valid) {
            break;
        }
        byte = address_space_ldub(&c->cpu->memory, at.physical_address,
                                  (MemTxAttrs){.memory = 1, .debug = 1}, &found);
        if (found != MEMTX_OK) {
            break;
        }
        snprintf(text + 3 * i, sizeof text - 3 * i, " %02x", byte);
    }
    vmm_complain("  code at 0x%llx:%s", (unsigned long long)linear,
                 text[0] ? text : " none that can be read");
}

void kvm_state_report(KvmCpu *c, int result)
{
    const struct kvm_run *run = kvm_vcpu_get_run(c->vcpu);
    unsigned cpu = c->cpu->index;
    CpuState s;

    if (result < 0) {
        vmm_complain("CPU %u: KVM_RUN: %s", cpu, strerror(-result));
    } else {
        report_exit(cpu, run);
    }
    result = kvm_state_get(c->cpu, &s);
    if (result < 0) {
        vmm_complain("  its registers cannot be read: %s", strerror(-result));
        return;
    }
#define X(register) (unsigned long long)s.register
    vmm_complain("  rip %llx rflags %llx cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx%s", X(rip),
                 X(rflags), X(cr0), X(cr2), X(cr3), X(cr4), X(efer), s.smm ? " smm" : "");
    vmm_complain("  rax %llx rbx %llx rcx %llx rdx %llx rsi %llx rdi %llx rbp %llx rsp %llx",
                 X(rax), X(rbx), X(rcx), X(rdx), X(rsi), X(rdi), X(rbp), X(rsp));
    vmm_complain("  r8 %llx r9 %llx r10 %llx r11 %llx r12 %llx r13 %llx r14 %llx r15 %llx", X(r8),
                 X(r9), X(r10), X(r11), X(r12), X(r13), X(r14), X(r15));
    vmm_complain("  cs %x (%llx) ds %x (%llx) es %x (%llx) ss %x (%llx)", s.cs.selector, X(cs.base),
                 s.ds.selector, X(ds.base), s.es.selector, X(es.base), s.ss.selector, X(ss.base));
#undef X
    report_code(c, s.long_mode ? s.rip : (uint32_t)(s.cs.base + s.rip));
}
