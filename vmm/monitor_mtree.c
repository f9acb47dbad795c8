/* SPDX-License-Identifier: MIT */
/* The monitor: info mtree. */
#include "monitor.h"

#include <errno.h>
#include <inttypes.h>
#include <membus/inspect.h>
#include <stdlib.h>
#include <string.h>

/* ---- What KVM backs --------------------------------------------------------------------- */

/*
 * QEMU ends each RAM range that KVM backs in its name, once for every address space of the view
 * that KVM was given. membus does not know whom the machine gave it: a line ` AS "NAME"` of a
 * view's head tells which these are, and KVM's slots which ranges.
 */
typedef struct Suffixes {
    KVMState *kvm;
    unsigned as_ids[2], count; /* KVM's address spaces that the view is shown in */
} Suffixes;

static void read_head(Suffixes *s, const char *line)
{
    if (strncmp(line, "FlatView #", 10) == 0) {
        s->count = 0;
    } else if (strncmp(line, " AS \"memory\"", 12) == 0) {
        s->as_ids[s->count++ % 2] = KVM_AS_MEMORY;
    } else if (strncmp(line, " AS \"cpu-smm-0\"", 15) == 0) {
        s->as_ids[s->count++ % 2] = KVM_AS_SMM;
    }
}

/* A line of a range: "  0123456789abcdef-0123456789abcdef ...". */
static bool read_range(const char *line, hwaddr *first, hwaddr *last)
{
    char *end;

    *first = strtoull(line, &end, 16);
    if (strncmp(line, "  ", 2) != 0 || end != line + 18 || *end != '-') {
        return false;
    }
    *last = strtoull(line + 19, &end, 16);
    return end == line + 35;
}

static void print_suffixes(const Suffixes *s, const char *line, FILE *out)
{
    hwaddr first, last;
    KVMSlot slot;

    if (!read_range(line, &first, &last)) {
        return;
    }
    /* A range may begin within a page, and its slot behind that. */
    hwaddr page = (first + 0xfff) & ~UINT64_C(0xfff);
    for (unsigned i = 0; i < s->count && i < 2; i++) {
        if (page >= first && page <= last && kvm_find_slot(s->kvm, s->as_ids[i], page, &slot)) {
            fputs(" KVM", out);
        }
    }
}

static void print_with_suffixes(Machine *m, char *text, FILE *out)
{
    Suffixes s = {.kvm = machine_kvm(m)};
    char *save;

    for (char *line = text; *line; line = save) {
        save = strchrnul(line, '\n');
        save += *save == '\n';
        int length = (int)(save - line) - (save > line && save[-1] == '\n');
        read_head(&s, line);
        fprintf(out, "%.*s", length, line);
        print_suffixes(&s, line, out);
        fputc('\n', out);
    }
}

/* ---- How an address is looked up ----------------------------------------------------- */

static void print_lookup(const FlatView *view, FILE *out)
{
    MemoryRegionSection section;
    hwaddr addr = 0;
    unsigned number = 0;

    fputs("  Dispatch\n    Physical sections\n"
          "      #0 @0000000000000000..ffffffffffffffff (noname) [unassigned]\n",
          out);
    while (flatview_next(view, addr, &section)) {
        fprintf(out, "      #%u @%016" PRIx64 "..%016" PRIx64 " %s%s\n", ++number,
                section.offset_within_address_space, section.last_within_address_space,
                memory_region_name(section.mr), section.readonly ? " [ROM]" : "");
        if (section.last_within_address_space == UINT64_MAX) {
            break;
        }
        addr = section.last_within_address_space + 1;
    }
}

static bool print_lookup_of(AddressSpace *as, void *opaque)
{
    FlatView *view = address_space_get_flatview(as);

    fprintf(opaque, "AS \"%s\"\n", address_space_name(as));
    print_lookup(view, opaque);
    flatview_unref(view);
    return false;
}

/* ---- For programs: views as `membus flat --json` has them ---------------------------- */

static json_t *list_ranges(const FlatView *view)
{
    MemoryRegionSection s;
    json_t *ranges = json_array();

    for (hwaddr addr = 0; flatview_next(view, addr, &s); addr = s.last_within_address_space + 1) {
        json_array_append_new(ranges,
                              json_pack("{s:o, s:o, s:i, s:s, s:o, s:o}", "first",
                                        monitor_json_address(s.offset_within_address_space), "last",
                                        monitor_json_address(s.last_within_address_space),
                                        "priority", (int)memory_region_priority(s.mr), "type",
                                        mtree_type(s.mr, s.readonly, s.nonvolatile, s.romd), "name",
                                        monitor_json_text(memory_region_name(s.mr)), "offset",
                                        monitor_json_address(s.offset_within_region)));
        if (s.last_within_address_space == UINT64_MAX) {
            break;
        }
    }
    return ranges;
}

static bool list_space(AddressSpace *as, void *opaque)
{
    FlatView *view = address_space_get_flatview(as);

    json_array_append_new(
        opaque, json_pack("{s:o, s:o, s:o}", "name", monitor_json_text(address_space_name(as)),
                          "root", monitor_json_text(memory_region_name(address_space_root(as))),
                          "ranges", list_ranges(view)));
    flatview_unref(view);
    return false;
}

/* ---- The command --------------------------------------------------------------------- */

static int print_tree(MonitorCall *call, unsigned flags)
{
    Machine *m = call->machine;

    if (!(flags & MTREE_FLAT) || !machine_kvm(m)) {
        return mtree_print(m->ms, call->out, flags, NULL);
    }
    char *text = NULL;
    size_t length;
    FILE *buffer = open_memstream(&text, &length);
    if (!buffer) {
        return -ENOMEM;
    }
    int result = mtree_print(m->ms, buffer, flags, NULL);
    fclose(buffer);
    if (result == 0 && text) {
        print_with_suffixes(m, text, call->out);
    }
    free(text);
    return result;
}

int monitor_info_mtree(MonitorCall *call)
{
    MemorySystem *ms = call->machine->ms;
    bool flat = call->args[0].given, lookup = call->args[1].given;
    unsigned flags = (flat ? MTREE_FLAT : 0) | (call->args[2].given ? MTREE_OWNER : 0) |
                     (call->args[3].given ? MTREE_DISABLED : 0);
    int result = 0;

    memory_system_lock(ms);
    if (call->json && flat) {
        json_t *spaces = json_array();
        memory_system_for_each_address_space(ms, list_space, spaces);
        result = monitor_set_result(call, spaces);
    } else {
        result = print_tree(call, flags);
        if (result == 0 && flat && lookup) {
            memory_system_for_each_address_space(ms, print_lookup_of, call->out);
        }
        if (result < 0) {
            error_set(&call->err, -result, "%s", membus_last_error());
        }
    }
    memory_system_unlock(ms);
    return result;
}
