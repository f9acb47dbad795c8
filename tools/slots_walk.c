/* SPDX-License-Identifier: MIT */
/*
 * slots_walk.c - one access of a vCPU, and the second-stage page table after it.
 *
 *     0x00000000000f5123 in memory, a read: a fault, mapped
 *       level 4 [  0] 0000000000000000-0000007fffffffff table
 *       level 3 [  0] 0000000000000000-000000003fffffff table
 *       level 2 [  0] 0000000000000000-00000000001fffff table
 *       level 1 [245] 00000000000f5000-00000000000f5fff r-x 4 KiB of pc.ram @00000000000f5000
 *       slot 4 (READONLY): pc.ram @00000000000f5123
 *       not 2 MiB: the slot does not cover it
 */
#include "slots.h"

#include <membus/error.h>

#include <inttypes.h>
#include <linux/kvm.h>
#include <string.h>

#define PAGE KVM_MODEL_PAGE_SIZE
#define LEVELS 5

/* What happened, and where the walk led. */
typedef struct Walk {
    hwaddr gpa;
    KVMModelFault fault;
    bool has_slot;
    KVMMemorySlot slot;
    MemoryRegionSection section; /* who is there in the captured map; mr NULL: nobody */
    KVMModelEntry entries[LEVELS];
    unsigned nr_entries;
} Walk;

static bool note_entry(const KVMModelEntry *entry, void *opaque)
{
    Walk *walk = opaque;

    walk->entries[walk->nr_entries++] = *entry;
    return false;
}

static bool take_walk(Slots *s, hwaddr gpa, Walk *walk)
{
    unsigned as_id = s->stage.config.as_id;
    int fault = kvm_model_fault(s->stage.model, as_id, gpa, s->options->write);

    *walk = (Walk){.gpa = gpa, .fault = (KVMModelFault)fault};
    if (fault < 0) {
        complain("%s", membus_last_error());
        return false;
    }
    walk->has_slot = kvm_model_find_slot(s->stage.model, as_id, gpa, &walk->slot);
    flatview_lookup(s->view, gpa, &walk->section);
    kvm_model_walk(s->stage.model, as_id, gpa, note_entry, walk);
    return true;
}

static const char *fault_name(const Walk *walk)
{
    return walk->fault == KVM_FAULT_FIXED  ? "mapped"
           : walk->fault == KVM_FAULT_MMIO ? "exit"
                                           : "hit";
}

static const char *kind_name(const KVMModelEntry *entry)
{
    return entry->kind == KVM_ENTRY_TABLE  ? "table"
           : entry->kind == KVM_ENTRY_LEAF ? "leaf"
                                           : "not present";
}

static hwaddr first_byte(const KVMModelEntry *entry)
{
    return entry->first_gfn * PAGE;
}

static hwaddr last_byte(const KVMModelEntry *entry)
{
    return entry->last_gfn * PAGE + (PAGE - 1);
}

static hwaddr size_of(const KVMModelEntry *entry)
{
    return last_byte(entry) - first_byte(entry) + 1;
}

static const KVMModelEntry *leaf_of(const Walk *walk)
{
    const KVMModelEntry *last = &walk->entries[walk->nr_entries - 1];

    return last->kind == KVM_ENTRY_LEAF ? last : NULL;
}

/* Why the leaf is not as large as the table above it would be; NULL: it is 1 GiB. */
static const char *why_not_larger(const Slots *s, const Walk *walk)
{
    const KVMModelEntry *leaf = leaf_of(walk);
    const KVMMemorySlot *slot = &walk->slot;

    if (!leaf || leaf->level == 3) {
        return NULL;
    }
    hwaddr size = 512 * size_of(leaf), first = walk->gpa & ~(size - 1);
    hwaddr slot_first = slot->base_gfn * PAGE, slot_size = slot->npages * PAGE;
    return first < slot_first || slot_size < size || first - slot_first > slot_size - size
               ? "the slot does not cover it"
           : (slot->userspace_addr - slot_first) % size ? "the host memory is aligned differently"
           : s->stage.config.host_page < size           ? "the host maps smaller pages"
           : slot->flags & KVM_MEM_LOG_DIRTY_PAGES      ? "the slot is logged"
                                                        : "it was split";
}

/* ---- text ------------------------------------------------------------------------------- */

static void print_entry(const Slots *s, const KVMModelEntry *entry)
{
    printf("  level %u [%3u] %016" PRIx64 "-%016" PRIx64 " ", entry->level, entry->index,
           first_byte(entry), last_byte(entry));
    if (entry->kind != KVM_ENTRY_LEAF) {
        puts(kind_name(entry));
        return;
    }
    printf("%c%c%c ", entry->spte & KVM_SPTE_READ ? 'r' : '-',
           entry->spte & KVM_SPTE_WRITE ? 'w' : '-', entry->spte & KVM_SPTE_EXECUTE ? 'x' : '-');
    print_size(size_of(entry));
    fputs(" of", stdout);
    print_place(s, entry->hva);
    putchar('\n');
}

/* Who answers where the kernel does not. */
static void print_exit(const Walk *walk)
{
    const MemoryRegionSection *there = &walk->section;

    if (walk->has_slot) {
        printf("  slot %u is READONLY: ", walk->slot.id);
    } else {
        fputs("  no slot: ", stdout);
    }
    fputs("exit to user space (KVM_EXIT_MMIO), where ", stdout);
    if (!there->mr) {
        puts("nobody answers");
        return;
    }
    print_text(stdout, memory_region_name(there->mr));
    printf(" (%s) answers at offset 0x%" PRIx64 "\n",
           mtree_type(there->mr, there->readonly, there->nonvolatile, there->romd),
           there->offset_within_region + (walk->gpa - there->offset_within_address_space));
}

static void print_mapping(const Slots *s, const Walk *walk)
{
    const char *flags = flag_names(walk->slot.flags), *why = why_not_larger(s, walk);

    printf("  slot %u%s%s%s:", walk->slot.id, *flags ? " (" : "", flags, *flags ? ")" : "");
    print_place(s, walk->slot.userspace_addr + (walk->gpa - walk->slot.base_gfn * PAGE));
    putchar('\n');
    if (why) {
        fputs("  not ", stdout);
        print_size(512 * size_of(leaf_of(walk)));
        printf(": %s\n", why);
    }
}

bool print_walk(Slots *s, hwaddr gpa)
{
    static const char *const outcomes[] = {[KVM_FAULT_NONE] = "no fault, it was mapped before",
                                           [KVM_FAULT_FIXED] = "a fault, mapped",
                                           [KVM_FAULT_MMIO] = "a fault, not mapped"};
    Walk walk;

    if (!take_walk(s, gpa, &walk)) {
        return false;
    }
    printf("%s0x%016" PRIx64 "%s in ", color(s->options, COLOR_HEAD), gpa,
           color(s->options, COLOR_PLAIN));
    print_text(stdout, s->name);
    printf(", a %s: %s\n", s->options->write ? "write" : "read", outcomes[walk.fault]);
    for (unsigned i = 0; i < walk.nr_entries; i++) {
        print_entry(s, &walk.entries[i]);
    }
    if (walk.fault == KVM_FAULT_MMIO) {
        print_exit(&walk);
    } else {
        print_mapping(s, &walk);
    }
    return true;
}

/* ---- JSON ------------------------------------------------------------------------------- */

static json_t *describe_entry(const Slots *s, const KVMModelEntry *entry)
{
    json_t *object = json_pack("{s:i, s:i, s:o, s:o, s:s}", "level", (int)entry->level, "index",
                               (int)entry->index, "first", json_hwaddr(first_byte(entry)), "last",
                               json_hwaddr(last_byte(entry)), "kind", kind_name(entry));

    if (entry->kind == KVM_ENTRY_LEAF) {
        json_object_set_new(object, "read", json_boolean(entry->spte & KVM_SPTE_READ));
        json_object_set_new(object, "write", json_boolean(entry->spte & KVM_SPTE_WRITE));
        json_object_set_new(object, "execute", json_boolean(entry->spte & KVM_SPTE_EXECUTE));
        describe_place(s, entry->hva, object);
    }
    return object;
}

json_t *describe_walk(Slots *s, hwaddr gpa)
{
    const char *why;
    Walk walk;

    if (!take_walk(s, gpa, &walk)) {
        return NULL;
    }
    json_t *entries = json_array();
    for (unsigned i = 0; i < walk.nr_entries; i++) {
        json_array_append_new(entries, describe_entry(s, &walk.entries[i]));
    }
    json_t *object = json_pack("{s:o, s:b, s:s, s:o}", "address", json_hwaddr(gpa), "write",
                               s->options->write, "result", fault_name(&walk), "entries", entries);
    if (walk.has_slot) {
        json_object_set_new(object, "slot", json_integer(walk.slot.id));
    }
    if (walk.section.mr) {
        json_object_set_new(object, "answers", json_section(&walk.section));
    }
    if (walk.fault != KVM_FAULT_MMIO && (why = why_not_larger(s, &walk))) {
        json_object_set_new(object, "not_larger", json_string(why));
    }
    return object;
}
