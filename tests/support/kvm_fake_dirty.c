/* SPDX-License-Identifier: MIT */
/* kvm_fake_dirty.c - the fake kernel's dirty log: bitmaps, given, cleared; rings. */
#include "kvm_fake_state.h"
#include <errno.h>
#include <string.h>

static struct kvm_dirty_gfn *ring_of(const FakeVcpu *cpu)
{
    return (struct kvm_dirty_gfn *)(void *)(cpu->area + (size_t)KVM_DIRTY_LOG_PAGE_OFFSET * PAGE);
}

bool fake_mark_dirty(KvmFake *fake, FakeVcpu *cpu, KvmFakeSlot *slot, uint64_t page)
{
    if (!slot->dirty || slot->writable[page]) {
        return true;
    }
    if (!fake->ring_entries) {
        slot->dirty[page] = 1;
    } else if (cpu) {
        struct kvm_dirty_gfn *entry = &ring_of(cpu)[cpu->dirty_next % fake->ring_entries];
        if (cpu->dirty_next - cpu->reset_next >= fake->ring_entries) {
            return false;
        }
        entry->slot = slot->as_id << 16 | slot->id;
        entry->offset = page;
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_DIRTY, __ATOMIC_RELEASE);
        cpu->dirty_next++;
    }
    slot->writable[page] = 1;
    return true;
}

/* ---- Bitmaps ----------------------------------------------------------------------------- */

static bool is_set(const void *bitmap, uint64_t bit)
{
    return ((const uint8_t *)bitmap)[bit / 8] >> (bit % 8) & 1;
}

/* The slot of a request, and what is wrong with it. */
static int find_logged(KvmFake *fake, uint32_t number, KvmFakeSlot **slot)
{
    if (fake->ring_entries) {
        return -ENXIO;
    }
    if (number >> 16 >= fake->caps.nr_address_spaces ||
        (number & 0xffff) >= fake->caps.nr_memslots) {
        return -EINVAL;
    }
    *slot = fake_slot(fake, number >> 16, number & 0xffff);
    return *slot && (*slot)->dirty ? 0 : -ENOENT;
}

int fake_get_dirty_log(KvmFake *fake, const struct kvm_dirty_log *arg)
{
    KvmFakeSlot *slot;
    int result = find_logged(fake, arg->slot, &slot);

    if (result || !arg->dirty_bitmap) {
        return result ? result : -EFAULT;
    }
    uint8_t *bitmap = arg->dirty_bitmap;
    uint64_t pages = slot->size / PAGE;
    memset(bitmap, 0, (pages + 63) / 64 * 8);
    for (uint64_t page = 0; page < pages; page++) {
        if (!slot->dirty[page]) {
            continue;
        }
        bitmap[page / 8] |= (uint8_t)(1U << (page % 8));
        if (!fake->manual) {
            slot->dirty[page] = slot->writable[page] = 0;
        }
    }
    return 0;
}

int fake_clear_dirty_log(KvmFake *fake, const struct kvm_clear_dirty_log *arg)
{
    KvmFakeSlot *slot;

    if (!fake->caps.manual_log) {
        return -ENOTTY;
    }
    int result = find_logged(fake, arg->slot, &slot);
    if (fake->ring_entries || result == -EINVAL) {
        return result;
    }
    if (arg->first_page % 64) {
        return -EINVAL;
    }
    if (result) {
        return result;
    }
    uint64_t pages = slot->size / PAGE;
    if (arg->first_page > pages || arg->num_pages > pages - arg->first_page ||
        (arg->num_pages < pages - arg->first_page && arg->num_pages % 64)) {
        return -EINVAL;
    }
    if (!arg->dirty_bitmap) {
        return arg->num_pages ? -EFAULT : 0;
    }
    for (uint64_t i = 0; i < arg->num_pages; i++) {
        uint64_t page = arg->first_page + i;
        if (is_set(arg->dirty_bitmap, i) && slot->dirty[page]) {
            slot->dirty[page] = slot->writable[page] = 0;
        }
    }
    return 0;
}

/* ---- Rings ---------------------------------------------------------------------------------- */

int fake_enable_ring(KvmFake *fake, uint32_t bytes)
{
    if (!fake->caps.ring_bytes_max || !bytes || bytes & (bytes - 1) ||
        bytes < fake->caps.ring_bytes_min) {
        return -EINVAL;
    }
    if (bytes > fake->caps.ring_bytes_max) {
        return -E2BIG;
    }
    if (fake->ring_entries || fake->vcpus) {
        return -EINVAL;
    }
    fake->ring_entries = bytes / (uint32_t)sizeof(struct kvm_dirty_gfn);
    return 0;
}

static void protect(KvmFake *fake, const struct kvm_dirty_gfn *entry)
{
    KvmFakeSlot *slot = fake_slot(fake, entry->slot >> 16, entry->slot & 0xffff);

    if (slot && slot->writable && entry->offset < slot->size / PAGE) {
        slot->writable[entry->offset] = 0;
    }
}

int fake_reset_dirty_rings(KvmFake *fake)
{
    int reset = 0;

    if (!fake->ring_entries) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < fake->vcpus; i++) {
        FakeVcpu *cpu = &fake->vcpu[i];
        while (cpu->reset_next != cpu->dirty_next) {
            struct kvm_dirty_gfn *entry = &ring_of(cpu)[cpu->reset_next % fake->ring_entries];
            if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_RESET)) {
                break;
            }
            protect(fake, entry);
            __atomic_store_n(&entry->flags, 0, __ATOMIC_RELEASE);
            cpu->reset_next++;
            reset++;
        }
    }
    return reset;
}
