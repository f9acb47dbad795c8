/* SPDX-License-Identifier: MIT */
/*
 * ioctl.h - the seam: all that membus asks of KVM goes through here, to the running kernel or to
 * who stands in for it (KVMConfig.kernel).
 *
 * Every function returns what ioctl(2) does, or a negative errno. Those that name what they do
 * leave a sentence with all its numbers.
 */
#ifndef KVM_IOCTL_H
#define KVM_IOCTL_H

#include "kvm/shortcuts.h"
#include "kvm/state.h"

int kvm_ioctl(const KVMState *s, int fd, unsigned long request, void *arg);

static inline int kvm_vm_ioctl(const KVMState *s, unsigned long request, void *arg)
{
    return kvm_ioctl(s, s->vm_fd, request, arg);
}

/* @arg as a number. */
static inline void *kvm_number(unsigned long number)
{
    return (void *)number; // NOLINT(performance-no-int-to-ptr)
}

/*
 * Make the kernel have @slot as it says, but @size bytes: those it has or, to delete it, 0. @doing:
 * "create", say.
 */
int kvm_set_slot(const KVMState *s, const KVMSlot *slot, hwaddr size, const char *doing);

int kvm_get_dirty_log(const KVMState *s, const KVMSlot *slot, void *bitmap);
/* @first and @pages: of the slot; @bitmap's first bit is page @first. */
int kvm_clear_dirty_log(const KVMState *s, const KVMSlot *slot, uint64_t first, uint32_t pages,
                        void *bitmap);

/* Protect the pages of entries that were harvested. Returns how many there were. */
int kvm_reset_dirty_rings(const KVMState *s);
/* The same without a sentence: a VM without rings refuses. */
int kvm_try_reset_dirty_rings(const KVMState *s);
/* KVM_ENABLE_CAP of the VM; leaves no sentence. */
int kvm_enable_vm_cap(const KVMState *s, unsigned extension, uint64_t arg);

/* KVM_SET_MEMORY_ATTRIBUTES: what the guest sees at [@first, @last], whole pages. */
int kvm_set_private(const KVMState *s, hwaddr first, hwaddr last, bool is_private);

/* An ioeventfd of memory or, with @ports, of ports. */
int kvm_set_ioeventfd(const KVMState *s, bool ports, const Shortcut *eventfd, bool add);
/* A zone whose writes the kernel keeps back. */
int kvm_set_coalesced(const KVMState *s, bool ports, hwaddr addr, hwaddr len, bool add);

#endif
