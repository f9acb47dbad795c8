/* SPDX-License-Identifier: MIT */
#include "code.h"
#include "check.h"
#include <sys/ioctl.h>

#define CODE(name, mode_)                                                                          \
    extern const uint8_t name##_begin[], name##_end[];                                             \
    const Code code_##name = {.mode = mode_, .begin = name##_begin, .end = name##_end}

CODE(hello, CODE_REAL);
CODE(asks, CODE_REAL);
CODE(smi, CODE_REAL);
CODE(sums, CODE_FLAT);
CODE(hammer, CODE_FLAT);
CODE(banks, CODE_FLAT);
CODE(scribble, CODE_FLAT);
CODE(io, CODE_FLAT);

#define CR0_PE 1U
#define EFLAGS_ALWAYS 2U
#define CODE_SEGMENT 0xbU /* execute, read, accessed */
#define DATA_SEGMENT 0x3U /* read, write, accessed */

size_t code_size(const Code *code)
{
    return (size_t)(code->end - code->begin);
}

static struct kvm_segment flat_segment(unsigned type, unsigned selector)
{
    return (struct kvm_segment){
        .base = 0,
        .limit = UINT32_MAX,
        .selector = (uint16_t)selector,
        .type = type & 0xf,
        .present = 1,
        .db = 1,
        .s = 1,
        .g = 1,
    };
}

static void enter_flat(struct kvm_sregs *sregs)
{
    sregs->cs = flat_segment(CODE_SEGMENT, 8);
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = flat_segment(DATA_SEGMENT, 16);
    sregs->cr0 |= CR0_PE;
}

static void enter_real(struct kvm_sregs *sregs, uint32_t address)
{
    sregs->cs.base = address;
    sregs->cs.selector = (uint16_t)(address >> 4);
    sregs->ds.base = sregs->es.base = sregs->ss.base = 0;
    sregs->ds.selector = sregs->es.selector = sregs->ss.selector = 0;
}

void code_enter(int vcpu_fd, const Code *code, uint32_t address, const struct kvm_regs *regs)
{
    struct kvm_regs start = *regs;
    struct kvm_sregs sregs;

    CALL(ioctl(vcpu_fd, KVM_GET_SREGS, &sregs));
    if (code->mode == CODE_FLAT) {
        enter_flat(&sregs);
        start.rip = address;
    } else {
        enter_real(&sregs, address);
        start.rip = 0;
    }
    start.rflags = EFLAGS_ALWAYS;
    CALL(ioctl(vcpu_fd, KVM_SET_SREGS, &sregs));
    CALL(ioctl(vcpu_fd, KVM_SET_REGS, &start));
}
