/* SPDX-License-Identifier: MIT */
/* dirty.h - what the kernel knows of the pages that the guest wrote. */
#ifndef KVM_DIRTY_H
#define KVM_DIRTY_H

#include "kvm/slots.h"

/*
 * Choose the kernel's way of it, and begin; end. Returns 0, -ENOTSUP, -EINVAL, -EBUSY (a VM that
 * was given logs in another way), -ENOMEM, or what an ioctl failed with.
 */
int dirty_log_init(KVMState *s);
void dirty_log_end(KVMState *s);

/* For a slot of @size bytes; nothing where the kernel has rings instead. -ENOMEM. */
int slot_log_alloc(const KVMState *s, hwaddr size, SlotLog *log);
void slot_log_free(SlotLog *log);
/* What was brought in is not to be cleared any more. @log's slot has @size bytes. */
void slot_log_forget(const KVMState *s, hwaddr size, SlotLog *log);

/*
 * Mark what the kernel knows of @slot. If it does not tell, all of it is marked and the program
 * told (KVMConfig.report). With rings, what is in them of other slots is marked as well; entries
 * that a vCPU's hardware still holds come with its next exit.
 * Context: machine lock held.
 */
void slot_collect_dirty(KVMState *s, Slot *slot);

/* Pages (of the host) [@first, @first + @count - 1] of @slot, all of which exist, are dirty. */
void slot_mark_dirty(const KVMState *s, const KVMSlot *slot, uint64_t first, uint64_t count);

/* The listener's callbacks of dirty logging, as the kernel's way of it asks. */
void dirty_set_callbacks(const KVMState *s, MemoryListener *listener);

#endif
