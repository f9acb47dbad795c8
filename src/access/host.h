/* SPDX-License-Identifier: MIT */
/*
 * host.h - loads and stores of guest RAM.
 *
 * The guest's other CPUs access the same memory at the same time. An aligned access is one load
 * or store of the host and so is never torn; __atomic says that to the compiler and to
 * ThreadSanitizer, at no cost.
 */
#ifndef ACCESS_HOST_H
#define ACCESS_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HOST_BIG_ENDIAN 0
#else
#define HOST_BIG_ENDIAN 1
#endif

#if defined(__SANITIZE_THREAD__)
#define HOST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HOST_TSAN 1
#endif
#endif

/*
 * A number of @size bytes (a constant: all but one case is compiled away). The compiler makes
 * one move of each memcpy; ThreadSanitizer must be told that aligned ones are atomic.
 */
static inline __attribute__((always_inline)) uint64_t host_load(const void *host, unsigned size,
                                                                bool big_endian)
{
    uint16_t v16;
    uint32_t v32;
    uint64_t v64;
    bool swap = big_endian != HOST_BIG_ENDIAN;

#ifdef HOST_TSAN
    if (((uintptr_t)host & (size - 1)) == 0) {
        v16 = size == 2 ? __atomic_load_n((const uint16_t *)host, __ATOMIC_RELAXED) : 0;
        v32 = size == 4 ? __atomic_load_n((const uint32_t *)host, __ATOMIC_RELAXED) : 0;
        v64 = size == 8 ? __atomic_load_n((const uint64_t *)host, __ATOMIC_RELAXED) : 0;
        return size == 1   ? __atomic_load_n((const uint8_t *)host, __ATOMIC_RELAXED)
               : size == 2 ? (swap ? __builtin_bswap16(v16) : v16)
               : size == 4 ? (swap ? __builtin_bswap32(v32) : v32)
                           : (swap ? __builtin_bswap64(v64) : v64);
    }
#endif
    switch (size) {
    case 1:
        return *(const uint8_t *)host;
    case 2:
        memcpy(&v16, host, sizeof v16);
        return swap ? __builtin_bswap16(v16) : v16;
    case 4:
        memcpy(&v32, host, sizeof v32);
        return swap ? __builtin_bswap32(v32) : v32;
    default:
        memcpy(&v64, host, sizeof v64);
        return swap ? __builtin_bswap64(v64) : v64;
    }
}

static inline __attribute__((always_inline)) void host_store(void *host, uint64_t value,
                                                             unsigned size, bool big_endian)
{
    bool swap = big_endian != HOST_BIG_ENDIAN;
    uint16_t v16 = swap ? __builtin_bswap16((uint16_t)value) : (uint16_t)value;
    uint32_t v32 = swap ? __builtin_bswap32((uint32_t)value) : (uint32_t)value;
    uint64_t v64 = swap ? __builtin_bswap64(value) : value;

#ifdef HOST_TSAN
    if (((uintptr_t)host & (size - 1)) == 0) {
        switch (size) {
        case 1:
            __atomic_store_n((uint8_t *)host, (uint8_t)value, __ATOMIC_RELAXED);
            return;
        case 2:
            __atomic_store_n((uint16_t *)host, v16, __ATOMIC_RELAXED);
            return;
        case 4:
            __atomic_store_n((uint32_t *)host, v32, __ATOMIC_RELAXED);
            return;
        default:
            __atomic_store_n((uint64_t *)host, v64, __ATOMIC_RELAXED);
            return;
        }
    }
#endif
    switch (size) {
    case 1:
        *(uint8_t *)host = (uint8_t)value;
        break;
    case 2:
        memcpy(host, &v16, sizeof v16);
        break;
    case 4:
        memcpy(host, &v32, sizeof v32);
        break;
    default:
        memcpy(host, &v64, sizeof v64);
        break;
    }
}

#define HOST_COPY_WIDTH(to, from, size)                                                            \
    host_store(to, host_load(from, size, HOST_BIG_ENDIAN), size, HOST_BIG_ENDIAN)

/* memcpy(3), but the widths of a CPU's accesses are one load and one store. */
static inline void host_copy(void *to, const void *from, size_t len)
{
    switch (len) {
    case 1:
        HOST_COPY_WIDTH(to, from, 1);
        break;
    case 2:
        HOST_COPY_WIDTH(to, from, 2);
        break;
    case 4:
        HOST_COPY_WIDTH(to, from, 4);
        break;
    case 8:
        HOST_COPY_WIDTH(to, from, 8);
        break;
    default:
        memcpy(to, from, len);
    }
}

#endif
