/* SPDX-License-Identifier: MIT */
/*
 * Guests that read, write and map while devices come and go, backends and all. Whatever they get
 * is nothing, or memory of one backend that lives for as long as they hold it.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "support/dimm.h"

#define SECONDS 2
#define PLACES 4

static bool done;
static unsigned long hits, misses;

/* Each backend is filled with one byte, never 0. */
static bool is_uniform(const uint8_t *bytes, size_t size)
{
    for (size_t i = 1; i < size; i++) {
        if (bytes[i] != bytes[0]) {
            return false;
        }
    }
    return bytes[0] != 0;
}

static bool visit_mapped(AddressSpace *as, hwaddr addr)
{
    hwaddr length = 256;
    uint8_t *host = address_space_map(as, addr, &length, false, ATTRS);

    if (!host) {
        return true;
    }
    bool good = true;
    uint8_t copy[256];
    for (int i = 0; i < 4; i++) { /* it stays while it is mapped */
        for (hwaddr k = 0; k < length; k++) {
            copy[k] = __atomic_load_n(host + k, __ATOMIC_RELAXED);
        }
        good = good && is_uniform(copy, length);
    }
    address_space_unmap(as, host, length, false, 0);
    return good;
}

static void *guest(void *opaque)
{
    AddressSpace *as = memory_system_memory(ms);
    unsigned long found = 0, nothing = 0, turn = (unsigned long)(uintptr_t)opaque;
    bool good = true;

    while (!__atomic_load_n(&done, __ATOMIC_RELAXED) && good) {
        hwaddr addr = BASE + turn++ % PLACES * 2 * MiB + 0x1000;
        uint8_t bytes[8];
        MemTxResult result = address_space_read(as, addr, ATTRS, bytes, sizeof bytes);
        if (result == MEMTX_OK) {
            good = is_uniform(bytes, sizeof bytes);
            found++;
        } else {
            good = result == MEMTX_DECODE_ERROR;
            nothing++;
        }
        if (turn % 16 == 0) {
            good = good && visit_mapped(as, addr);
        }
    }
    __atomic_fetch_add(&hits, found, __ATOMIC_RELAXED);
    __atomic_fetch_add(&misses, nothing, __ATOMIC_RELAXED);
    return good ? NULL : guest; /* anything but NULL */
}

static MemoryDeviceState *plug_new(unsigned place, unsigned long round)
{
    char options[128];

    snprintf(options, sizeof options, "memory-backend-%s,id=m%lu,size=2M",
             round % 2 ? "ram" : "memfd", round);
    HostMemoryBackend *b = backend(options);
    void *host = memory_region_get_ram_ptr(host_memory_backend_get_memory(b));
    memset((uint8_t *)host + 0x1000, (int)(1 + round % 255), 0x1000);
    snprintf(options, sizeof options, "%s,id=d%lu,memdev=m%lu,addr=0x%llx",
             round % 3 ? "pc-dimm" : "nvdimm", round, round, BASE + place * 2 * MiB);
    return add(options);
}

static void unplug(MemoryDeviceState *md)
{
    HostMemoryBackend *b = memory_device_get_backend(md);

    OK(memory_device_del(md, NULL));
    OK(host_memory_backend_destroy(b, NULL));
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void devices_come_and_go_under_guests(void **state)
{
    MemoryDeviceState *places[PLACES] = {NULL};
    pthread_t guests[2];
    unsigned long rounds = 0;

    (void)state;
    for (uintptr_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&guests[i], NULL, guest, (void *)i), 0);
    }
    for (double end = now() + SECONDS; now() < end; rounds++) {
        unsigned place = (unsigned)(rounds * 7 / 3 % PLACES);
        if (places[place]) {
            unplug(places[place]);
            places[place] = NULL;
        } else {
            places[place] = plug_new(place, rounds);
        }
    }
    __atomic_store_n(&done, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        void *bad;
        pthread_join(guests[i], &bad);
        assert_null(bad);
    }
    print_message("# %lu edits, %lu reads of memory, %lu of none\n", rounds, hits, misses);
    assert_true(rounds > 20 && hits > 0 && misses > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(devices_come_and_go_under_guests, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
