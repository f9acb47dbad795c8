/* SPDX-License-Identifier: MIT */
/* flatarray.c - the copied sorted array of peers.h. Without readers the old copy can go at once. */
#include "peers.h"
#include "world.h"

#include <stdlib.h>

typedef struct Range {
    uint64_t first, last;
    void *owner;
    uint64_t flags;
} Range;

typedef struct Version {
    size_t count;
    Range ranges[];
} Version;

struct FlatArray {
    Version *current;
};

static Version *new_version(size_t count)
{
    Version *version = malloc(sizeof(Version) + count * sizeof(Range));
    if (!version) {
        abort();
    }
    version->count = count;
    return version;
}

static void publish(FlatArray *array, Version *version)
{
    Version *old = array->current;
    __atomic_store_n(&array->current, version, __ATOMIC_RELEASE);
    free(old);
}

/* How many ranges begin below @addr. */
static size_t position(const Version *version, uint64_t addr)
{
    size_t low = 0, high = version->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (version->ranges[middle].first < addr) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

FlatArray *flatarray_create(size_t count, uint64_t (*address)(size_t i), uint64_t size)
{
    FlatArray *array = must_alloc(sizeof(FlatArray));
    array->current = new_version(count);
    for (size_t i = 0; i < count; i++) {
        array->current->ranges[i] = (Range){address(i), address(i) + size - 1, array, 0};
    }
    return array;
}

void flatarray_destroy(FlatArray *array)
{
    free(array->current);
    free(array);
}

void flatarray_add(FlatArray *array, uint64_t addr, uint64_t size, void *owner)
{
    const Version *old = array->current;
    size_t at = position(old, addr);
    Version *version = new_version(old->count + 1);
    memcpy(version->ranges, old->ranges, at * sizeof(Range));
    version->ranges[at] = (Range){addr, addr + size - 1, owner, 0};
    memcpy(&version->ranges[at + 1], &old->ranges[at], (old->count - at) * sizeof(Range));
    publish(array, version);
}

void flatarray_del(FlatArray *array, uint64_t addr)
{
    const Version *old = array->current;
    size_t at = position(old, addr);
    Version *version = new_version(old->count - 1);
    memcpy(version->ranges, old->ranges, at * sizeof(Range));
    memcpy(&version->ranges[at], &old->ranges[at + 1], (old->count - 1 - at) * sizeof(Range));
    publish(array, version);
}
