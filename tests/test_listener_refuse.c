/* SPDX-License-Identifier: MIT */
/* Listeners that are asked before a commit: who agrees, who refuses, and what is left of it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/machine.h"

static char story[512];

static void tell(const MemoryListener *l, const char *what)
{
    size_t told = strlen(story);

    snprintf(story + told, sizeof story - told, "%s %s,", l->name, what);
}

#define assert_story(text)                                                                         \
    do {                                                                                           \
        assert_string_equal(story, text);                                                          \
        story[0] = 0;                                                                              \
    } while (0)

typedef struct Asked {
    MemoryListener listener;
    bool refuse;
    const FlatView *view; /* what it agreed to last */
} Asked;

static bool on_prepare(MemoryListener *l, const FlatView *old, const FlatView *view, Error **errp)
{
    Asked *asked = (Asked *)l;

    (void)old;
    tell(l, asked->refuse ? "refuses" : "agrees");
    if (asked->refuse) {
        error_set(errp, ENOSPC, "no slot is left");
        return false;
    }
    asked->view = view;
    return true;
}

static void on_cancel(MemoryListener *l)
{
    tell(l, "cancel");
}

static void on_begin(MemoryListener *l)
{
    tell(l, "begin");
}

static void on_add(MemoryListener *l, MemoryRegionSection *section)
{
    (void)section;
    tell(l, "add");
}

static void on_del(MemoryListener *l, MemoryRegionSection *section)
{
    (void)section;
    tell(l, "del");
}

static void on_commit(MemoryListener *l)
{
    tell(l, "commit");
}

static Asked make_asked(const char *name, unsigned priority)
{
    return (Asked){.listener = {.prepare = on_prepare,
                                .cancel = on_cancel,
                                .begin = on_begin,
                                .region_add = on_add,
                                .region_del = on_del,
                                .commit = on_commit,
                                .name = name,
                                .priority = priority}};
}

static void test_all_agree(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Asked one = make_asked("one", 1), two = make_asked("two", 2);
    MemoryRegion ram;

    (void)state;
    make_ram(ms, &ram, "ram", 0x1000);
    OK(memory_listener_register(&two.listener, as));
    OK(memory_listener_register(&one.listener, as));
    assert_story("two agrees,two begin,two commit,one agrees,one begin,one commit,");
    map_at(ms, 0, &ram);
    assert_story("one agrees,two agrees,one begin,two begin,one add,two add,one commit,two "
                 "commit,");
    FlatView *now = address_space_get_flatview(as);
    assert_ptr_equal(one.view, now); /* it was asked about the very view that came */
    flatview_unref(now);
    OK(memory_listener_unregister(&one.listener));
    assert_story("one agrees,one begin,one del,one commit,");
    two.refuse = true; /* nobody is kept in */
    OK(memory_listener_unregister(&two.listener));
    assert_story("two refuses,two begin,two del,two commit,");
    unmap(ms, &ram);
    machine_end(ms);
}

static void test_one_refuses(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms), other;
    Asked one = make_asked("one", 1), two = make_asked("two", 2), far = make_asked("far", 0);
    MemoryRegion ram;

    (void)state;
    make_ram(ms, &ram, "ram", 0x1000);
    OK(address_space_init(&other, get_system_memory(ms), "other"));
    OK(memory_listener_register(&one.listener, as));
    OK(memory_listener_register(&two.listener, as));
    OK(memory_listener_register(&far.listener, &other));
    FlatView *before = address_space_get_flatview(as);
    story[0] = 0;

    two.refuse = true;
    REFUSED(-ENOSPC, memory_region_add_subregion(get_system_memory(ms), 0, &ram));
    assert_string_equal(membus_last_error(), "listener 'two' of address space 'memory' cannot "
                                             "follow the map: no slot is left");
    /* the spaces share a view and come in any order; who agreed is told, and nobody else */
    char expected[] = "one agrees,two refuses,one cancel,";
    assert_true(!strcmp(story, expected) ||
                !strcmp(story, "far agrees,one agrees,two refuses,far cancel,one cancel,"));
    story[0] = 0;
    FlatView *after = address_space_get_flatview(as);
    assert_ptr_equal(before, after);
    flatview_unref(after);

    /* a transaction stays open, and goes through once nobody minds */
    memory_region_transaction_begin(ms);
    map_at(ms, 0, &ram);
    REFUSED(-ENOSPC, memory_region_transaction_commit(ms));
    two.refuse = false;
    OK(memory_region_transaction_commit(ms));
    assert_int_equal(address_space_ldub(as, 0xfff, ATTRS, NULL), 0);
    assert_int_equal(address_space_ldub(&other, 0xfff, ATTRS, NULL), 0);
    flatview_unref(before);

    OK(memory_listener_unregister(&one.listener));
    OK(memory_listener_unregister(&two.listener));
    OK(address_space_destroy(&other));
    story[0] = 0;
    unmap(ms, &ram);
    assert_story("");
    machine_end(ms);
}

static void test_registration_refused(void **state)
{
    MemorySystem *ms = machine_start();
    AddressSpace *as = memory_system_memory(ms);
    Asked one = make_asked("one", 1);
    MemoryRegion ram;

    (void)state;
    make_ram(ms, &ram, "ram", 0x1000);
    map_at(ms, 0, &ram);
    one.refuse = true;
    REFUSED(-ENOSPC, memory_listener_register(&one.listener, as));
    assert_story("one refuses,");
    one.refuse = false;
    OK(memory_listener_register(&one.listener, as));
    assert_story("one agrees,one begin,one add,one commit,");
    OK(memory_listener_unregister(&one.listener));
    unmap(ms, &ram);
    machine_end(ms);
    story[0] = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_agree),
        cmocka_unit_test(test_one_refuses),
        cmocka_unit_test(test_registration_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
