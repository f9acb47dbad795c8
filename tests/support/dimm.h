/* SPDX-License-Identifier: MIT */
/* dimm.h - a machine with an area for memory devices. Needs cmocka.h before it. */
#ifndef TESTS_DIMM_H
#define TESTS_DIMM_H

#include "machine.h"

#include <errno.h>

#define MiB (1ULL << 20)
#define GiB (1ULL << 30)
#define BASE (4 * GiB)

#define SAYS(text) assert_string_equal(membus_last_error(), text)

static MemorySystem *ms; /* the machine under test */

static inline int setup(void **state)
{
    (void)state;
    ms = machine_start();
    OK(memory_devices_init(ms, BASE, GiB, 4, NULL));
    return 0;
}

static inline bool delete_device(MemoryDeviceState *md, void *opaque)
{
    *(MemoryDeviceState **)opaque = md;
    return true;
}

static inline bool end_backend(HostMemoryBackend *backend, void *opaque)
{
    (void)opaque;
    OK(host_memory_backend_destroy(backend, NULL));
    return false;
}

static inline int teardown(void **state)
{
    MemoryDeviceState *md;

    (void)state;
    while (memory_devices_for_each(ms, delete_device, &md)) {
        MemoryDeviceInfo info;
        memory_device_query(md, &info);
        if (info.kind == MEMORY_DEVICE_VIRTIO_MEM) {
            OK(virtio_mem_unplug_all(md, NULL));
        }
        OK(memory_device_del(md, NULL));
    }
    OK(memory_devices_finalize(ms, NULL));
    host_memory_backend_for_each(ms, end_backend, NULL);
    machine_end(ms);
    return 0;
}

static inline HostMemoryBackend *backend(const char *options)
{
    HostMemoryBackend *made = host_memory_backend_create(ms, options, NULL);

    if (!made) {
        print_message("%s: %s\n", options, membus_last_error());
    }
    assert_non_null(made);
    return made;
}

static inline MemoryDeviceState *add(const char *options)
{
    MemoryDeviceState *md = memory_device_add(ms, options, NULL);

    if (!md) {
        print_message("%s: %s\n", options, membus_last_error());
    }
    assert_non_null(md);
    return md;
}

/* Adding is refused with @err and @text. */
static inline void refused(const char *options, int err, const char *text)
{
    Error *error = NULL;

    assert_null(memory_device_add(ms, options, &error));
    assert_non_null(error);
    assert_string_equal(error_get_pretty(error), text);
    assert_int_equal(error_get_errno(error), -err);
    error_free(error);
}

static inline MemoryDeviceInfo query(const MemoryDeviceState *md)
{
    MemoryDeviceInfo info;

    memory_device_query(md, &info);
    return info;
}

static inline hwaddr addr_of(const MemoryDeviceState *md)
{
    return query(md).addr;
}

#endif
