/* SPDX-License-Identifier: MIT */
/*
 * commits.c - changing a map that stands: commit_1k, commit_100k, commit_window.
 *
 * What is removed is reclaimed by another thread, as in any program; a sample waits for that after
 * its clock has stopped.
 */
#include "bench.h"
#include "peers.h"
#include "world.h"

#include <membus/trace.h>

#include <stdlib.h>
#include <unistd.h>

#define PAM_SIZE (4 * PAGE)

/* A map of regions one after the other, a place for one more, and PAM's window in it. */
typedef struct Stand {
    World world;
    size_t count;
    MemoryRegion extra, shadow, window;
    FlatArray *array;
    Unicorn *unicorn;
    uint8_t *unicorn_ram;
    unsigned changes; /* in one sample */
} Stand;

/* In the middle of the map, where a whole map has to be moved for it by who moves things. */
static hwaddr extra_address(const Stand *stand)
{
    return world_separate_address(stand->count / 2) + PAGE;
}

static void stand_init(Stand *stand, size_t count, unsigned changes, bool with_unicorn)
{
    *stand = (Stand){.count = count, .changes = changes};
    world_init(&stand->world, count, (count + 1) / 2 * PAGE + PAGE);
    memory_region_transaction_begin(stand->world.ms);
    for (size_t i = 0; i < count; i++) {
        world_add_separate(&stand->world, i);
    }
    must(memory_region_transaction_commit(stand->world.ms));
    must(memory_region_init_ram_ptr(&stand->extra, memory_system_owner(stand->world.ms), "extra",
                                    PAGE, stand->world.ram + (count + 1) / 2 * PAGE));

    stand->array = flatarray_create(count, world_separate_address, PAGE);
    if (with_unicorn && unicorn_available()) {
        stand->unicorn = unicorn_create();
        stand->unicorn_ram = map_pages((count + 1) * PAGE);
        for (size_t i = 0; i < count; i++) {
            if (i % 2 == 0) {
                unicorn_map_ram(stand->unicorn, world_separate_address(i), PAGE,
                                stand->unicorn_ram + i * PAGE);
            } else {
                unicorn_map_device(stand->unicorn, world_separate_address(i), PAGE);
            }
        }
    }
}

static void stand_destroy(Stand *stand)
{
    if (stand->unicorn) {
        unicorn_destroy(stand->unicorn);
        unmap_pages(stand->unicorn_ram, (stand->count + 1) * PAGE);
    }
    flatarray_destroy(stand->array);
    world_destroy(&stand->world);
}

static double add_and_remove(void *opaque)
{
    Stand *stand = opaque;
    hwaddr addr = extra_address(stand);
    double start = now_ns();
    for (unsigned i = 0; i < stand->changes; i++) {
        must(memory_region_add_subregion(stand->world.root, addr, &stand->extra));
        must(memory_region_del_subregion(stand->world.root, &stand->extra));
    }
    double end = now_ns();
    world_expect(&stand->world, addr, NULL);
    must(memory_region_add_subregion(stand->world.root, addr, &stand->extra));
    world_expect(&stand->world, addr, &stand->extra);
    must(memory_region_del_subregion(stand->world.root, &stand->extra));
    memory_system_drain(stand->world.ms);
    return (end - start) / stand->changes / 1e3;
}

static double add_and_remove_flatarray(void *opaque)
{
    Stand *stand = opaque;
    hwaddr addr = extra_address(stand);
    unsigned changes = 20 + (unsigned)(1000000 / stand->count);
    double start = now_ns();
    for (unsigned i = 0; i < changes; i++) {
        flatarray_add(stand->array, addr, PAGE, stand);
        flatarray_del(stand->array, addr);
    }
    return (now_ns() - start) / changes / 1e3;
}

static double add_and_remove_unicorn(void *opaque)
{
    Stand *stand = opaque;
    hwaddr addr = extra_address(stand);
    unsigned changes = 50;
    double start = now_ns();
    for (unsigned i = 0; i < changes; i++) {
        unicorn_map_ram(stand->unicorn, addr, PAGE, stand->unicorn_ram + stand->count * PAGE);
        unicorn_unmap(stand->unicorn, addr, PAGE);
    }
    return (now_ns() - start) / changes / 1e3;
}

static double toggle_window(void *opaque)
{
    Stand *stand = opaque;
    double start = now_ns();
    for (unsigned i = 0; i < stand->changes; i++) {
        must(memory_region_set_enabled(&stand->window, i % 2 == 0));
    }
    double end = now_ns();
    hwaddr addr = world_separate_address(stand->count / 2);
    world_expect(&stand->world, addr, &stand->world.regions[stand->count / 2]);
    must(memory_region_set_enabled(&stand->window, true));
    world_expect(&stand->world, addr, &stand->shadow);
    must(memory_region_set_enabled(&stand->window, false));
    memory_system_drain(stand->world.ms);
    return (end - start) / stand->changes / 1e3;
}

/* The same while every commit is recorded in a file. */
static double toggle_window_traced(void *opaque)
{
    Stand *stand = opaque;
    char path[] = "/tmp/membus-bench-XXXXXX";
    int fd = mkstemp(path);

    must(fd < 0);
    close(fd);
    MapTrace *trace = map_trace_create(stand->world.ms, path, NULL, NULL);
    must(!trace);
    double result = toggle_window(stand);
    must(map_trace_stop(trace, NULL));
    unlink(path);
    return result;
}

static double toggle_flatarray(void *opaque)
{
    return add_and_remove_flatarray(opaque) / 2;
}

static void bench_add_and_remove(Bench *bench, const char *name, size_t count, unsigned changes,
                                 double goal, bool with_unicorn)
{
    if (!bench_wants(bench, name)) {
        return;
    }
    Stand stand;
    stand_init(&stand, count, changes, with_unicorn);
    Contender contenders[] = {
        {.name = "membus", .sample = add_and_remove, .opaque = &stand},
        {.name = "copied sorted array", .sample = add_and_remove_flatarray, .opaque = &stand},
        {.name = unicorn_name(),
         .sample = stand.unicorn ? add_and_remove_unicorn : NULL,
         .opaque = &stand,
         .why = unicorn_available() ? "aborts at 4,095 regions" : "not installed"},
    };
    bench_compare(bench, name, "us", (Goal){GOAL_AT_MOST, goal}, contenders, 3);
    stand_destroy(&stand);
}

static void bench_window(Bench *bench)
{
    if (!bench_wants(bench, "commit_window")) {
        return;
    }
    Stand stand;
    stand_init(&stand, 1000, 20000, false);
    /* 16 KiB of RAM that shows in front of four pages of the map, two regions among them. */
    MemoryOwner *owner = memory_system_owner(stand.world.ms);
    uint8_t *shadow = map_pages(16 * PAM_SIZE);
    must(memory_region_init_ram_ptr(&stand.shadow, owner, "ram", 16 * PAM_SIZE, shadow));
    must(memory_region_init_alias(&stand.window, owner, "pam-ram", &stand.shadow, PAM_SIZE,
                                  PAM_SIZE));
    must(memory_region_add_subregion_overlap(
        stand.world.root, world_separate_address(stand.count / 2), &stand.window, 1));
    Contender contenders[] = {
        {.name = "membus", .sample = toggle_window, .opaque = &stand},
        {.name = "copied sorted array", .sample = toggle_flatarray, .opaque = &stand},
        {.name = "membus, traced", .sample = toggle_window_traced, .opaque = &stand},
    };
    bench_compare(bench, "commit_window", "us", (Goal){GOAL_AT_MOST, 2}, contenders, 3);
    must(memory_region_del_subregion(stand.world.root, &stand.window));
    stand_destroy(&stand);
    unmap_pages(shadow, 16 * PAM_SIZE);
}

void bench_commits(Bench *bench)
{
    bench_add_and_remove(bench, "commit_1k", 1000, 10000, 3, true);
    bench_add_and_remove(bench, "commit_100k", 100000, 10000, 4, false);
    bench_window(bench);
}
