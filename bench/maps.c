/* SPDX-License-Identifier: MIT */
/*
 * maps.c - building a map, one commit for each region: map_1000, map_4000, map_100000, map_at_*.
 *
 * A sample makes a machine, puts the regions in one by one (making each is part of the time) and
 * ends it; only the putting in is timed.
 */
#include "bench.h"
#include "peers.h"
#include "world.h"

#include <stdlib.h>

#define SMALL 1000
#define MIDDLE 4000
#define LARGE 100000
/* Regions that are timed together before and after a power of two. */
#define STRETCH 512

/* Where the LARGE map's building is looked at more closely. */
typedef struct Threshold {
    const char *name;
    size_t count;
    Series before, across;
} Threshold;

static Threshold thresholds[] = {
    {.name = "map_at_4096", .count = 4096},
    {.name = "map_at_65536", .count = 65536},
};

static double build(size_t count, double *times)
{
    World world;
    world_init(&world, count, (count + 1) / 2 * PAGE);
    double start = now_ns();
    for (size_t i = 0; i < count; i++) {
        if (times) {
            times[i] = now_ns();
        }
        world_add_separate(&world, i);
    }
    double end = now_ns();
    for (size_t i = 0; i < count; i++) {
        world_expect(&world, world_separate_address(i), &world.regions[i]);
    }
    world_destroy(&world);
    return (end - start) / 1e6;
}

static double build_counted(void *opaque)
{
    return build(*(const size_t *)opaque, NULL);
}

static double build_large(void *opaque)
{
    double *times = opaque;
    double result = build(LARGE, times);
    for (size_t i = 0; i < sizeof(thresholds) / sizeof(thresholds[0]); i++) {
        Threshold *t = &thresholds[i];
        size_t begin = t->count - STRETCH / 2;
        if (t->before.count < BENCH_MAX_RUNS) {
            t->before.samples[t->before.count++] = (times[begin] - times[begin - STRETCH]) / 1e6;
            t->across.samples[t->across.count++] = (times[begin + STRETCH] - times[begin]) / 1e6;
        }
    }
    return result;
}

/* The time that LARGE regions would take at the MIDDLE map's rate. */
static double build_middle_scaled(void *opaque)
{
    (void)opaque;
    return build(MIDDLE, NULL) * ((double)LARGE / MIDDLE);
}

static double build_flatarray(void *opaque)
{
    size_t count = *(const size_t *)opaque;
    FlatArray *array = flatarray_create(0, NULL, 0);
    double start = now_ns();
    for (size_t i = 0; i < count; i++) {
        flatarray_add(array, world_separate_address(i), PAGE, NULL);
    }
    double end = now_ns();
    flatarray_destroy(array);
    return (end - start) / 1e6;
}

static double build_unicorn(void *opaque)
{
    size_t count = *(const size_t *)opaque, ram_size = count * PAGE;
    uint8_t *ram = map_pages(ram_size);
    Unicorn *unicorn = unicorn_create();
    double start = now_ns();
    for (size_t i = 0; i < count; i++) {
        if (i % 2 == 0) {
            unicorn_map_ram(unicorn, world_separate_address(i), PAGE, ram + i * PAGE);
        } else {
            unicorn_map_device(unicorn, world_separate_address(i), PAGE);
        }
    }
    double end = now_ns();
    unicorn_destroy(unicorn);
    unmap_pages(ram, ram_size);
    return (end - start) / 1e6;
}

void bench_maps(Bench *bench)
{
    static size_t small = SMALL, middle = MIDDLE;
    Contender at_1000[] = {
        {.name = "membus", .sample = build_counted, .opaque = &small},
        {.name = unicorn_name(),
         .sample = unicorn_available() ? build_unicorn : NULL,
         .opaque = &small,
         .why = "not installed"},
        {.name = "copied sorted array", .sample = build_flatarray, .opaque = &small},
    };
    bench_compare(bench, "map_1000", "ms", (Goal){GOAL_NONE, 0}, at_1000, 3);

    Contender at_4000[] = {
        {.name = "membus", .sample = build_counted, .opaque = &middle},
        {.name = "copied sorted array", .sample = build_flatarray, .opaque = &middle},
    };
    bench_compare(bench, "map_4000", "ms", (Goal){GOAL_AT_MOST, 8}, at_4000, 2);
    if (bench_wants(bench, "map_4000") && unicorn_available()) {
        bench_note(
            "Unicorn is measured at 1,000: its time grows with the third power (minutes for");
        bench_note("seven runs of 4,000), and it aborts at 4,095.");
    }

    if (!bench_wants(bench, "map_100000") && !bench_wants(bench, "map_at_")) {
        return;
    }
    double *times = must_alloc(LARGE * sizeof(double));
    Contender at_100000[] = {
        {.name = "membus", .sample = build_large, .opaque = times},
        {.name = "membus, 25 x map_4000", .sample = build_middle_scaled},
    };
    bench_compare(bench, "map_100000", "ms", (Goal){GOAL_RATIO_AT_MOST, 1.1}, at_100000, 2);
    if (bench_wants(bench, "map_100000")) {
        bench_note("judged by what map_4000 took in this run, not by its goal (8 ms x 25 x 1.1 = "
                   "220 ms).");
    }
    for (size_t i = 0; i < sizeof(thresholds) / sizeof(thresholds[0]); i++) {
        if (thresholds[i].before.count) {
            bench_report(bench, thresholds[i].name, "ms", (Goal){GOAL_RATIO_AT_MOST, 1.25},
                         &thresholds[i].across, "membus, the 512 before", &thresholds[i].before);
        }
    }
    free(times);
}
