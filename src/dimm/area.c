/* SPDX-License-Identifier: MIT */
/*
 * The area for memory devices: where they go, and which slot they take.
 *
 * Addresses are found first fit: a candidate starts at the base and is moved behind each device,
 * by ascending address, that is in its way. A machine has few devices, and finding a place is
 * rare, so nothing is kept but the index of places.
 */
#include "base/bitmap.h"
#include "base/error.h"
#include "base/range.h"
#include "dimm/device.h"
#include "map/region.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define AREA_PAGE 4096

/* ---- the area ----------------------------------------------------------------------- */

static int check_area(const MemorySystem *ms, hwaddr base, hwaddr size, unsigned slots)
{
    hwaddr room = slots * MEMORY_DEVICES_SLOT_ROOM, last;

    if (ms->memory_devices) {
        return fail(EBUSY, "there is an area for memory devices already, at 0x%" PRIx64,
                    ms->memory_devices->base);
    }
    if (slots > MEMORY_DEVICES_MAX_SLOTS) {
        return fail(EINVAL, "%u slots for memory devices are more than %d", slots,
                    MEMORY_DEVICES_MAX_SLOTS);
    }
    if (size == 0 || base % AREA_PAGE || size % AREA_PAGE) {
        return fail(EINVAL,
                    "an area for memory devices of 0x%" PRIx64 " bytes at 0x%" PRIx64
                    " is empty or not made of 4 KiB pages",
                    size, base);
    }
    if (__builtin_add_overflow(size, room, &size) ||
        __builtin_add_overflow(base, size - 1, &last)) {
        return fail(EINVAL,
                    "an area for memory devices of 0x%" PRIx64 " bytes at 0x%" PRIx64
                    " does not fit below 2^64",
                    size, base);
    }
    return 0;
}

static int make_area(MemorySystem *ms, hwaddr base, hwaddr size, unsigned slots)
{
    MemoryDevices *area = malloc(sizeof *area);

    if (!area) {
        return fail_no_memory("an area for memory devices");
    }
    hwaddr length = size + slots * MEMORY_DEVICES_SLOT_ROOM;
    *area = (MemoryDevices){
        .ms = ms, .base = base, .last = base + (length - 1), .limit = size, .slots = slots};
    area->owner = memory_owner_create(ms, "device-memory", free, area);
    if (!area->owner) {
        free(area);
        return -ENOMEM;
    }
    int result = memory_region_init(&area->region, area->owner, "device-memory", length);
    if (!result) {
        area->region.device_memory = true;
        result = memory_region_add_subregion(&ms->system_region, base, &area->region);
    }
    if (result) {
        memory_owner_unref(area->owner);
    } else {
        ms->memory_devices = area;
    }
    return result;
}

int memory_devices_init(MemorySystem *ms, hwaddr base, hwaddr size, unsigned slots, Error **errp)
{
    machine_lock(ms);
    int result = check_area(ms, base, size, slots);
    if (!result) {
        result = make_area(ms, base, size, slots);
    }
    machine_unlock(ms);
    return error_pass(errp, result);
}

static int end_area(MemoryDevices *area)
{
    if (area->by_address) {
        IntervalNode *node = interval_first_overlap(area->by_address, 0, UINT64_MAX);
        return fail(EBUSY, "memory device '%s' is still plugged",
                    container_of(node, MemoryDeviceState, place)->id);
    }
    int result = memory_region_del_subregion(&area->ms->system_region, &area->region);
    if (!result) {
        area->ms->memory_devices = NULL;
        memory_owner_unref(area->owner);
    }
    return result;
}

int memory_devices_finalize(MemorySystem *ms, Error **errp)
{
    machine_lock(ms);
    int result = ms->memory_devices ? end_area(ms->memory_devices) : 0;
    machine_unlock(ms);
    return error_pass(errp, result);
}

MemoryRegion *memory_devices_region(MemorySystem *ms)
{
    return ms->memory_devices ? &ms->memory_devices->region : NULL;
}

/* ---- addresses ---------------------------------------------------------------------- */

static bool add_length(IntervalNode *place, void *opaque)
{
    *(hwaddr *)opaque += place->last - place->first + 1;
    return false;
}

static int check_size(MemoryDevices *area, const char *what, hwaddr align, hwaddr size)
{
    hwaddr used = 0;

    if (align == 0 || (align & (align - 1))) {
        return fail(EINVAL, "%s: an alignment of 0x%" PRIx64 " is not a power of two", what, align);
    }
    if (size == 0 || size % align) {
        return fail(EINVAL, "%s: its 0x%" PRIx64 " bytes are not a multiple of 0x%" PRIx64, what,
                    size, align);
    }
    interval_for_each_overlap(area->by_address, 0, UINT64_MAX, add_length, &used);
    if (size > area->limit - used) {
        return fail(ENOSPC,
                    "%s: its 0x%" PRIx64 " bytes are too many: 0x%" PRIx64 " of the 0x%" PRIx64
                    " for memory devices are in use",
                    what, size, used, area->limit);
    }
    return 0;
}

static int check_hint(MemoryDevices *area, const char *what, hwaddr addr, hwaddr align, hwaddr size)
{
    if (addr % align) {
        return fail(EINVAL, "%s: address 0x%" PRIx64 " is not a multiple of 0x%" PRIx64, what, addr,
                    align);
    }
    if (addr < area->base || addr > area->last || size - 1 > area->last - addr) {
        return fail(ERANGE,
                    "%s: 0x%" PRIx64 " bytes at 0x%" PRIx64 " are not within 0x%" PRIx64
                    "-0x%" PRIx64 ", where memory devices go",
                    what, size, addr, area->base, area->last);
    }
    IntervalNode *place = interval_first_overlap(area->by_address, addr, addr + (size - 1));
    if (place) {
        return fail(EEXIST,
                    "%s: 0x%" PRIx64 "-0x%" PRIx64 " overlaps memory device '%s' at 0x%" PRIx64
                    "-0x%" PRIx64,
                    what, addr, addr + (size - 1),
                    container_of(place, MemoryDeviceState, place)->id, place->first, place->last);
    }
    return 0;
}

typedef struct Candidate {
    hwaddr addr, size, align;
    bool exhausted; /* there are no higher addresses */
} Candidate;

/* Move to the lowest aligned address from @addr on. */
static void move_to(Candidate *candidate, hwaddr addr)
{
    hwaddr mask = candidate->align - 1;

    candidate->exhausted = addr > UINT64_MAX - mask;
    candidate->addr = (addr + mask) & ~mask;
}

static bool step_over(IntervalNode *place, void *opaque)
{
    Candidate *candidate = opaque;

    if (hwaddr_add_clipped(candidate->addr, candidate->size - 1) < place->first) {
        return true;
    }
    if (place->last == UINT64_MAX) {
        candidate->exhausted = true;
    } else {
        move_to(candidate, place->last + 1);
    }
    return candidate->exhausted;
}

static int first_fit(MemoryDevices *area, const char *what, hwaddr align, hwaddr size, hwaddr *addr)
{
    Candidate candidate = {.size = size, .align = align};

    move_to(&candidate, area->base);
    if (!candidate.exhausted) {
        interval_for_each_overlap(area->by_address, area->base, area->last, step_over, &candidate);
    }
    if (candidate.exhausted || candidate.addr > area->last ||
        size - 1 > area->last - candidate.addr) {
        return fail(ENOSPC,
                    "%s: no gap of 0x%" PRIx64 " bytes, aligned to 0x%" PRIx64 ", in 0x%" PRIx64
                    "-0x%" PRIx64,
                    what, size, align, area->base, area->last);
    }
    *addr = candidate.addr;
    return 0;
}

int area_find_address(MemoryDevices *area, const char *what, const hwaddr *hint, hwaddr align,
                      hwaddr size, hwaddr *addr)
{
    int result = check_size(area, what, align, size);

    if (result) {
        return result;
    }
    if (!hint) {
        return first_fit(area, what, align, size, addr);
    }
    result = check_hint(area, what, *hint, align, size);
    if (!result) {
        *addr = *hint;
    }
    return result;
}

int memory_device_get_free_addr(MemorySystem *ms, const hwaddr *hint, hwaddr align, hwaddr size,
                                hwaddr *addr, Error **errp)
{
    machine_lock(ms);
    int result =
        ms->memory_devices
            ? area_find_address(ms->memory_devices, "a memory device", hint, align, size, addr)
            : fail(ENODEV, "there is no area for memory devices (memory_devices_init)");
    machine_unlock(ms);
    return error_pass(errp, result);
}

/* ---- slots -------------------------------------------------------------------------- */

typedef struct Slots {
    uint64_t taken[BITMAP_WORDS(MEMORY_DEVICES_MAX_SLOTS)];
    int wanted;
    const MemoryDeviceState *holder; /* of the wanted one */
} Slots;

static bool note_slot(IntervalNode *place, void *opaque)
{
    const MemoryDeviceState *md = container_of(place, MemoryDeviceState, place);
    Slots *slots = opaque;

    if (md->slot >= 0) {
        bitmap_assign(slots->taken, (size_t)md->slot, (size_t)md->slot, true);
    }
    if (md->slot == slots->wanted) {
        slots->holder = md;
    }
    return false;
}

int area_find_slot(MemoryDevices *area, const char *what, int wanted, int *slot)
{
    Slots slots = {.wanted = wanted};

    if (wanted < -1 || wanted >= (int)area->slots) {
        return fail(EINVAL, "%s: there is no slot %d: the machine has %u", what, wanted,
                    area->slots);
    }
    interval_for_each_overlap(area->by_address, 0, UINT64_MAX, note_slot, &slots);
    if (wanted >= 0) {
        *slot = wanted;
        return slots.holder ? fail(EBUSY, "%s: slot %d is taken by memory device '%s'", what,
                                   wanted, slots.holder->id)
                            : 0;
    }
    size_t free_slot =
        area->slots ? bitmap_find(slots.taken, 0, area->slots - 1, false) : area->slots;
    if (free_slot == area->slots) {
        return fail(ENOSPC, "%s: none of the machine's %u slots is free", what, area->slots);
    }
    *slot = (int)free_slot;
    return 0;
}
