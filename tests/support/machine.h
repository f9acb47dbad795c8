/* SPDX-License-Identifier: MIT */
/* machine.h - shorthand for tests that build a small machine. Needs cmocka.h before it. */
#ifndef TESTS_MACHINE_H
#define TESTS_MACHINE_H

#include <membus/membus.h>

#define ATTRS MEMTXATTRS_UNSPECIFIED

/* The call must succeed. */
#define OK(call) assert_int_equal((call), 0)

/* The call must be refused with @code and a sentence of its own. */
#define REFUSED(code, call)                                                                        \
    do {                                                                                           \
        assert_int_equal((call), (code));                                                          \
        assert_true(*membus_last_error());                                                         \
    } while (0)

static inline MemorySystem *machine_start(void)
{
    MemorySystem *ms = memory_system_create();

    assert_non_null(ms);
    return ms;
}

/* Nothing may be left over. */
static inline void machine_end(MemorySystem *ms)
{
    memory_system_drain(ms);
    OK(memory_system_destroy(ms));
}

/* Shorthand for the board's own regions. */
static inline void make_container(MemorySystem *ms, MemoryRegion *mr, const char *name, hwaddr size)
{
    OK(memory_region_init(mr, memory_system_owner(ms), name, size));
}

static inline void make_ram(MemorySystem *ms, MemoryRegion *mr, const char *name, hwaddr size)
{
    OK(memory_region_init_ram(mr, memory_system_owner(ms), name, size, NULL));
}

static inline void make_alias(MemorySystem *ms, MemoryRegion *mr, MemoryRegion *orig, hwaddr offset,
                              hwaddr size)
{
    OK(memory_region_init_alias(mr, memory_system_owner(ms), "alias", orig, offset, size));
}

static inline void map_at(MemorySystem *ms, hwaddr addr, MemoryRegion *mr)
{
    OK(memory_region_add_subregion(get_system_memory(ms), addr, mr));
}

static inline void unmap(MemorySystem *ms, MemoryRegion *mr)
{
    OK(memory_region_del_subregion(get_system_memory(ms), mr));
}

#endif
