/* SPDX-License-Identifier: MIT */
/* Who is told what, in which order. Listeners write a line for each call into one log. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

static char story[8192]; /* what was told since forget() */
static size_t told;

static void forget(void)
{
    told = 0;
    story[0] = 0;
}

static void MEMBUS_PRINTF(2, 3) tell(MemoryListener *l, const char *format, ...)
{
    va_list args;

    told += (size_t)snprintf(story + told, sizeof(story) - told, "%s ", l->name);
    va_start(args, format);
    told += (size_t)vsnprintf(story + told, sizeof(story) - told, format, args);
    va_end(args);
    told += (size_t)snprintf(story + told, sizeof(story) - told, "\n");
    assert_true(told < sizeof(story));
}

#define assert_story(text)                                                                         \
    do {                                                                                           \
        assert_string_equal(story, text);                                                          \
        forget();                                                                                  \
    } while (0)

static void on_begin(MemoryListener *l)
{
    tell(l, "begin");
}

static void on_commit(MemoryListener *l)
{
    tell(l, "commit");
}

static void tell_section(MemoryListener *l, const char *what, const MemoryRegionSection *s)
{
    tell(l, "%s %s %" PRIx64 "-%" PRIx64 "%s%s", what, memory_region_name(s->mr),
         s->offset_within_address_space, s->last_within_address_space, s->readonly ? " ro" : "",
         s->nonvolatile ? " nv" : "");
}

static void on_add(MemoryListener *l, MemoryRegionSection *s)
{
    tell_section(l, "add", s);
}

static void on_del(MemoryListener *l, MemoryRegionSection *s)
{
    tell_section(l, "del", s);
}

static void on_nop(MemoryListener *l, MemoryRegionSection *s)
{
    tell_section(l, "nop", s);
}

static void on_log_start(MemoryListener *l, MemoryRegionSection *s, int old_mask, int new_mask)
{
    tell(l, "log_start %s %d->%d", memory_region_name(s->mr), old_mask, new_mask);
}

static void on_log_stop(MemoryListener *l, MemoryRegionSection *s, int old_mask, int new_mask)
{
    tell(l, "log_stop %s %d->%d", memory_region_name(s->mr), old_mask, new_mask);
}

static void on_eventfd_add(MemoryListener *l, MemoryRegionSection *s, bool match, uint64_t data,
                           EventNotifier *e)
{
    tell(l, "eventfd_add %" PRIx64 "+%" PRIx64 " %d %" PRIu64 " fd %d",
         s->offset_within_address_space, s->size, match, data, e->fd);
}

static void on_eventfd_del(MemoryListener *l, MemoryRegionSection *s, bool match, uint64_t data,
                           EventNotifier *e)
{
    tell(l, "eventfd_del %" PRIx64 "+%" PRIx64 " %d %" PRIu64 " fd %d",
         s->offset_within_address_space, s->size, match, data, e->fd);
}

static void on_coalesced_add(MemoryListener *l, MemoryRegionSection *s, hwaddr addr, hwaddr len)
{
    (void)s;
    tell(l, "coalesced_add %" PRIx64 "+%" PRIx64, addr, len);
}

static void on_coalesced_del(MemoryListener *l, MemoryRegionSection *s, hwaddr addr, hwaddr len)
{
    (void)s;
    tell(l, "coalesced_del %" PRIx64 "+%" PRIx64, addr, len);
}

static MemoryListener listener(const char *name, unsigned priority)
{
    return (MemoryListener){.begin = on_begin,
                            .commit = on_commit,
                            .region_add = on_add,
                            .region_del = on_del,
                            .log_start = on_log_start,
                            .log_stop = on_log_stop,
                            .eventfd_add = on_eventfd_add,
                            .eventfd_del = on_eventfd_del,
                            .coalesced_io_add = on_coalesced_add,
                            .coalesced_io_del = on_coalesced_del,
                            .priority = priority,
                            .name = name};
}

static const MemoryRegionOps no_ops;

static void make_io(MemorySystem *ms, MemoryRegion *mr, const char *name, hwaddr size)
{
    OK(memory_region_init_io(mr, memory_system_owner(ms), &no_ops, NULL, name, size));
}

static void a_listener_is_told_of_adds_and_dels(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryListener l = listener("L", 10);
    MemoryRegion a, b, c;

    (void)state;
    make_io(ms, &a, "a", 0x1000);
    make_io(ms, &b, "b", 0x1000);
    make_io(ms, &c, "c", 0x800);
    map_at(ms, 0x2000, &a);
    forget();
    OK(memory_listener_register(&l, memory_system_memory(ms)));
    assert_story("L begin\nL add a 2000-2fff\nL commit\n");
    map_at(ms, 0, &b);
    assert_story("L begin\nL add b 0-fff\nL commit\n");
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 0x2400, &c, 1));
    assert_story("L begin\nL del a 2000-2fff\nL add a 2000-23ff\nL add c 2400-2bff\n"
                 "L add a 2c00-2fff\nL commit\n");
    memory_region_transaction_begin(ms);
    OK(memory_region_set_enabled(&c, false));
    OK(memory_region_set_address(&b, 0x8000));
    OK(memory_region_set_readonly(&a, true));
    assert_story("");
    OK(memory_region_transaction_commit(ms));
    assert_story("L begin\nL del b 0-fff\nL del a 2000-23ff\nL del c 2400-2bff\nL del a 2c00-2fff\n"
                 "L add a 2000-2fff ro\nL add b 8000-8fff\nL commit\n");
    OK(memory_region_set_nonvolatile(&b, true));
    assert_story("L begin\nL del b 8000-8fff\nL add b 8000-8fff nv\nL commit\n");
    OK(memory_listener_unregister(&l));
    assert_story("L begin\nL del a 2000-2fff ro\nL del b 8000-8fff nv\nL commit\n");
    OK(memory_listener_unregister(&l)); /* again: nothing */
    unmap(ms, &a);
    assert_story("");
    machine_end(ms);
}

static void what_nobody_sees_nobody_hears_of(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryListener l = listener("L", 0);
    MemoryRegion over, under, loose, sub;
    AddressSpace *as = memory_system_memory(ms);
    FlatView *before, *after;

    (void)state;
    make_io(ms, &over, "over", 0x2000);
    make_io(ms, &under, "under", 0x1000);
    make_container(ms, &loose, "loose", 0x1000);
    make_io(ms, &sub, "sub", 0x10);
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 0, &over, 1));
    OK(memory_listener_register(&l, as));
    forget();
    before = address_space_get_flatview(as);
    map_at(ms, 0x800, &under); /* hidden */
    OK(memory_region_set_readonly(&under, true));
    unmap(ms, &under);
    OK(memory_region_add_subregion(&loose, 0, &sub)); /* out of sight */
    OK(memory_region_set_enabled(&over, true));       /* as it was */
    OK(memory_region_set_readonly(&over, false));
    memory_region_transaction_begin(ms); /* there and back */
    OK(memory_region_set_enabled(&over, false));
    OK(memory_region_set_enabled(&over, true));
    OK(memory_region_transaction_commit(ms));
    after = address_space_get_flatview(as);
    assert_true(flatview_equal(before, after));
    assert_null(strstr(story, "add"));
    assert_null(strstr(story, "del"));
    flatview_unref(before);
    flatview_unref(after);
    OK(memory_listener_unregister(&l));
    machine_end(ms);
}

static void adds_ascend_and_dels_descend_by_priority(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryListener low = listener("low", 1), mid = listener("mid", 5), high = listener("high", 9);
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion a;

    (void)state;
    make_io(ms, &a, "a", 0x1000);
    OK(memory_listener_register(&mid, as));
    OK(memory_listener_register(&high, as));
    OK(memory_listener_register(&low, as));
    forget();
    map_at(ms, 0, &a);
    assert_story("low begin\nmid begin\nhigh begin\n"
                 "low add a 0-fff\nmid add a 0-fff\nhigh add a 0-fff\n"
                 "low commit\nmid commit\nhigh commit\n");
    unmap(ms, &a);
    assert_story("low begin\nmid begin\nhigh begin\n"
                 "high del a 0-fff\nmid del a 0-fff\nlow del a 0-fff\n"
                 "low commit\nmid commit\nhigh commit\n");
    OK(memory_listener_unregister(&mid));
    OK(memory_listener_unregister(&low));
    OK(memory_listener_unregister(&high));
    machine_end(ms);
}

static void nop_is_for_those_who_have_it(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryListener with = listener("with", 1), without = listener("without", 2);
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion a, b, c;

    (void)state;
    with.region_nop = on_nop;
    make_io(ms, &a, "a", 0x1000);
    make_io(ms, &b, "b", 0x1000);
    make_io(ms, &c, "c", 0x1000);
    map_at(ms, 0, &a);
    map_at(ms, 0x8000, &c);
    OK(memory_listener_register(&with, as));
    OK(memory_listener_register(&without, as));
    forget();
    map_at(ms, 0x4000, &b);
    assert_story("with begin\nwithout begin\nwith nop a 0-fff\nwith add b 4000-4fff\n"
                 "without add b 4000-4fff\nwith nop c 8000-8fff\nwith commit\nwithout commit\n");
    OK(memory_listener_unregister(&with));
    OK(memory_listener_unregister(&without));
    machine_end(ms);
}

static void masks_change_in_place(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryListener l = listener("L", 1), m = listener("M", 2);
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion ram;

    (void)state;
    make_ram(ms, &ram, "ram", 0x1000);
    map_at(ms, 0, &ram);
    OK(memory_listener_register(&l, as));
    OK(memory_listener_register(&m, as));
    forget();
    OK(memory_region_set_log(&ram, true, DIRTY_MEMORY_VGA));
    assert_story("L begin\nM begin\nL log_start ram 0->1\nM log_start ram 0->1\n"
                 "L commit\nM commit\n");
    OK(memory_region_set_log(&ram, true, DIRTY_MEMORY_VGA)); /* as it is */
    assert_story("");
    OK(memory_region_set_log(&ram, true, DIRTY_MEMORY_MIGRATION));
    assert_story("L begin\nM begin\nL log_start ram 1->5\nM log_start ram 1->5\n"
                 "L commit\nM commit\n");
    OK(memory_region_set_log(&ram, false, DIRTY_MEMORY_VGA));
    assert_story("L begin\nM begin\nM log_stop ram 5->4\nL log_stop ram 5->4\n"
                 "L commit\nM commit\n");
    OK(memory_listener_unregister(&m));
    assert_story("M begin\nM log_stop ram 4->0\nM del ram 0-fff\nM commit\n");
    OK(memory_listener_register(&m, as)); /* replayed */
    assert_story("M begin\nM add ram 0-fff\nM log_start ram 0->4\nM commit\n");
    memory_region_transaction_begin(ms);
    OK(memory_region_set_log(&ram, false, DIRTY_MEMORY_MIGRATION));
    OK(memory_region_set_log(&ram, true, DIRTY_MEMORY_CODE));
    OK(memory_region_transaction_commit(ms));
    assert_non_null(strstr(story, "L log_start ram 4->2\n"));
    assert_non_null(strstr(story, "L log_stop ram 4->2\n"));
    assert_null(strstr(story, "add"));
    OK(memory_listener_unregister(&m));
    OK(memory_listener_unregister(&l));
    machine_end(ms);
}

static void eventfds_follow_their_region(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryListener l = listener("L", 1), late = listener("late", 2);
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion io, cover;
    EventNotifier e = {.fd = 42}, f = {.fd = 43};

    (void)state;
    make_io(ms, &io, "io", 0x1000);
    make_io(ms, &cover, "cover", 0x100);
    OK(memory_listener_register(&l, as));
    map_at(ms, 0x1000, &io);
    forget();
    OK(memory_region_add_eventfd(&io, 0x10, 4, true, 7, &e));
    assert_story("L begin\nL eventfd_add 1010+4 1 7 fd 42\nL commit\n");
    OK(memory_region_add_eventfd(&io, 0x800, 0, false, 0, &f));
    assert_story("L begin\nL eventfd_add 1800+0 0 0 fd 43\nL commit\n");
    OK(memory_listener_register(&late, as));
    assert_story("late begin\nlate add io 1000-1fff\nlate eventfd_add 1010+4 1 7 fd 42\n"
                 "late eventfd_add 1800+0 0 0 fd 43\nlate commit\n");
    OK(memory_listener_unregister(&late));
    assert_story("late begin\nlate eventfd_del 1010+4 1 7 fd 42\n"
                 "late eventfd_del 1800+0 0 0 fd 43\nlate del io 1000-1fff\nlate commit\n");
    /* a region that moves takes them along */
    OK(memory_region_set_address(&io, 0x4000));
    assert_story("L begin\nL del io 1000-1fff\nL add io 4000-4fff\n"
                 "L eventfd_del 1010+4 1 7 fd 42\nL eventfd_del 1800+0 0 0 fd 43\n"
                 "L eventfd_add 4010+4 1 7 fd 42\nL eventfd_add 4800+0 0 0 fd 43\nL commit\n");
    /* what is covered cannot be hit */
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 0x4000, &cover, 1));
    assert_non_null(strstr(story, "L eventfd_del 4010+4 1 7 fd 42\n"));
    assert_null(strstr(story, "4800"));
    forget();
    OK(memory_region_del_eventfd(&io, 0x800, 0, false, 0, &f));
    assert_story("L begin\nL eventfd_del 4800+0 0 0 fd 43\nL commit\n");
    unmap(ms, &cover);
    assert_non_null(strstr(story, "L eventfd_add 4010+4 1 7 fd 42\n"));
    forget();
    unmap(ms, &io);
    assert_story("L begin\nL del io 4000-4fff\nL eventfd_del 4010+4 1 7 fd 42\nL commit\n");
    OK(memory_region_del_eventfd(&io, 0x10, 4, true, 7, &e)); /* out of sight */
    assert_story("");
    OK(memory_listener_unregister(&l));
    machine_end(ms);
}

static void coalesced_ranges_follow_their_region(void **state)
{
    MemorySystem *ms = machine_start();
    MemoryListener l = listener("L", 1);
    AddressSpace *as = memory_system_memory(ms);
    MemoryRegion io, cover;

    (void)state;
    make_io(ms, &io, "io", 0x1000);
    make_io(ms, &cover, "cover", 0x10);
    OK(memory_region_add_coalescing(&io, 0x100, 0x20));
    OK(memory_listener_register(&l, as));
    forget();
    map_at(ms, 0x1000, &io);
    assert_story("L begin\nL add io 1000-1fff\nL coalesced_add 1100+20\nL commit\n");
    OK(memory_region_add_coalescing(&io, 0x400, 0x10));
    assert_non_null(strstr(story, "L coalesced_add 1400+10\n"));
    assert_null(strstr(story, "L add"));
    forget();
    OK(memory_region_clear_coalescing(&io));
    assert_non_null(strstr(story, "L coalesced_del 1100+20\n"));
    assert_non_null(strstr(story, "L coalesced_del 1400+10\n"));
    forget();
    OK(memory_region_set_coalescing(&io));
    assert_non_null(strstr(story, "L coalesced_add 1000+1000\n"));
    forget();
    /* clipped to what shows */
    OK(memory_region_add_subregion_overlap(get_system_memory(ms), 0x1ff0, &cover, 1));
    assert_story("L begin\nL coalesced_del 1000+1000\nL del io 1000-1fff\nL add io 1000-1fef\n"
                 "L coalesced_add 1000+ff0\nL add cover 1ff0-1fff\nL commit\n");
    unmap(ms, &io);
    assert_non_null(strstr(story, "L coalesced_del 1000+ff0\nL del io 1000-1fef\n"));
    OK(memory_listener_unregister(&l));
    machine_end(ms);
}

/* ---- What a callback sees and may do -------------------------------------------------- */

static struct {
    AddressSpace *as;
    uint64_t before, at_add, at_commit;
    int edit, reg;
    bool locked;
    MemoryRegion *mr;
    MemoryListener *other;
    unsigned calls;
} seen;

static uint64_t current_id(AddressSpace *as)
{
    FlatView *view = address_space_get_flatview(as);
    uint64_t id = flatview_id(view);

    flatview_unref(view);
    return id;
}

static void look_at_add(MemoryListener *l, MemoryRegionSection *s)
{
    (void)l, (void)s;
    seen.calls++;
    seen.at_add = current_id(seen.as);
    seen.locked = memory_system_locked(address_space_system(seen.as));
    seen.edit = memory_region_set_enabled(seen.mr, false);
    seen.reg = memory_listener_register(seen.other, seen.as);
}

static void look_at_commit(MemoryListener *l)
{
    (void)l;
    seen.at_commit = current_id(seen.as);
}

static void callbacks_look_and_do_not_touch(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemoryListener l = {.region_add = look_at_add, .commit = look_at_commit};
    MemoryListener other = listener("other", 0);
    MemoryRegion a;

    (void)state;
    make_io(ms, &a, "a", 0x1000);
    memset(&seen, 0, sizeof(seen));
    seen.as = as;
    seen.mr = &a;
    seen.other = &other;
    OK(memory_listener_register(&l, as));
    seen.before = current_id(as);
    map_at(ms, 0, &a);
    assert_int_equal(seen.calls, 1);
    assert_true(seen.locked);
    assert_int_equal(seen.edit, -EBUSY);
    assert_int_equal(seen.reg, -EBUSY);
    assert_true(memory_region_is_enabled(&a));
    assert_true(seen.at_add == seen.before); /* readers see it only afterwards */
    assert_true(seen.at_commit != seen.before && seen.at_commit == current_id(as));
    REFUSED(-EBUSY, memory_listener_register(&l, as));
    OK(memory_listener_unregister(&l));
    machine_end(ms);
}

/* A listener is told the view in force; what the transaction changes comes at its commit. */
static void listeners_come_and_go_within_transactions(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    MemoryListener l = listener("late", 0);
    MemoryRegion a, b;

    (void)state;
    make_io(ms, &a, "a", 0x1000);
    make_io(ms, &b, "b", 0x1000);
    map_at(ms, 0, &a);
    memory_region_transaction_begin(ms);
    map_at(ms, 0x1000, &b);
    forget();
    OK(memory_listener_register(&l, as));
    assert_non_null(strstr(story, "late add a 0-fff\n"));
    assert_null(strstr(story, "late add b"));
    OK(memory_region_transaction_commit(ms));
    assert_non_null(strstr(story, "late add b 1000-1fff\n"));
    memory_region_transaction_begin(ms);
    OK(memory_region_del_subregion(get_system_memory(ms), &a));
    forget();
    OK(memory_listener_unregister(&l));
    assert_non_null(strstr(story, "late del a 0-fff\n"));
    forget();
    OK(memory_region_transaction_commit(ms));
    assert_null(strstr(story, "late"));
    machine_end(ms);
}

static void spaces_are_told_apart(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms), dma = {0};
    MemoryListener l = listener("mem", 1), d = listener("dma", 0);
    MemoryRegion root, window, a;

    (void)state;
    make_io(ms, &a, "a", 0x1000);
    make_container(ms, &root, "dma root", UINT64_MAX);
    make_alias(ms, &window, get_system_memory(ms), 0x10000, 0x10000);
    OK(memory_region_add_subregion(&root, 0, &window));
    OK(address_space_init(&dma, &root, "dma"));
    OK(memory_listener_register(&l, as));
    OK(memory_listener_register(&d, &dma));
    forget();
    map_at(ms, 0x11000, &a);
    assert_non_null(strstr(story, "mem add a 11000-11fff\n"));
    assert_non_null(strstr(story, "dma add a 1000-1fff\n"));
    forget();
    OK(memory_region_set_alias_offset(&window, 0x11000));
    assert_null(strstr(story, "mem add"));
    assert_non_null(strstr(story, "dma del a 1000-1fff\ndma add a 0-fff\n"));
    forget();
    OK(address_space_destroy(&dma)); /* unregisters */
    assert_story("dma begin\ndma del a 0-fff\ndma commit\n");
    OK(memory_listener_unregister(&l));
    memory_system_drain(ms);
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_is_told_of_adds_and_dels),
        cmocka_unit_test(what_nobody_sees_nobody_hears_of),
        cmocka_unit_test(adds_ascend_and_dels_descend_by_priority),
        cmocka_unit_test(nop_is_for_those_who_have_it),
        cmocka_unit_test(masks_change_in_place),
        cmocka_unit_test(eventfds_follow_their_region),
        cmocka_unit_test(coalesced_ranges_follow_their_region),
        cmocka_unit_test(callbacks_look_and_do_not_touch),
        cmocka_unit_test(listeners_come_and_go_within_transactions),
        cmocka_unit_test(spaces_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
