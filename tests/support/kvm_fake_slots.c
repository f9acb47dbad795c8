/* SPDX-License-Identifier: MIT */
/* kvm_fake_slots.c - the fake kernel's memory: slots, guest_memfds, private pages. */
#include "kvm_fake_state.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

KvmFakeSlot *fake_slot(KvmFake *fake, unsigned as_id, unsigned id)
{
    if (as_id >= fake->caps.nr_address_spaces || id >= fake->caps.nr_memslots) {
        return NULL;
    }
    KvmFakeSlot *slot = &fake->slot[as_id * fake->caps.nr_memslots + id];
    return slot->used ? slot : NULL;
}

KvmFakeSlot *fake_slot_at(KvmFake *fake, unsigned as_id, uint64_t gpa)
{
    for (unsigned id = 0; id < fake->caps.nr_memslots; id++) {
        KvmFakeSlot *slot = fake_slot(fake, as_id, id);
        if (slot && gpa >= slot->gpa && gpa - slot->gpa < slot->size) {
            return slot;
        }
    }
    return NULL;
}

void fake_drop_slot(KvmFakeSlot *slot)
{
    free(slot->dirty);
    free(slot->writable);
    if (slot->used && slot->guest_memfd >= 0) {
        close(slot->guest_memfd);
    }
    *slot = (KvmFakeSlot){.guest_memfd = -1};
}

/* ---- KVM_SET_USER_MEMORY_REGION -------------------------------------------------------- */

/* What is wrong with the numbers whatever else there is. */
static bool is_malformed(const KvmFake *fake, const struct kvm_userspace_memory_region2 *r)
{
    uint32_t known = KVM_MEM_LOG_DIRTY_PAGES;

    if (fake->caps.guest_memfd) {
        known |= (uint32_t)KVM_MEM_GUEST_MEMFD;
    }
    if (r->flags & KVM_MEM_GUEST_MEMFD & known) {
        known &= ~(uint32_t)KVM_MEM_LOG_DIRTY_PAGES;
    } else if (fake->caps.readonly_mem) {
        known |= (uint32_t)KVM_MEM_READONLY;
    }
    return r->flags & ~known || r->memory_size % PAGE || r->guest_phys_addr % PAGE ||
           r->userspace_addr % PAGE || r->userspace_addr > HVA_END ||
           r->memory_size > HVA_END - r->userspace_addr ||
           r->guest_phys_addr + r->memory_size < r->guest_phys_addr ||
           r->memory_size / PAGE > MAX_SLOT_PAGES;
}

/* Another slot of the same space than @self is in the way. */
static bool is_taken(KvmFake *fake, unsigned as_id, uint64_t gpa, uint64_t size,
                     const KvmFakeSlot *self)
{
    for (unsigned id = 0; id < fake->caps.nr_memslots; id++) {
        const KvmFakeSlot *slot = fake_slot(fake, as_id, id);
        if (slot && slot != self && slot->gpa < gpa + size && gpa < slot->gpa + slot->size) {
            return true;
        }
    }
    return false;
}

/* Whether its guest_memfd can be bound: 0 or -errno. */
static int check_guest_memfd(KvmFake *fake, const struct kvm_userspace_memory_region2 *r)
{
    struct stat st;

    if (fcntl((int)r->guest_memfd, F_GETFD) < 0) {
        return -EBADF;
    }
    bool ours = false;
    for (unsigned i = 0; i < fake->memfds; i++) {
        ours |= fake_file_same(&fake->memfd[i], (int)r->guest_memfd);
    }
    if (!ours || fstat((int)r->guest_memfd, &st) || r->guest_memfd_offset % PAGE ||
        r->guest_memfd_offset + r->memory_size < r->guest_memfd_offset ||
        r->guest_memfd_offset + r->memory_size > (uint64_t)st.st_size) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < fake->caps.nr_address_spaces * fake->caps.nr_memslots; i++) {
        const KvmFakeSlot *slot = &fake->slot[i];
        struct stat bound;
        if (slot->used && slot->guest_memfd >= 0 && !fstat(slot->guest_memfd, &bound) &&
            bound.st_dev == st.st_dev && bound.st_ino == st.st_ino &&
            slot->guest_memfd_offset < r->guest_memfd_offset + r->memory_size &&
            r->guest_memfd_offset < slot->guest_memfd_offset + slot->size) {
            return -EINVAL;
        }
    }
    return 0;
}

/* Logging goes on, begins or ends with the flags that @slot has now. */
static int set_logging(KvmFake *fake, KvmFakeSlot *slot)
{
    bool wanted = slot->flags & KVM_MEM_LOG_DIRTY_PAGES;
    size_t pages = slot->size / PAGE;

    if (!wanted) {
        free(slot->dirty);
        free(slot->writable);
        slot->dirty = slot->writable = NULL;
    } else if (!slot->dirty) {
        slot->dirty = calloc(pages, 1);
        slot->writable = calloc(pages, 1);
        if (!slot->dirty || !slot->writable) {
            free(slot->dirty);
            free(slot->writable);
            slot->dirty = slot->writable = NULL;
            return -ENOMEM;
        }
        if (fake->initially_set && !fake->ring_entries) {
            memset(slot->dirty, 1, pages);
            memset(slot->writable, 1, pages);
        }
    }
    return 0;
}

static int change(KvmFake *fake, KvmFakeSlot *place, KvmFakeSlot *after)
{
    int result = set_logging(fake, after);

    if (!result) {
        *place = *after;
    }
    return result;
}

static void announce(KvmFake *fake, const KvmFakeSlot *before, const KvmFakeSlot *after)
{
    if (fake->slot_hook) {
        fake->slot_hook(fake->slot_opaque, before, after);
    }
}

static int create(KvmFake *fake, KvmFakeSlot *place, unsigned as_id,
                  const struct kvm_userspace_memory_region2 *r)
{
    KvmFakeSlot after = {.used = true,
                         .as_id = as_id,
                         .id = r->slot & 0xffff,
                         .gpa = r->guest_phys_addr,
                         .size = r->memory_size,
                         .hva = r->userspace_addr,
                         .flags = r->flags,
                         .guest_memfd = -1};

    if (r->flags & KVM_MEM_GUEST_MEMFD) {
        int result = check_guest_memfd(fake, r);
        if (result) {
            return result;
        }
        after.guest_memfd = dup((int)r->guest_memfd);
        after.guest_memfd_offset = r->guest_memfd_offset;
        if (after.guest_memfd < 0) {
            return -errno;
        }
    }
    announce(fake, NULL, &after);
    int result = change(fake, place, &after);
    if (result && after.guest_memfd >= 0) {
        close(after.guest_memfd);
    }
    return result;
}

int fake_set_region(KvmFake *fake, const struct kvm_userspace_memory_region2 *r, bool second)
{
    unsigned as_id = r->slot >> 16, id = r->slot & 0xffff;

    if (second && !fake->caps.user_memory2) {
        return -ENOTTY;
    }
    if (is_malformed(fake, r) || (!second && r->flags & KVM_MEM_GUEST_MEMFD) ||
        as_id >= fake->caps.nr_address_spaces || id >= fake->caps.nr_memslots) {
        return -EINVAL;
    }
    KvmFakeSlot *place = &fake->slot[as_id * fake->caps.nr_memslots + id];
    if (!r->memory_size) {
        if (!place->used) {
            return -EINVAL;
        }
        announce(fake, place, NULL);
        fake_drop_slot(place);
        return 0;
    }
    if (fake->caps.gpa_bits < 64 &&
        (r->guest_phys_addr + r->memory_size - 1) >> fake->caps.gpa_bits) {
        return -EINVAL;
    }
    bool moves = place->used && place->gpa != r->guest_phys_addr;
    if (place->used && (place->guest_memfd >= 0 || r->flags & KVM_MEM_GUEST_MEMFD ||
                        place->hva != r->userspace_addr || place->size != r->memory_size ||
                        (place->flags ^ r->flags) & KVM_MEM_READONLY)) {
        return -EINVAL;
    }
    if ((!place->used || moves) &&
        is_taken(fake, as_id, r->guest_phys_addr, r->memory_size, place->used ? place : NULL)) {
        return -EEXIST;
    }
    if (!place->used) {
        return create(fake, place, as_id, r);
    }
    if (!moves && place->flags == r->flags) {
        return 0;
    }
    KvmFakeSlot after = *place;
    after.gpa = r->guest_phys_addr;
    after.flags = r->flags;
    announce(fake, place, &after);
    return change(fake, place, &after);
}

/* ---- Private memory -------------------------------------------------------------------- */

int fake_create_guest_memfd(KvmFake *fake, const struct kvm_create_guest_memfd *arg)
{
    if (!fake->caps.guest_memfd) {
        return -ENOTTY;
    }
    if (!arg->size || arg->size % PAGE || arg->flags & ~1ULL || fake->memfds == FAKE_MEMFDS) {
        return -EINVAL;
    }
    int fd = memfd_create("fake-guest-memfd", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)arg->size) ||
        !fake_file_open(&fake->memfd[fake->memfds], fd)) {
        int err = errno;
        if (fd >= 0) {
            close(fd);
        }
        return -err;
    }
    fake->memfds++;
    return fd;
}

bool fake_is_private(const KvmFake *fake, uint64_t gpa)
{
    bool private = false;

    for (unsigned i = 0; i < fake->privates; i++) {
        private |= gpa >= fake->private[i].first && gpa <= fake->private[i].last;
    }
    return private;
}

/* Cut [first, last] out of what is private. */
static void make_shared(KvmFake *fake, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < fake->privates;) {
        FakePrivate *p = &fake->private[i];
        FakePrivate whole = *p;
        if (p->first > last || p->last < first) {
            i++;
            continue;
        }
        *p = fake->private[--fake->privates];
        if (whole.first < first) {
            fake->private[fake->privates++] = (FakePrivate){whole.first, first - 1};
        }
        if (whole.last > last) {
            fake->private[fake->privates++] = (FakePrivate){last + 1, whole.last};
        }
    }
}

int fake_set_attributes(KvmFake *fake, const struct kvm_memory_attributes *arg)
{
    if (!fake->caps.memory_attributes) {
        return -ENOTTY;
    }
    if (arg->flags || arg->attributes & ~fake->caps.memory_attributes || !arg->size ||
        arg->address % PAGE || arg->size % PAGE || arg->address + arg->size < arg->address) {
        return -EINVAL;
    }
    if (fake->privates + 3 > FAKE_ATTRIBUTES) {
        return -ENOMEM;
    }
    uint64_t last = arg->address + arg->size - 1;
    make_shared(fake, arg->address, last);
    if (arg->attributes & KVM_MEMORY_ATTRIBUTE_PRIVATE) {
        fake->private[fake->privates++] = (FakePrivate){arg->address, last};
    }
    return 0;
}
