/* SPDX-License-Identifier: MIT */
#include "kvm/ioctl.h"

#include "base/error.h"
#include "kvm/uapi.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

int kvm_ioctl(const KVMState *s, int fd, unsigned long request, void *arg)
{
    int result;

    do {
        if (s->config.kernel.ioctl) {
            result = s->config.kernel.ioctl(s->config.kernel.opaque, fd, request, arg);
        } else {
            result = ioctl(fd, request, arg);
        }
        if (result == -1 && !s->config.kernel.ioctl) {
            result = -errno;
        }
    } while (result == -EINTR && request != KVM_RUN);
    return result;
}

/* ---- slots ---------------------------------------------------------------------- */

/* Flags by name: "READONLY|LOG". */
typedef struct FlagNames {
    char text[48];
} FlagNames;

static FlagNames name_flags(uint32_t flags)
{
    FlagNames names;

    snprintf(names.text, sizeof names.text, "0x%x%s%s%s", flags,
             flags & KVM_MEM_LOG_DIRTY_PAGES ? " LOG_DIRTY_PAGES" : "",
             flags & KVM_MEM_READONLY ? " READONLY" : "",
             flags & KVM_MEM_GUEST_MEMFD ? " GUEST_MEMFD" : "");
    return names;
}

static int slot_failed(const KVMSlot *slot, const char *doing, int result)
{
    return fail(-result,
                "KVM cannot %s slot %u of address space %u (GPA 0x%" PRIx64 ", size 0x%" PRIx64
                ", HVA %p, flags %s): %s",
                doing, slot->slot, slot->as_id, slot->start_addr, slot->memory_size, slot->ram,
                name_flags(slot->flags).text, strerror(-result));
}

static uint32_t kernel_number(const KVMSlot *slot)
{
    return slot->as_id << 16 | slot->slot;
}

/* On a kernel without it the map is refused: memory thought private must not be shared. */
static int set_with_memfd(const KVMState *s, const KVMSlot *slot, hwaddr size)
{
    struct kvm_userspace_memory_region2 region = {
        .slot = kernel_number(slot),
        .flags = slot->flags,
        .guest_phys_addr = slot->start_addr,
        .memory_size = size,
        .userspace_addr = (uintptr_t)slot->ram,
        .guest_memfd = (uint32_t)slot->guest_memfd,
        .guest_memfd_offset = slot->guest_memfd_offset,
    };

    if (!s->caps.user_memory2 || !s->caps.guest_memfd) {
        return -ENOTSUP;
    }
    return kvm_vm_ioctl(s, KVM_SET_USER_MEMORY_REGION2, &region);
}

static int set_plain(const KVMState *s, const KVMSlot *slot, hwaddr size)
{
    struct kvm_userspace_memory_region region = {
        .slot = kernel_number(slot),
        .flags = slot->flags,
        .guest_phys_addr = slot->start_addr,
        .memory_size = size,
        .userspace_addr = (uintptr_t)slot->ram,
    };

    return kvm_vm_ioctl(s, KVM_SET_USER_MEMORY_REGION, &region);
}

int kvm_set_slot(const KVMState *s, const KVMSlot *slot, hwaddr size, const char *doing)
{
    int result = slot->flags & KVM_MEM_GUEST_MEMFD ? set_with_memfd(s, slot, size)
                                                   : set_plain(s, slot, size);

    return result < 0 ? slot_failed(slot, doing, result) : 0;
}

/* ---- dirty logs ------------------------------------------------------------------- */

int kvm_get_dirty_log(const KVMState *s, const KVMSlot *slot, void *bitmap)
{
    struct kvm_dirty_log log = {.slot = kernel_number(slot), .dirty_bitmap = bitmap};
    int result = kvm_vm_ioctl(s, KVM_GET_DIRTY_LOG, &log);

    return result < 0 ? slot_failed(slot, "give the dirty log of", result) : 0;
}

int kvm_clear_dirty_log(const KVMState *s, const KVMSlot *slot, uint64_t first, uint32_t pages,
                        void *bitmap)
{
    struct kvm_clear_dirty_log log = {
        .slot = kernel_number(slot),
        .num_pages = pages,
        .first_page = first,
        .dirty_bitmap = bitmap,
    };
    int result = kvm_vm_ioctl(s, KVM_CLEAR_DIRTY_LOG, &log);

    return result < 0 ? slot_failed(slot, "clear the dirty log of", result) : 0;
}

int kvm_try_reset_dirty_rings(const KVMState *s)
{
    return kvm_vm_ioctl(s, KVM_RESET_DIRTY_RINGS, NULL);
}

int kvm_reset_dirty_rings(const KVMState *s)
{
    int result = kvm_try_reset_dirty_rings(s);

    return result < 0 ? fail(-result, "KVM cannot reset the dirty rings: %s", strerror(-result))
                      : result;
}

int kvm_enable_vm_cap(const KVMState *s, unsigned extension, uint64_t arg)
{
    struct kvm_enable_cap cap = {.cap = extension, .args = {arg}};

    return kvm_vm_ioctl(s, KVM_ENABLE_CAP, &cap);
}

/* ---- private memory ----------------------------------------------------------------- */

int kvm_set_private(const KVMState *s, hwaddr first, hwaddr last, bool is_private)
{
    struct kvm_memory_attributes arg = {
        .address = first,
        .size = last - first + 1,
        .attributes = is_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
    };
    int result = kvm_vm_ioctl(s, KVM_SET_MEMORY_ATTRIBUTES, &arg);

    if (result >= 0) {
        return 0;
    }
    return fail(-result, "KVM cannot make GPA 0x%" PRIx64 ", size 0x%" PRIx64 " %s: %s", first,
                last - first + 1, is_private ? "private" : "shared", strerror(-result));
}

/* ---- ioeventfds and coalesced writes ------------------------------------------------ */

int kvm_set_ioeventfd(const KVMState *s, bool ports, const Shortcut *eventfd, bool add)
{
    struct kvm_ioeventfd arg = {
        .datamatch = eventfd->data,
        .addr = eventfd->addr,
        .len = (uint32_t)eventfd->len,
        .fd = eventfd->fd,
        .flags = (eventfd->match_data ? (uint32_t)KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
                 (ports ? (uint32_t)KVM_IOEVENTFD_FLAG_PIO : 0) |
                 (add ? 0 : (uint32_t)KVM_IOEVENTFD_FLAG_DEASSIGN),
    };
    int result = kvm_vm_ioctl(s, KVM_IOEVENTFD, &arg);

    if (result >= 0) {
        return 0;
    }
    char data[32] = "any data";
    if (eventfd->match_data) {
        snprintf(data, sizeof data, "data 0x%" PRIx64, eventfd->data);
    }
    return fail(-result, "KVM cannot %s the ioeventfd at %s 0x%" PRIx64 " (size %u, %s, fd %d): %s",
                add ? "add" : "remove", ports ? "port" : "GPA", eventfd->addr, arg.len, data,
                eventfd->fd, strerror(-result));
}

int kvm_set_coalesced(const KVMState *s, bool ports, hwaddr addr, hwaddr len, bool add)
{
    struct kvm_coalesced_mmio_zone zone = {.addr = addr, .size = (uint32_t)len, .pio = ports};
    int result =
        kvm_vm_ioctl(s, add ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &zone);

    if (result >= 0) {
        return 0;
    }
    return fail(-result,
                "KVM cannot %s coalesced writes at %s 0x%" PRIx64 ", size 0x%" PRIx64 ": %s",
                add ? "begin" : "end", ports ? "port" : "GPA", addr, len, strerror(-result));
}
