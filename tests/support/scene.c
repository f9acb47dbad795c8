/* SPDX-License-Identifier: MIT */
#include "scene.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "machine.h"

static const MemoryRegionOps no_ops;

void scene_start(Scene *s)
{
    MemoryRegion *system;

    *s = (Scene){.ms = machine_start(), .fd = -1};
    s->memory = memory_system_memory(s->ms);
    system = get_system_memory(s->ms);
    make_ram(s->ms, &s->ram, "ram", 0x4000);
    map_at(s->ms, 0, &s->ram);
    s->dev = device_new(s->ms, "dev", true);
    OK(device_init(s->dev, 0x40, DEVICE_LITTLE_ENDIAN));
    map_at(s->ms, 0x5000, &s->dev->mr);
    make_alias(s->ms, &s->window, &s->ram, 0x1000, 0x2000);
    OK(memory_region_add_subregion_overlap(system, 0x7000, &s->window, 1));
    make_container(s->ms, &s->box, "box", 0x10000);
    OK(memory_region_init_io(&s->sub, memory_system_owner(s->ms), &no_ops, NULL, "sub", 0x123));
    OK(memory_region_add_subregion(&s->box, 0x77, &s->sub));
    map_at(s->ms, 0x20000, &s->box);
    OK(memory_region_init_resizeable_ram(&s->grow, memory_system_owner(s->ms), "grow", 0x1000,
                                         0x4000, NULL, NULL));
    map_at(s->ms, 0x100000000, &s->grow);
    make_container(s->ms, &s->root, "root", UINT64_MAX);
    make_alias(s->ms, &s->bus, system, 0, UINT64_MAX);
    OK(memory_region_add_subregion(&s->root, 0x1000, &s->bus));
    OK(address_space_init(&s->dma, &s->root, "dma"));
    make_container(s->ms, &s->spare, "spare", 0x1000);
    make_ram(s->ms, &s->spare_ram, "spare ram", 0x1000);
    s->made = calloc(1, sizeof(*s->made));
    s->extra = calloc(1, sizeof(*s->extra));
}

void scene_end(Scene *s)
{
    OK(memory_listener_unregister(&s->listener));
    address_space_cache_destroy(&s->cache);
    if (s->mapped) {
        OK(address_space_unmap(s->memory, s->mapped, s->mapped_len, false, 0));
    }
    memory_owner_unref(s->owner);
    if (memory_region_is_mapped(&s->dev->mr)) {
        OK(memory_region_del_subregion(memory_region_container(&s->dev->mr), &s->dev->mr));
    }
    device_drop(s->dev);
    OK(address_space_destroy(&s->dma));
    if (address_space_root(s->extra)) {
        OK(address_space_destroy(s->extra));
    }
    machine_end(s->ms);
    free(s->made);
    free(s->extra);
    if (s->fd >= 0) {
        close(s->fd);
    }
}
