/* SPDX-License-Identifier: MIT */
/*
 * The model's memory slots: which KVM_SET_USER_MEMORY_REGION the kernel takes, and what comes of
 * it.
 *
 * What a call means follows from the slot that has its number now:
 *
 *    slot now   size        the call is                     else it is refused
 *    none       not 0       a creation                      EEXIST where another slot is
 *    none       0                                           EINVAL
 *    there      0           a deletion
 *    there      the same    a move, if the GPA differs;     EINVAL for another HVA or a change of
 *                           flags, if LOG_DIRTY_PAGES does  READONLY, EEXIST as above
 *    there      another                                     EINVAL
 *
 * The log is the slot's: it moves with it, begins when LOG_DIRTY_PAGES is set and ends when it is
 * not. It begins empty, or full with KVM_DIRTY_LOG_INITIALLY_SET.
 *
 * Slots are found by number in an array and by address in an interval index, so thousands of them
 * cost no more than a few.
 *
 * Guarantees
 *  K1 Slots of one address space do not overlap.
 *  K2 What is refused changes nothing.
 *  K3 Of what a slot does not show any more nothing is translated: deletion and move zap it.
 */
#include "kvm/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE KVM_MODEL_PAGE_SIZE
#define MAX_PAGES ((UINT64_C(1) << 31) - 1) /* of one slot */
#define GPA_LIMIT (UINT64_C(1) << 52)       /* what x86 has of physical addresses */
#define USER_LIMIT UINT64_C(0x7ffffffff000) /* what a process has, with four levels of its own */

static ModelSpace *space_of(KVMModel *model, uint32_t number)
{
    unsigned as_id = number >> 16, id = number & 0xffff;

    return as_id < model->config.nr_address_spaces && id < model->config.nr_memslots
               ? &model->spaces[as_id]
               : NULL;
}

static ModelSlot *slot_numbered(const ModelSpace *space, uint32_t number)
{
    return space->by_id[number & 0xffff];
}

static uint64_t last_gfn(const KVMMemorySlot *slot)
{
    return slot->base_gfn + (slot->npages - 1);
}

/* ---- logs ------------------------------------------------------------------------- */

static size_t log_words(const ModelSlot *slot)
{
    return (size_t)((slot->info.npages + 63) / 64);
}

static int log_begin(const KVMModel *model, ModelSlot *slot)
{
    slot->dirty_bitmap = calloc(log_words(slot), sizeof(uint64_t));
    if (!slot->dirty_bitmap) {
        return -ENOMEM;
    }
    if (model->manual_dirty_log & KVM_DIRTY_LOG_INITIALLY_SET) {
        size_t words = log_words(slot);
        memset(slot->dirty_bitmap, 0xff, words * sizeof(uint64_t));
        slot->dirty_bitmap[words - 1] >>= 63 - (slot->info.npages - 1) % 64;
    }
    slot->info.dirty_bitmap = slot->dirty_bitmap;
    return 0;
}

static void log_end(ModelSlot *slot)
{
    free(slot->dirty_bitmap);
    slot->info.dirty_bitmap = slot->dirty_bitmap = NULL;
}

void model_mark_dirty(ModelSlot *slot, uint64_t gfn)
{
    uint64_t page = gfn - slot->info.base_gfn;

    if (slot->dirty_bitmap) {
        slot->dirty_bitmap[page / 64] |= UINT64_C(1) << page % 64;
    }
}

/* ---- what a call is ----------------------------------------------------------------- */

static int check_region(const KVMModel *model, const struct kvm_userspace_memory_region *region)
{
    uint32_t known =
        KVM_MEM_LOG_DIRTY_PAGES | (model->config.no_readonly_mem ? 0 : KVM_MEM_READONLY);
    uint64_t size = region->memory_size;

    if (region->flags & ~known ||
        (size | region->guest_phys_addr | region->userspace_addr) % PAGE != 0 ||
        region->guest_phys_addr + size < region->guest_phys_addr ||
        region->userspace_addr > USER_LIMIT || size > USER_LIMIT - region->userspace_addr ||
        size / PAGE > MAX_PAGES) {
        return -EINVAL;
    }
    return 0;
}

static bool overlaps_another(const ModelSpace *space, const ModelSlot *slot,
                             const KVMMemorySlot *wanted)
{
    uint64_t from = wanted->base_gfn, last = last_gfn(wanted);

    for (IntervalNode *node; (node = interval_first_overlap(space->by_gfn, from, last));) {
        if (!slot || node != &slot->node) {
            return true;
        }
        if (node->last >= last) {
            return false;
        }
        from = node->last + 1; /* a slot may move onto itself */
    }
    return false;
}

/* Whether @wanted may be where it says; @slot, if not NULL, is going to leave its place for it. */
static int check_place(const ModelSpace *space, const ModelSlot *slot, const KVMMemorySlot *wanted)
{
    return overlaps_another(space, slot, wanted)  ? -EEXIST
           : last_gfn(wanted) >= GPA_LIMIT / PAGE ? -EINVAL
                                                  : 0;
}

static void index_slot(ModelSpace *space, ModelSlot *slot)
{
    slot->node.first = slot->info.base_gfn;
    slot->node.last = last_gfn(&slot->info);
    interval_insert(&space->by_gfn, &slot->node);
}

static void tell(const KVMModel *model, KVMModelChange change, const KVMMemorySlot *before,
                 const KVMMemorySlot *after)
{
    if (model->config.changed) {
        model->config.changed(model->config.opaque, change, before, after);
    }
}

/* ---- the four changes ---------------------------------------------------------------- */

static int create_slot(const KVMModel *model, ModelSpace *space, const KVMMemorySlot *wanted)
{
    int result = check_place(space, NULL, wanted);

    if (result < 0) {
        return result;
    }
    ModelSlot *slot = calloc(1, sizeof *slot);
    if (!slot) {
        return -ENOMEM;
    }
    slot->info = *wanted;
    if (wanted->flags & KVM_MEM_LOG_DIRTY_PAGES && log_begin(model, slot) < 0) {
        free(slot);
        return -ENOMEM;
    }
    space->by_id[wanted->id] = slot;
    index_slot(space, slot);
    tell(model, KVM_MODEL_CREATE, NULL, &slot->info);
    return 0;
}

static void delete_slot(const KVMModel *model, ModelSpace *space, ModelSlot *slot)
{
    stage2_zap(&space->stage2, slot->info.base_gfn, last_gfn(&slot->info)); /* K3 */
    space->by_id[slot->info.id] = NULL;
    interval_remove(&space->by_gfn, &slot->node);
    tell(model, KVM_MODEL_DELETE, &slot->info, NULL);
    log_end(slot);
    free(slot);
}

/* Logging of @slot began or ended; what it shows and where is as it was. */
static void log_changed(const KVMModel *model, ModelSpace *space, const ModelSlot *slot)
{
    if (!slot->dirty_bitmap) {
        stage2_recover_large(&space->stage2, &slot->info);
    } else if (!(model->manual_dirty_log & KVM_DIRTY_LOG_INITIALLY_SET)) {
        stage2_write_protect(&space->stage2, slot->info.base_gfn, last_gfn(&slot->info));
    }
}

static int change_slot(const KVMModel *model, ModelSpace *space, ModelSlot *slot,
                       const KVMMemorySlot *wanted)
{
    KVMMemorySlot before = slot->info;
    uint32_t flipped = before.flags ^ wanted->flags;
    bool moves = wanted->base_gfn != before.base_gfn;

    if (wanted->npages != before.npages || wanted->userspace_addr != before.userspace_addr ||
        flipped & KVM_MEM_READONLY) {
        return -EINVAL;
    }
    int result = moves ? check_place(space, slot, wanted) : 0;
    if (result < 0) {
        return result;
    }
    if (!moves && !flipped) {
        return 0;
    }
    if (flipped & wanted->flags & KVM_MEM_LOG_DIRTY_PAGES && log_begin(model, slot) < 0) {
        return -ENOMEM;
    }
    slot->info.flags = wanted->flags;
    if (moves) {
        stage2_zap(&space->stage2, before.base_gfn, last_gfn(&before)); /* K3 */
        interval_remove(&space->by_gfn, &slot->node);
        slot->info.base_gfn = wanted->base_gfn;
        index_slot(space, slot);
    }
    tell(model, moves ? KVM_MODEL_MOVE : KVM_MODEL_FLAGS, &before, &slot->info);
    if (!(wanted->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
        log_end(slot);
    }
    if (!moves) {
        log_changed(model, space, slot);
    }
    return 0;
}

int model_set_slot(KVMModel *model, const struct kvm_userspace_memory_region *region)
{
    ModelSpace *space = space_of(model, region->slot);

    if (!space || check_region(model, region) < 0) {
        return -EINVAL;
    }
    ModelSlot *slot = slot_numbered(space, region->slot);
    KVMMemorySlot wanted = {
        .base_gfn = region->guest_phys_addr / PAGE,
        .npages = region->memory_size / PAGE,
        .userspace_addr = region->userspace_addr,
        .flags = region->flags,
        .id = region->slot & 0xffff,
        .as_id = region->slot >> 16,
    };
    if (wanted.npages == 0) {
        if (!slot) {
            return -EINVAL;
        }
        delete_slot(model, space, slot);
        return 0;
    }
    return slot ? change_slot(model, space, slot, &wanted) : create_slot(model, space, &wanted);
}

void model_space_end(KVMModel *model, ModelSpace *space)
{
    for (unsigned i = 0; space->by_id && i < model->config.nr_memslots; i++) {
        if (space->by_id[i]) {
            log_end(space->by_id[i]);
            free(space->by_id[i]);
        }
    }
    free(space->by_id);
    space->by_id = NULL;
    space->by_gfn = NULL;
    stage2_end(&space->stage2);
}

/* ---- taking what is dirty -------------------------------------------------------------- */

/* The pages of one word of a log were taken: their next writes are to be seen. */
static void protect_word(ModelSpace *space, const ModelSlot *slot, size_t word, uint64_t bits)
{
    while (bits) {
        uint64_t gfn = slot->info.base_gfn + word * 64 + (unsigned)__builtin_ctzll(bits);
        stage2_write_protect(&space->stage2, gfn, gfn);
        bits &= bits - 1;
    }
}

int model_get_dirty_log(KVMModel *model, const struct kvm_dirty_log *log)
{
    ModelSpace *space = space_of(model, log->slot);
    ModelSlot *slot = space ? slot_numbered(space, log->slot) : NULL;

    if (!space) {
        return -EINVAL;
    }
    if (!slot || !slot->dirty_bitmap) {
        return -ENOENT;
    }
    if (!log->dirty_bitmap) {
        return -EFAULT;
    }
    memcpy(log->dirty_bitmap, slot->dirty_bitmap, log_words(slot) * sizeof(uint64_t));
    for (size_t i = 0; !model->manual_dirty_log && i < log_words(slot); i++) {
        protect_word(space, slot, i, slot->dirty_bitmap[i]);
        slot->dirty_bitmap[i] = 0;
    }
    return 0;
}

int model_clear_dirty_log(KVMModel *model, const struct kvm_clear_dirty_log *log)
{
    ModelSpace *space = space_of(model, log->slot);
    ModelSlot *slot = space ? slot_numbered(space, log->slot) : NULL;

    if (!space || log->first_page % 64 != 0) {
        return -EINVAL;
    }
    if (!slot || !slot->dirty_bitmap) {
        return -ENOENT;
    }
    uint64_t npages = slot->info.npages;
    if (log->first_page > npages || log->num_pages > npages - log->first_page ||
        (log->num_pages < npages - log->first_page && log->num_pages % 64 != 0)) {
        return -EINVAL;
    }
    if (!log->dirty_bitmap) {
        return -EFAULT;
    }
    const char *wanted = log->dirty_bitmap;
    size_t first = (size_t)(log->first_page / 64), words = (log->num_pages + 63) / 64;
    for (size_t i = 0; i < words; i++) {
        uint64_t bits;
        memcpy(&bits, wanted + i * sizeof bits, sizeof bits);
        bits &= slot->dirty_bitmap[first + i];
        slot->dirty_bitmap[first + i] &= ~bits;
        protect_word(space, slot, first + i, bits);
    }
    return 0;
}
