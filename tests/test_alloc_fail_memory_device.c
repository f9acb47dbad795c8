/* SPDX-License-Identifier: MIT */
/*
 * Memory devices while the k-th allocation fails, for each k: a call that is refused changes
 * nothing, leaves a sentence, and works when there is memory again.
 */
#include "support/saboteur.h"
#include "support/shown.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/dimm.h"

static MemoryDeviceState *dimm, *nvdimm, *virtio;
static RamDiscardListener watcher;

static int take(RamDiscardListener *rdl, MemoryRegionSection *section)
{
    (void)rdl;
    (void)section;
    return 0;
}

static void drop(RamDiscardListener *rdl, MemoryRegionSection *section)
{
    (void)rdl;
    (void)section;
}

static HostMemoryBackend *find(const char *id)
{
    return host_memory_backend_find(ms, id);
}

static void start(void)
{
    setup(NULL);
    backend("memory-backend-ram,id=m0,size=4M");
    backend("memory-backend-ram,id=m1,size=4M,share=on");
    backend("memory-backend-ram,id=m2,size=4M");
    backend("memory-backend-ram,id=m3,size=4M");
    dimm = add("pc-dimm,id=d0,memdev=m0,hotplugged=off");
    nvdimm = add("nvdimm,id=n0,memdev=m1,label-size=128K");
    virtio = add("virtio-mem-pci,id=v0,memdev=m2");
    ram_discard_listener_init(&watcher, take, drop, false);
}

/* ---- Scenarios --------------------------------------------------------------------------- */

static MemorySystem *second;

static int make_area(void)
{
    return memory_devices_init(second, BASE, GiB, 4, NULL);
}

static int add_one(const char *options)
{
    Error *err = NULL;
    MemoryDeviceState *md = memory_device_add(ms, options, &err);

    error_free(err); /* may be NULL: memory is short */
    return md ? 0 : -ENOMEM;
}

static int add_dimm(void)
{
    return add_one("pc-dimm,id=d9,memdev=m3");
}

static int add_nameless(void)
{
    return add_one("pc-dimm,memdev=m3");
}

static int add_nvdimm(void)
{
    return add_one("nvdimm,id=d9,memdev=m3,label-size=128K");
}

static int add_virtio_mem(void)
{
    return add_one("virtio-mem-pci,id=d9,memdev=m3,requested-size=2M");
}

static int del_dimm(void)
{
    return memory_device_del(dimm, NULL);
}

static int del_nvdimm(void)
{
    return memory_device_del(nvdimm, NULL);
}

static int del_virtio_mem(void)
{
    return memory_device_del(virtio, NULL);
}

static int request(void)
{
    MemoryRegion *mr = memory_device_get_memory_region(virtio);
    MemoryRegionSection section = {.mr = mr, .size = memory_region_size(mr)};
    RamDiscardManager *rdm = memory_region_get_ram_discard_manager(mr);
    int result =
        watcher.manager ? 0 : ram_discard_manager_register_listener(rdm, &watcher, &section);

    result = result ? result : virtio_mem_set_requested_size(virtio, 4 * MiB, NULL);
    result = result ? result : virtio_mem_plug(virtio, addr_of(virtio), 2 * MiB, NULL);
    return result ? result : virtio_mem_unplug_all(virtio, NULL);
}

static int print_blocks(void)
{
    FILE *out = fopen("/dev/null", "w");
    int result = ramblock_print(ms, out, 0);

    fclose(out);
    return result;
}

static const struct {
    const char *name;
    int (*run)(void);
    bool allocates;
} scenarios[] = {
    {"memory_devices_init", make_area, true},
    {"add a dimm", add_dimm, true},
    {"add a nameless dimm", add_nameless, true},
    {"add an nvdimm", add_nvdimm, true},
    {"add a virtio-mem", add_virtio_mem, true},
    {"remove a dimm", del_dimm, false},
    {"remove an nvdimm", del_nvdimm, false},
    {"remove a virtio-mem", del_virtio_mem, false},
    {"requests", request, false},
    {"print blocks", print_blocks, false},
};

/* ---- The rule ----------------------------------------------------------------------------- */

/* All that there is to know, to be freed. */
static char *describe(void)
{
    static const char *const ids[] = {"m0", "m1", "m2", "m3"};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    OK(memory_devices_print(ms, out));
    OK(memdev_print(ms, out));
    OK(mtree_print(ms, out, 0, NULL));
    OK(mtree_print(ms, out, MTREE_FLAT, NULL));
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        fprintf(
            out, "%d %d\n", host_memory_backend_is_mapped(find(ids[i])),
            memory_region_has_ram_discard_manager(host_memory_backend_get_memory(find(ids[i]))));
    }
    fprintf(out, "%d\n", second && memory_devices_region(second));
    fclose(out);
    return text;
}

static bool run_once(size_t index, unsigned long k, bool for_good)
{
    start();
    second = index == 0 ? machine_start() : NULL;
    char *before = describe();
    saboteur_arm(k, for_good);
    int result = scenarios[index].run();
    unsigned long failed = saboteur_disarm();

    if (result && !failed) {
        fail_msg("%s: %d without a failing allocation: %s", scenarios[index].name, result,
                 membus_last_error());
    }
    if (result) {
        char *after = describe();
        assert_int_equal(result, -ENOMEM);
        assert_true(*membus_last_error());
        assert_string_equal(before, after);
        free(after);
        result = scenarios[index].run();
        if (result) {
            fail_msg("%s: after allocation %lu failed the call does not work again: %s",
                     scenarios[index].name, k, membus_last_error());
        }
    }
    free(before);
    if (second) {
        OK(memory_devices_finalize(second, NULL));
        machine_end(second);
    }
    teardown(NULL);
    return failed;
}

static void every_call_survives_every_failure(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        for (int for_good = 0; for_good < 2; for_good++) {
            unsigned long k = 1;
            while (run_once(i, k, for_good)) {
                assert_true(++k < 1000);
            }
            assert_true(k > 1 || !scenarios[i].allocates);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_survives_every_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
