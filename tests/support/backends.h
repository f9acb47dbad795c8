/* SPDX-License-Identifier: MIT */
/* backends.h - shorthand for tests of memory backends. Needs cmocka.h before it. */
#ifndef TESTS_BACKENDS_H
#define TESTS_BACKENDS_H

#include "machine.h"
#include "places.h"

#include <stdio.h>
#include <string.h>

static inline HostMemoryBackend *make(MemorySystem *ms, const char *format, ...)
    MEMBUS_PRINTF(2, 3);

static inline HostMemoryBackend *make(MemorySystem *ms, const char *format, ...)
{
    char options[512];
    Error *err = NULL;
    va_list args;

    va_start(args, format);
    vsnprintf(options, sizeof options, format, args);
    va_end(args);
    HostMemoryBackend *backend = host_memory_backend_create(ms, options, &err);
    if (!backend) {
        fail_msg("%s: %s", options, error_get_pretty(err));
    }
    return backend;
}

/* The options are refused with @sentence, and nothing is left of the try. */
static inline void refused(MemorySystem *ms, int code, const char *sentence, const char *format,
                           ...) MEMBUS_PRINTF(4, 5);

static inline void refused(MemorySystem *ms, int code, const char *sentence, const char *format,
                           ...)
{
    unsigned fds = places_open_fds();
    char options[512];
    Error *err = NULL;
    va_list args;

    va_start(args, format);
    vsnprintf(options, sizeof options, format, args);
    va_end(args);
    assert_null(host_memory_backend_create(ms, options, &err));
    if (error_get_errno(err) != code || strcmp(error_get_pretty(err), sentence) != 0) {
        fail_msg("%s:\n  %d %s\n  expected: %d %s", options, error_get_errno(err),
                 error_get_pretty(err), code, sentence);
    }
    error_free(err);
    memory_system_drain(ms);
    assert_int_equal(places_open_fds(), fds);
}

static inline RAMBlock *block_of(HostMemoryBackend *backend)
{
    return memory_region_get_ram_block(host_memory_backend_get_memory(backend));
}

static inline uint8_t *host_of(HostMemoryBackend *backend)
{
    return qemu_ram_get_host_addr(block_of(backend));
}

static inline void end(MemorySystem *ms, HostMemoryBackend *backend)
{
    OK(host_memory_backend_destroy(backend, NULL));
    memory_system_drain(ms);
}

#endif
