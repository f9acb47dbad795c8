/* SPDX-License-Identifier: MIT */
/*
 * membus slots - the memory slots that KVM would have for a map, and the calls that lead from one
 * map to another.
 *
 *     memory: 3 of 32764 slots
 *           0  0000000000000000-00000000000bffff pc.ram @0000000000000000 (768 KiB)
 *           1  00000000000e0000-00000000000fffff pc.bios @0000000000020000 (128 KiB, READONLY)
 *           2  0000000000100000-000000003fffffff pc.ram @0000000000100000 (1023 MiB)
 *     no slot, each access an exit to user space:
 *       17 ranges of devices, 1085440 bytes
 */
#include "slots.h"

#include <membus/error.h>
#include <membus/system.h>

#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#define PAGE KVM_MODEL_PAGE_SIZE
#define DEFAULT_HOST_PAGE ((hwaddr)2 << 20)

static const char *const call_names[] = {[KVM_MODEL_CREATE] = "create",
                                         [KVM_MODEL_DELETE] = "delete",
                                         [KVM_MODEL_MOVE] = "move",
                                         [KVM_MODEL_FLAGS] = "flags"};

/* ---- one slot ------------------------------------------------------------------------ */

void print_place(const Slots *s, uint64_t hva)
{
    hwaddr offset = 0;
    const StageRegion *region = stage_region_at(&s->stage, hva, &offset);

    putchar(' ');
    print_text(stdout, region ? memory_region_name(region->shown) : "?");
    printf(" @%016" PRIx64, offset);
}

void describe_place(const Slots *s, uint64_t hva, json_t *object)
{
    hwaddr offset = 0;
    const StageRegion *region = stage_region_at(&s->stage, hva, &offset);

    json_object_set_new(object, "region",
                        json_text(region ? memory_region_name(region->shown) : ""));
    json_object_set_new(object, "offset", json_hwaddr(offset));
}

const char *flag_names(uint32_t flags)
{
    bool readonly = flags & KVM_MEM_READONLY, log = flags & KVM_MEM_LOG_DIRTY_PAGES;

    return readonly ? (log ? "READONLY, LOG" : "READONLY") : (log ? "LOG" : "");
}

static void print_range(const KVMMemorySlot *slot)
{
    hwaddr first = slot->base_gfn * PAGE;

    printf("%016" PRIx64 "-%016" PRIx64, first, first + (slot->npages * PAGE - 1));
}

static void print_slot(const Slots *s, const KVMMemorySlot *slot)
{
    print_range(slot);
    print_place(s, slot->userspace_addr);
    fputs(" (", stdout);
    print_size(slot->npages * PAGE);
    printf("%s%s)\n", *flag_names(slot->flags) ? ", " : "", flag_names(slot->flags));
}

static json_t *describe_slot(const Slots *s, const KVMMemorySlot *slot)
{
    hwaddr first = slot->base_gfn * PAGE, size = slot->npages * PAGE;
    json_t *object = json_pack("{s:i, s:o, s:o, s:o, s:b, s:b}", "slot", (int)slot->id, "first",
                               json_hwaddr(first), "last", json_hwaddr(first + (size - 1)), "size",
                               json_hwaddr(size), "readonly", (slot->flags & KVM_MEM_READONLY) != 0,
                               "log", (slot->flags & KVM_MEM_LOG_DIRTY_PAGES) != 0);

    describe_place(s, slot->userspace_addr, object);
    return object;
}

/* ---- what has none --------------------------------------------------------------------- */

typedef struct LeftOut {
    const Slots *slots;
    size_t devices; /* ranges that are no memory */
    hwaddr size;    /* theirs; bytes */
    size_t pieces;  /* of memory without a slot */
    json_t *list;   /* JSON only */
} LeftOut;

static bool has_slot(const Slots *s, hwaddr addr)
{
    KVMMemorySlot slot;

    return kvm_model_find_slot(s->stage.model, s->stage.config.as_id, addr, &slot);
}

static const char *reason_of(const MemoryRegionSection *section)
{
    hwaddr skew = section->offset_within_region - section->offset_within_address_space;

    return skew % PAGE ? "host memory and guest address are differently aligned"
           : section->last_within_address_space == UINT64_MAX && section->size >= PAGE
               ? "no slot reaches the last page of 2^64"
               : "less than a page";
}

static void add_piece(LeftOut *left, const MemoryRegionSection *section, hwaddr first, hwaddr last)
{
    hwaddr offset = section->offset_within_region + (first - section->offset_within_address_space);
    const char *type =
        mtree_type(section->mr, section->readonly, section->nonvolatile, section->romd);
    const char *name = memory_region_name(section->mr);

    left->pieces++;
    if (left->list) {
        json_array_append_new(
            left->list, json_pack("{s:o, s:o, s:s, s:o, s:o, s:s}", "first", json_hwaddr(first),
                                  "last", json_hwaddr(last), "type", type, "name", json_text(name),
                                  "offset", json_hwaddr(offset), "reason", reason_of(section)));
        return;
    }
    printf("  %016" PRIx64 "-%016" PRIx64 " ", first, last);
    print_text(stdout, name);
    printf(" @%016" PRIx64 " (%s, ", offset, type);
    print_size(last - first + 1);
    printf("): %s\n", reason_of(section));
}

/* Memory is left out whole, or in parts of a page at either end. */
static void add_left_out(const MemoryRegionSection *section, void *opaque)
{
    LeftOut *left = opaque;
    hwaddr first = section->offset_within_address_space, last = section->last_within_address_space;

    if (!stage_is_memory(section)) {
        bool clipped = __builtin_add_overflow(left->size, section->size, &left->size);
        left->size = clipped ? UINT64_MAX : left->size;
        left->devices++;
        return;
    }
    bool head = !has_slot(left->slots, first), tail = !has_slot(left->slots, last);
    hwaddr inner = first | (PAGE - 1);
    if (head && (inner >= last || !has_slot(left->slots, inner + 1))) {
        add_piece(left, section, first, last);
        return;
    }
    if (head) {
        add_piece(left, section, first, inner);
    }
    if (tail) {
        add_piece(left, section, last & ~(PAGE - 1), last);
    }
}

static void print_left_out(const Slots *s)
{
    LeftOut left = {.slots = s};

    puts("no slot, each access an exit to user space:");
    for_each_range(s->view, add_left_out, &left);
    if (left.devices) {
        printf("  %zu range%s of devices, ", left.devices, left.devices == 1 ? "" : "s");
        print_size(left.size);
        putchar('\n');
    }
    if (!left.devices && !left.pieces) {
        puts("  nothing but what is unassigned");
    }
}

static json_t *describe_left_out(const Slots *s)
{
    LeftOut left = {.slots = s, .list = json_array()};

    for_each_range(s->view, add_left_out, &left);
    return json_pack("{s:{s:I, s:o}, s:o}", "devices", "ranges", (json_int_t)left.devices, "size",
                     json_hwaddr(left.size), "memory", left.list);
}

/* ---- calls -------------------------------------------------------------------------------- */

static void print_calls(const Slots *s)
{
    static const Color colors[] = {COLOR_GOOD, COLOR_BAD, COLOR_CHANGED, COLOR_CHANGED};
    size_t counts[4] = {0};

    for (size_t i = 0; i < s->stage.nr_calls; i++) {
        counts[s->stage.calls[i].change]++;
    }
    printf("\nfrom %s: %zu call%s", shown_name(s->options->positional[0]), s->stage.nr_calls,
           s->stage.nr_calls == 1 ? "" : "s");
    for (unsigned i = 0, shown = 0; i < 4; i++) {
        if (counts[i]) {
            printf("%s%zu %s", shown++ ? ", " : ": ", counts[i], call_names[i]);
        }
    }
    putchar('\n');
    for (size_t i = 0; i < s->stage.nr_calls; i++) {
        const StageCall *call = &s->stage.calls[i];
        const KVMMemorySlot *slot =
            call->change == KVM_MODEL_DELETE || call->change == KVM_MODEL_MOVE ? &call->before
                                                                               : &call->after;
        printf("  %s%s%s %5u  ", color(s->options, colors[call->change]), call_names[call->change],
               color(s->options, COLOR_PLAIN), slot->id);
        print_slot(s, slot);
        if (call->change == KVM_MODEL_MOVE) {
            fputs("          to ", stdout);
            print_range(&call->after);
            putchar('\n');
        }
    }
}

static json_t *describe_calls(const Slots *s)
{
    json_t *calls = json_array();

    for (size_t i = 0; i < s->stage.nr_calls; i++) {
        const StageCall *call = &s->stage.calls[i];
        json_t *object = json_pack("{s:s}", "kind", call_names[call->change]);
        if (call->before.npages) {
            json_object_set_new(object, "before", describe_slot(s, &call->before));
        }
        if (call->after.npages) {
            json_object_set_new(object, "after", describe_slot(s, &call->after));
        }
        json_array_append_new(calls, object);
    }
    return calls;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static bool list_slot(const KVMMemorySlot *slot, void *opaque)
{
    printf("  %5u  ", slot->id);
    print_slot(opaque, slot);
    return false;
}

static int print_slots(Slots *s)
{
    unsigned max = kvm_get_max_memslots(s->stage.kvm);
    unsigned used = max - kvm_get_free_memslots(s->stage.kvm, s->stage.config.as_id);
    bool good = true;

    fputs(color(s->options, COLOR_HEAD), stdout);
    print_text(stdout, s->name);
    printf("%s: %u of %u slots%s\n", color(s->options, COLOR_PLAIN), used, max,
           s->stage.config.as_id == KVM_AS_SMM ? " of address space 1 (SMM)" : "");
    kvm_model_for_each_slot(s->stage.model, list_slot, s);
    print_left_out(s);
    if (s->views[1]) {
        print_calls(s);
    }
    for (unsigned i = 0; i < s->options->nr_stage2 && good; i++) {
        putchar('\n');
        good = print_walk(s, s->addresses[i]);
    }
    return good ? finish_output(s->views[1] && s->stage.nr_calls ? EXIT_DIFFERENT : EXIT_SAME)
                : EXIT_TROUBLE;
}

typedef struct SlotList {
    const Slots *slots;
    json_t *list;
} SlotList;

static bool list_slot_json(const KVMMemorySlot *slot, void *opaque)
{
    const SlotList *l = opaque;

    json_array_append_new(l->list, describe_slot(l->slots, slot));
    return false;
}

static int print_slots_json(Slots *s)
{
    SlotList l = {s, json_array()};

    kvm_model_for_each_slot(s->stage.model, list_slot_json, &l);
    json_t *root =
        json_pack("{s:o, s:i, s:i, s:o, s:o}", "space", json_text(s->name), "address_space",
                  (int)s->stage.config.as_id, "max_slots", (int)kvm_get_max_memslots(s->stage.kvm),
                  "slots", l.list, "no_slot", describe_left_out(s));
    if (s->views[1]) {
        json_object_set_new(root, "calls", describe_calls(s));
    }
    json_t *walks = json_array();
    for (unsigned i = 0; i < s->options->nr_stage2; i++) {
        json_t *walk = describe_walk(s, s->addresses[i]);
        if (!walk) {
            json_decref(walks);
            json_decref(root);
            return EXIT_TROUBLE;
        }
        json_array_append_new(walks, walk);
    }
    json_object_set_new(root, "stage2", walks);
    return print_json(root, s->views[1] && s->stage.nr_calls ? EXIT_DIFFERENT : EXIT_SAME);
}

static int show(Slots *s, const StageConfig *config)
{
    int status = EXIT_TROUBLE;

    if (stage_begin(&s->stage, config, s->views)) {
        status = EXIT_REFUSED;
        bool shown = stage_show(&s->stage, s->views[0], 0) &&
                     (!s->views[1] || stage_show(&s->stage, s->views[1], 1));
        if (shown) {
            status = s->options->json ? print_slots_json(s) : print_slots(s);
        }
    }
    stage_end(&s->stage);
    return status;
}

/* ---- arguments ----------------------------------------------------------------- */

static bool read_number(const char *option, const char *text, hwaddr least, hwaddr most,
                        hwaddr *number)
{
    if (text && !parse_size(text, number)) {
        return false;
    }
    if (text && (*number < least || *number > most)) {
        complain("slots: %s %s is not %" PRIu64 " to %" PRIu64, option, text, least, most);
        return false;
    }
    return true;
}

static bool read_options(Slots *s, StageConfig *config)
{
    const Options *options = s->options;
    hwaddr max_slots = 0, host_page = DEFAULT_HOST_PAGE;

    if (!read_number("--max-slot", options->max_slot, PAGE, UINT64_MAX, &config->max_slot) ||
        !read_number("--max-slots", options->max_slots, 1, 32764, &max_slots) ||
        !read_number("--host-page", options->host_page, 0, UINT64_MAX, &host_page)) {
        return false;
    }
    if (host_page != PAGE && host_page != (hwaddr)2 << 20 && host_page != (hwaddr)1 << 30) {
        complain("slots: --host-page %s is not 4K, 2M or 1G", options->host_page);
        return false;
    }
    if (config->max_slot % PAGE) {
        complain("slots: --max-slot %s is not a multiple of 4K", options->max_slot);
        return false;
    }
    for (unsigned i = 0; i < options->nr_stage2; i++) {
        if (!parse_address(options->stage2[i], &s->addresses[i])) {
            return false;
        }
    }
    config->max_slots = (unsigned)max_slots;
    config->host_page = host_page;
    config->log = options->log;
    return true;
}

/* The view to be shown, and the name of its address space; NULL after a complaint. */
static FlatView *take_view(Slots *s, const MemoryImport *import, unsigned index)
{
    size_t count;
    const char *path = s->options->positional[index];
    AddressSpace **spaces = choose_spaces(import, path, s->options->as_name, &count);
    FlatView *view = NULL;

    if (spaces && count == 0) {
        complain("%s: there is no address space", shown_name(path));
    } else if (spaces) {
        view = address_space_get_flatview(spaces[0]);
        s->name = address_space_name(spaces[0]);
    }
    free(spaces);
    return view;
}

static int run(const Options *options)
{
    Slots s = {.options = options};
    StageConfig config = {.as_id = KVM_AS_MEMORY};
    MemoryImport *imports[STAGE_MAPS] = {NULL};
    bool good = read_options(&s, &config);

    for (unsigned i = 0; i < STAGE_MAPS && options->positional[i] && good; i++) {
        imports[i] = load_source(options, i);
        s.views[i] = imports[i] ? take_view(&s, imports[i], i) : NULL;
        s.view = s.views[i];
        good = s.view;
    }
    int status = EXIT_TROUBLE;
    if (good) {
        config.as_id = strncmp(s.name, "cpu-smm", 7) == 0 ? KVM_AS_SMM : KVM_AS_MEMORY;
        status = show(&s, &config);
    }
    for (unsigned i = 0; i < STAGE_MAPS; i++) {
        flatview_unref(s.views[i]);
        memory_import_free(imports[i]);
    }
    return status;
}

const Command cmd_slots = {
    .name = "slots",
    .arguments = "SOURCE [NEWER]",
    .summary = "List KVM's slots for a map, and the calls to get to NEWER",
    .options = "               (without it: `memory`, or the first if there is none)\n"
               "  --stage2 GPA read GPA as a vCPU would, then walk the second-stage page table;\n"
               "               may come several times\n"
               "  --write      write instead\n"
               "  --log        log dirty pages of all memory, as migration does\n"
               "  --host-page SIZE\n"
               "               the largest page that the host maps memory with (2M)\n"
               "  --max-slot SIZE, --max-slots N\n"
               "               the largest slot, and how many the kernel has\n",
    .min_sources = 1,
    .max_sources = 2,
    .max_flats = 2,
    .takes_as = true,
    .takes_slots = true,
    .run = run,
};
