/* SPDX-License-Identifier: MIT */
/*
 * Adding and removing memory devices. What all kinds have in common is here; each kind is a
 * MemoryDeviceClass, the plainest of which, the dimm, is here, too.
 *
 * Everything that can be refused is checked before the one edit of the map, which is the last
 * step: if it fails, what was made for the device is taken apart again, and nobody has seen it.
 */
#include "base/error.h"
#include "base/range.h"
#include "base/text.h"
#include "dimm/device.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Anonymous memory is aligned so that the host can use huge pages for it. */
#define ANONYMOUS_ALIGN (2ULL << 20)
static const MemoryDeviceClass *const classes[] = {
    [MEMORY_DEVICE_DIMM] = &memory_device_dimm,
    [MEMORY_DEVICE_NVDIMM] = &memory_device_nvdimm,
    [MEMORY_DEVICE_VIRTIO_MEM] = &memory_device_virtio_mem,
};

static int realize_dimm(MemoryDeviceState *md, const MemoryDeviceConfig *config)
{
    (void)config;
    md->region = md->memory;
    return 0;
}

const MemoryDeviceClass memory_device_dimm = {
    .type = "pc-dimm", .has_slot = true, .realize = realize_dimm};

/* ---- looking up --------------------------------------------------------------------- */

typedef struct Visit {
    bool (*visit)(MemoryDeviceState *md, void *opaque);
    void *opaque;
} Visit;

static bool visit_place(IntervalNode *place, void *opaque)
{
    const Visit *visit = opaque;

    return visit->visit(container_of(place, MemoryDeviceState, place), visit->opaque);
}

bool memory_devices_for_each(MemorySystem *ms, bool (*visit)(MemoryDeviceState *md, void *opaque),
                             void *opaque)
{
    Visit state = {visit, opaque};

    machine_lock(ms);
    bool stopped =
        ms->memory_devices && interval_for_each_overlap(ms->memory_devices->by_address, 0,
                                                        UINT64_MAX, visit_place, &state);
    machine_unlock(ms);
    return stopped;
}

typedef struct Search {
    const char *id;
    MemoryDeviceState *found;
} Search;

static bool has_id(MemoryDeviceState *md, void *opaque)
{
    Search *search = opaque;

    if (strcmp(md->id, search->id) != 0) {
        return false;
    }
    search->found = md;
    return true;
}

MemoryDeviceState *memory_device_find(MemorySystem *ms, const char *id)
{
    Search search = {.id = id};

    if (id && *id) {
        memory_devices_for_each(ms, has_id, &search);
    }
    return search.found;
}

/* ---- adding ------------------------------------------------------------------------- */

/* Printers, paths and sentences show it as it is. */
static int check_id(const char *id)
{
    size_t length = strlen(id), good = text_id_length(id);

    if (good < length) {
        return fail(EINVAL,
                    "a memory device's id has 0x%02x as character %zu: an id begins with a letter "
                    "and goes on with letters, digits, '-', '.' and '_'",
                    (unsigned char)id[good], good);
    }
    if (length > TEXT_ID_MAX) {
        return fail(EINVAL, "memory device '%.20s...': an id of %zu bytes is longer than %d", id,
                    length, TEXT_ID_MAX);
    }
    return 0;
}

static int check_config(MemorySystem *ms, const MemoryDeviceConfig *config)
{
    const char *id = config->id ? config->id : "";
    int result = check_id(id);

    if (result) {
        return result;
    }
    if (!ms->memory_devices) {
        return fail(ENODEV,
                    "memory device '%s': the machine has no area for memory devices "
                    "(memory_devices_init)",
                    id);
    }
    if (ms->notifying) { /* said here, before anything of the backend is touched */
        return fail(EBUSY, "memory device '%s' cannot be added from a listener's callback", id);
    }
    if ((unsigned)config->kind >= sizeof classes / sizeof *classes) {
        return fail(EINVAL, "memory device '%s': there is no kind %d", id, (int)config->kind);
    }
    if (!config->memdev) {
        return fail(ENODEV, "memory device '%s' has no memory backend (memdev)", id);
    }
    if (region_system(host_memory_backend_get_memory(config->memdev)) != ms) {
        return fail(EINVAL, "memory device '%s': its backend belongs to another machine", id);
    }
    if (config->node >= MEMORY_DEVICES_MAX_NODES) {
        return fail(EINVAL, "memory device '%s': node %u is not below %d", id, config->node,
                    MEMORY_DEVICES_MAX_NODES);
    }
    if (memory_device_find(ms, id)) {
        return fail(EEXIST, "there is a memory device '%s' already", id);
    }
    return 0;
}

static void free_device(void *opaque)
{
    MemoryDeviceState *md = opaque;

    free(md->id);
    free(md);
}

/* A device with an owner and a claimed backend; NULL with a sentence. */
static MemoryDeviceState *make_device(MemoryDevices *area, const MemoryDeviceConfig *config)
{
    const HostMemoryConfig *memdev = host_memory_backend_config(config->memdev);
    MemoryDeviceState *md = calloc(1, sizeof *md);
    char *id = text_copy(config->id);
    char path[64] = "";

    if (!md || !id) {
        free(md);
        free(id);
        fail_no_memory("a memory device");
        return NULL;
    }
    if (!*id) { /* printed as QEMU's printers name a device without an id */
        snprintf(path, sizeof path, "owner:{dev path=/machine/peripheral-anon/device[%u]}",
                 area->anonymous++);
    }
    md->owner = memory_owner_create(area->ms, *id ? id : path, free_device, md);
    if (!md->owner) {
        free(md);
        free(id);
        return NULL;
    }
    md->class = classes[config->kind];
    md->kind = config->kind;
    md->area = area;
    md->id = id;
    md->memory = host_memory_backend_get_memory(config->memdev);
    md->slot = -1;
    md->node = config->node;
    md->hotplugged = config->hotplugged;
    md->align = hwaddr_max(memdev->align, qemu_ram_pagesize(md->memory->ram_block));
    if (memdev->kind == HOST_MEMORY_RAM) {
        md->align = hwaddr_max(md->align, ANONYMOUS_ALIGN);
    }
    return md;
}

/* Take apart what is not mapped (any more). */
static void end_device(MemoryDeviceState *md)
{
    if (md->class->unrealize) {
        md->class->unrealize(md);
    }
    if (md->memdev) {
        host_memory_backend_release(md->memdev);
    }
    memory_owner_unref(md->owner);
}

static int place_device(MemoryDeviceState *md, const MemoryDeviceConfig *config)
{
    char what[128];
    int result = 0;

    snprintf(what, sizeof what, "memory device '%s'", md->id);
    if (md->class->has_slot) {
        result = area_find_slot(md->area, what, config->slot, &md->slot);
    }
    if (!result) {
        hwaddr size = memory_region_size(md->region);
        result = area_find_address(md->area, what, config->addr ? &config->addr : NULL, md->align,
                                   size, &md->place.first);
        md->place.last = md->place.first + (size - 1);
    }
    return result;
}

/* A claim holds off those who claim. */
static int claim(MemoryDeviceState *md, HostMemoryBackend *memdev)
{
    char who[128];

    snprintf(who, sizeof who, "memory device '%s'", md->id);
    int result = host_memory_backend_claim(memdev, who, NULL);
    if (result) {
        return result;
    }
    md->memdev = memdev;
    if (md->memory->state.container || md->memory->discard_manager) {
        return fail(EBUSY, "memory device '%s': its backend '%s' is mapped, or managed, already",
                    md->id, md->memory->name);
    }
    return 0;
}

static int plug(MemoryDeviceState *md, const MemoryDeviceConfig *config)
{
    int result = claim(md, config->memdev);

    if (!result) {
        result = md->class->realize(md, config);
    }
    if (!result) {
        result = place_device(md, config);
    }
    if (!result && md->class->prepare) {
        result = md->class->prepare(md);
    }
    if (!result) {
        interval_insert(&md->area->by_address, &md->place); /* listeners can find it */
        result = memory_region_add_subregion(&md->area->region, md->place.first - md->area->base,
                                             md->region);
        if (result) {
            interval_remove(&md->area->by_address, &md->place);
        }
    }
    return result;
}

MemoryDeviceState *memory_device_add_config(MemorySystem *ms, const MemoryDeviceConfig *config,
                                            Error **errp)
{
    MemoryDeviceState *md = NULL;

    if (!ms || !config) {
        error_pass(errp,
                   fail(EINVAL, "a memory device: %s is NULL", ms ? "config" : "the machine"));
        return NULL;
    }
    machine_lock(ms);
    int result = check_config(ms, config);
    if (!result) {
        md = make_device(ms->memory_devices, config);
        result = md ? plug(md, config) : -ENOMEM;
    }
    if (result && md) {
        end_device(md);
        md = NULL;
    }
    machine_unlock(ms);
    error_pass(errp, result);
    return md;
}

/* ---- removing ----------------------------------------------------------------------- */

static int unplug(MemoryDeviceState *md)
{
    int result = md->class->check_unplug ? md->class->check_unplug(md) : 0;

    if (!result && md->region->state.container == &md->area->region) { /* not after a restore */
        result = memory_region_del_subregion(&md->area->region, md->region);
    }
    if (!result) {
        interval_remove(&md->area->by_address, &md->place);
        end_device(md);
    }
    return result;
}

int memory_device_del(MemoryDeviceState *md, Error **errp)
{
    if (!md) {
        return 0;
    }
    MemorySystem *ms = md->area->ms;

    machine_lock(ms);
    int result = unplug(md);
    machine_unlock(ms);
    return error_pass(errp, result);
}

/* ---- questions ---------------------------------------------------------------------- */

void memory_device_query(const MemoryDeviceState *md, MemoryDeviceInfo *info)
{
    *info = (MemoryDeviceInfo){
        .kind = md->kind,
        .id = md->id,
        .memdev = host_memory_backend_config(md->memdev)->id,
        .addr = md->place.first,
        .size = md->place.last - md->place.first + 1,
        .slot = md->slot,
        .node = md->node,
        .hotplugged = md->hotplugged,
        .hotpluggable = true,
    };
    if (md->class->query) {
        md->class->query(md, info);
    }
}

static bool add_size(MemoryDeviceState *md, void *opaque)
{
    MemoryDeviceInfo info;

    memory_device_query(md, &info);
    *(hwaddr *)opaque += info.size;
    return false;
}

hwaddr memory_devices_plugged_size(MemorySystem *ms)
{
    hwaddr size = 0;

    memory_devices_for_each(ms, add_size, &size);
    return size;
}

MemoryRegion *memory_device_get_memory_region(MemoryDeviceState *md)
{
    return md->region;
}

HostMemoryBackend *memory_device_get_backend(MemoryDeviceState *md)
{
    return md->memdev;
}

int device_check_kind(const MemoryDeviceState *md, MemoryDeviceKind kind)
{
    return md->kind == kind ? 0
                            : fail(EINVAL, "memory device '%s' is a %s, not a %s", md->id,
                                   md->class->type, classes[kind]->type);
}
