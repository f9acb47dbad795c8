/* SPDX-License-Identifier: MIT */
/* RAMBlockNotifiers: what they are told, and when. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

typedef struct Diary {
    RAMBlockNotifier notifier;
    MemorySystem *ms;
    char text[400];
    bool meddle;
} Diary;

static __attribute__((format(printf, 2, 3))) void note(Diary *d, const char *fmt, ...)
{
    size_t used = strlen(d->text);
    va_list args;

    va_start(args, fmt);
    vsnprintf(d->text + used, sizeof(d->text) - used, fmt, args);
    va_end(args);
}

static const char *name_at(Diary *d, void *host)
{
    RAMBlock *block = qemu_ram_block_from_host(d->ms, host, NULL);

    assert_non_null(block); /* found during each of the calls */
    assert_true(memory_system_locked(d->ms));
    return qemu_ram_get_idstr(block);
}

static void on_added(RAMBlockNotifier *n, void *host, size_t size, size_t max_size)
{
    Diary *d = (Diary *)n;
    MemoryRegion mr;

    note(d, "+%s %zx/%zx ", name_at(d, host), size, max_size);
    if (d->meddle) {
        MemoryRegion *there = qemu_ram_get_region(qemu_ram_block_from_host(d->ms, host, NULL));
        REFUSED(-EBUSY,
                memory_region_init_ram(&mr, memory_system_owner(d->ms), "mr", 0x1000, NULL));
        REFUSED(-EBUSY, memory_region_finalize(there));
        REFUSED(-EBUSY, ram_block_notifier_add(d->ms, n));
        REFUSED(-EBUSY, ram_block_notifier_remove(d->ms, n));
    }
}

static void on_removed(RAMBlockNotifier *n, void *host, size_t size, size_t max_size)
{
    note((Diary *)n, "-%s %zx/%zx ", name_at((Diary *)n, host), size, max_size);
    *(volatile char *)host = 1; /* there still */
}

static void on_resized(RAMBlockNotifier *n, void *host, size_t old_size, size_t new_size)
{
    Diary *d = (Diary *)n;
    RAMBlock *block = qemu_ram_block_from_host(d->ms, host, NULL);

    note(d, "=%s %zx>%zx ", name_at(d, host), old_size, new_size);
    /* told before the region has it */
    assert_int_equal(memory_region_size(qemu_ram_get_region(block)),
                     d->meddle ? new_size : old_size);
}

static void expect(Diary *d, const char *text)
{
    assert_string_equal(d->text, text);
    d->text[0] = '\0';
}

static void notifiers_are_told(void **state)
{
    MemorySystem *ms = machine_start();
    Diary d = {.notifier = {.ram_block_added = on_added,
                            .ram_block_removed = on_removed,
                            .ram_block_resized = on_resized},
               .ms = ms},
          e = d;
    RAMBlockNotifier deaf = {0};
    MemoryRegion a, b, grow, bad;

    (void)state;
    make_ram(ms, &a, "a", 0x1000);
    make_ram(ms, &b, "b", 0x3000);
    OK(ram_block_notifier_add(ms, &deaf));
    OK(ram_block_notifier_add(ms, &d.notifier));
    expect(&d, "+b 3000/3000 +a 1000/1000 "); /* replayed, largest first */
    REFUSED(-EEXIST, ram_block_notifier_add(ms, &d.notifier));
    REFUSED(-ENOENT, ram_block_notifier_remove(ms, &e.notifier));
    OK(ram_block_notifier_add(ms, &e.notifier));
    e.text[0] = '\0';
    OK(memory_region_init_resizeable_ram(&grow, memory_system_owner(ms), "grow", 0x1000, 0x8000,
                                         NULL, NULL));
    expect(&d, "+grow 1000/8000 ");
    OK(memory_region_ram_resize(&grow, 0x4001, NULL));
    OK(memory_region_ram_resize(&grow, 0x5000, NULL)); /* the same */
    REFUSED(-EINVAL, memory_region_ram_resize(&grow, 0x8001, NULL));
    REFUSED(-EINVAL, memory_region_ram_resize(&grow, 0, NULL));
    REFUSED(-EINVAL, memory_region_ram_resize(&grow, UINT64_MAX, NULL));
    REFUSED(-EINVAL, memory_region_ram_resize(&a, 0x1000, NULL));
    expect(&d, "=grow 1000>5000 ");
    OK(memory_region_finalize(&b));
    OK(memory_region_finalize(&grow));
    expect(&d, "-b 3000/3000 -grow 5000/8000 ");
    expect(&e, "+grow 1000/8000 =grow 1000>5000 -b 3000/3000 -grow 5000/8000 ");

    /* what fails is not told */
    REFUSED(-EINVAL, memory_region_init_ram(&bad, memory_system_owner(ms), "bad", 0, NULL));
    assert_true(memory_region_init_ram(&bad, memory_system_owner(ms), "bad", 1ULL << 62, NULL) < 0);
    expect(&d, "");

    d.meddle = true;
    make_ram(ms, &b, "b", 0x1000);
    expect(&d, "+b 1000/1000 ");
    OK(ram_block_notifier_remove(ms, &d.notifier));
    expect(&d, "-a 1000/1000 -b 1000/1000 ");
    OK(memory_region_finalize(&b));
    expect(&d, "");
    machine_end(ms); /* who is left is told */
    expect(&e, "+b 1000/1000 -b 1000/1000 -a 1000/1000 ");
}

typedef struct Dimm {
    MemoryRegion mr;
    MemoryOwner *owner;
    uint8_t bytes[0x1000];
    bool *gone;
} Dimm;

static void end_dimm(void *opaque)
{
    Dimm *dimm = opaque;

    *dimm->gone = true;
    memset(dimm, 0xdd, sizeof(*dimm));
    free(dimm);
}

/* Told before the map shows a block, and of its end after the last view that did. */
static void notifiers_come_before_and_after_the_map(void **state)
{
    MemorySystem *ms = machine_start();
    Diary d = {.notifier = {.ram_block_added = on_added, .ram_block_removed = on_removed},
               .ms = ms};
    Dimm *dimm = calloc(1, sizeof(*dimm));
    bool gone = false;

    (void)state;
    dimm->gone = &gone;
    OK(ram_block_notifier_add(ms, &d.notifier));
    dimm->owner = memory_owner_create(ms, "dimm0", end_dimm, dimm);
    OK(memory_region_init_ram_ptr(&dimm->mr, dimm->owner, "ram", 0x1000, dimm->bytes));
    expect(&d, "+dimm0/ram 1000/1000 ");
    map_at(ms, 0, &dimm->mr);
    memory_read_lock();
    FlatView *view = address_space_get_flatview(memory_system_memory(ms));
    unmap(ms, &dimm->mr);
    memory_owner_unref(dimm->owner);
    memory_read_unlock();
    memory_system_drain(ms);
    expect(&d, "");
    flatview_unref(view);
    memory_system_drain(ms);
    expect(&d, "-dimm0/ram 1000/1000 ");
    assert_true(gone);
    OK(ram_block_notifier_remove(ms, &d.notifier));
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notifiers_are_told),
        cmocka_unit_test(notifiers_come_before_and_after_the_map),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
