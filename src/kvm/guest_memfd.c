/* SPDX-License-Identifier: MIT */
/*
 * Memory that is private to the guest.
 *
 *      guest addresses   | shared | private |  shared  |      attributes, the kernel's
 *      slot              |           0                 |
 *      host memory       | abcdef |    .    | ghijklmn |      what the guest sees where it is
 *      guest_memfd       |   .    | XXXXXXX |    .     |      shared, and where it is private
 *
 * Attributes are of addresses, not of memory: they stay where they are when a slot goes or
 * another comes. A conversion changes them first, so that the guest does not see the other side
 * any more, and then gives that side back to the host. What cannot be given back (memory of the
 * program's, a part of a huge page) stays.
 */
#include "base/error.h"
#include "base/range.h"
#include "kvm/ioctl.h"
#include "kvm/slots.h"
#include "kvm/uapi.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

int kvm_create_guest_memfd(KVMState *s, uint64_t size, uint64_t flags, Error **errp)
{
    struct kvm_create_guest_memfd arg = {.size = size, .flags = flags};

    if (!s->caps.guest_memfd || !s->caps.user_memory2) {
        return error_pass(errp, fail(ENOTSUP, "KVM has no guest_memfd here"));
    }
    int fd = kvm_vm_ioctl(s, KVM_CREATE_GUEST_MEMFD, &arg);
    if (fd < 0) {
        fail(-fd,
             "KVM cannot create a guest_memfd of 0x%" PRIx64 " bytes (flags 0x%" PRIx64 "): %s",
             size, flags, strerror(-fd));
    }
    return error_pass(errp, fd);
}

/* ---- conversion ------------------------------------------------------------------------- */

static int check_args(const KVMState *s, hwaddr start, hwaddr size)
{
    if (!size || (start | size) & (s->page_size - 1) || start + (size - 1) < start) {
        return fail(EINVAL,
                    "0x%" PRIx64 " bytes at GPA 0x%" PRIx64 " cannot be converted: no whole pages",
                    size, start);
    }
    if (!s->caps.memory_attributes) {
        return fail(ENOTSUP, "KVM has no private memory here");
    }
    return 0;
}

static int check_slots(const KvmSpace *space, hwaddr first, hwaddr last)
{
    for (hwaddr at = first; at <= last;) {
        const Slot *slot = space ? space_first_overlap(space, at, at) : NULL;
        if (!slot || !slot->info.mr || slot->info.guest_memfd < 0) {
            return fail(EINVAL,
                        "GPA 0x%" PRIx64 " cannot be converted: no memory with a guest_memfd", at);
        }
        at = slot_last(slot) + 1;
    }
    return 0;
}

/* The guest does not see this side of [@first, @last] of @block any more. */
static int discard(RAMBlock *block, hwaddr first, hwaddr last, bool shared)
{
    hwaddr page = shared ? block->page_size : hostmem_page_size();
    hwaddr start = (first + (page - 1)) & ~(page - 1);
    hwaddr end = (last + 1) & ~(page - 1);

    if (end <= start || (shared && block->flags & RAM_PREALLOC)) {
        return 0;
    }
    return (shared ? ram_block_discard_range : ram_block_discard_guest_memfd_range)(block, start,
                                                                                    end - start);
}

static void give_back(const KvmSpace *space, hwaddr first, hwaddr last, bool shared)
{
    for (hwaddr at = first; at <= last;) {
        const Slot *slot = space_first_overlap(space, at, at);
        RAMBlock *block = slot->info.mr->ram_block;
        hwaddr end = hwaddr_min(slot_last(slot), last);
        hwaddr shift = slot->info.offset_within_region - slot->info.start_addr;
        int result = discard(block, at + shift, end + shift, shared);
        if (result) {
            kvm_report(space->s, result);
        }
        at = end + 1;
    }
}

int kvm_convert_memory(KVMState *s, hwaddr start, hwaddr size, bool to_private, Error **errp)
{
    hwaddr last = start + (size - 1);
    int result = check_args(s, start, size);

    machine_lock(s->ms);
    const KVMMemoryListener *kml = kvm_listener_of(s, KVM_AS_MEMORY);
    const KvmSpace *space = kml ? kml->space : NULL;
    if (!result) {
        result = check_slots(space, start, last);
    }
    if (!result) {
        result = kvm_set_private(s, start, last, to_private);
    }
    if (!result) {
        give_back(space, start, last, to_private);
    }
    machine_unlock(s->ms);
    return error_pass(errp, result);
}
