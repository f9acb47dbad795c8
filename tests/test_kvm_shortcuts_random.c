/* SPDX-License-Identifier: MIT */
/*
 * Ioeventfds and coalesced zones under random edits of memory and ports, with a failure at every
 * ioctl, against sets that are made from the edits alone.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/kvm_fake_state.h"
#include "support/kvm_guest.h"
#include <sys/eventfd.h>
#include <unistd.h>

#define DEVICES 5
#define PLACES 8
#define PLACE(i) (DEVICE_AT + 0x100UL * (i)) /* of memory; the upper half is of ports */
#define NO_PLACE (-1)

typedef struct Wanted {
    bool pio, zone, match;
    uint64_t addr, len, data;
    int fd;
} Wanted;

typedef struct WantedSet {
    Wanted item[DEVICES * 64];
    unsigned count;
} WantedSet;

typedef struct Toy {
    Device *d;
    int place;
    unsigned zones;
    bool covered[DEVICE_BYTES];
    struct {
        bool used, match;
        unsigned size;
        uint64_t data;
        EventNotifier *e;
    } bell[8]; /* each at 8 times its index */
} Toy;

typedef struct Toys {
    Guest *g;
    Toy toy[DEVICES];
    MemoryRegion ram; /* slots come and go with them */
    bool ram_there;
    EventNotifier e[3];
} Toys;

static EventNotifier notifier_open(void)
{
    EventNotifier e = {eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};

    assert_true(e.fd >= 0);
    return e;
}

static bool is_port(int place)
{
    return place >= PLACES / 2;
}

static MemoryRegion *parent(Toys *t, int place)
{
    return is_port(place) ? get_system_io(t->g->ms) : get_system_memory(t->g->ms);
}

static uint64_t base_of(int place)
{
    return is_port(place) ? PORT_AT + 0x100UL * (unsigned)place : PLACE((unsigned)place);
}

static void want_of_toy(const Toy *toy, WantedSet *set)
{
    uint64_t base = base_of(toy->place);

    for (unsigned i = 0; i < 8; i++) {
        if (toy->bell[i].used) {
            set->item[set->count++] = (Wanted){is_port(toy->place), false,
                                               toy->bell[i].match,  base + 8 * (uint64_t)i,
                                               toy->bell[i].size,   toy->bell[i].data,
                                               toy->bell[i].e->fd};
        }
    }
    for (unsigned i = 0; i < DEVICE_BYTES; i++) {
        if (toy->covered[i] && (i == 0 || !toy->covered[i - 1])) {
            unsigned end = i;
            while (end < DEVICE_BYTES && toy->covered[end]) {
                end++;
            }
            set->item[set->count++] =
                (Wanted){is_port(toy->place), true, false, base + i, end - i, 0, 0};
        }
    }
}

static void want(const Toys *t, WantedSet *set)
{
    set->count = 0;
    for (unsigned i = 0; i < DEVICES; i++) {
        if (t->toy[i].place != NO_PLACE) {
            want_of_toy(&t->toy[i], set);
        }
    }
}

static bool has(const WantedSet *set, const Wanted *w)
{
    for (unsigned i = 0; i < set->count; i++) {
        const Wanted *x = &set->item[i];
        if (x->pio == w->pio && x->zone == w->zone && x->match == w->match && x->addr == w->addr &&
            x->len == w->len && x->data == w->data && x->fd == w->fd) {
            return true;
        }
    }
    return false;
}

static unsigned long missing(const WantedSet *from, const WantedSet *in)
{
    unsigned long count = 0;

    for (unsigned i = 0; i < from->count; i++) {
        count += !has(in, &from->item[i]);
    }
    return count;
}

static void assert_kernel_has(const Toys *t, const WantedSet *set)
{
    const KvmFake *fake = t->g->fake;

    for (unsigned i = 0; i < fake->ioeventfds; i++) {
        const FakeIoeventfd *e = &fake->ioeventfd[i];
        assert_true(
            has(set, &(Wanted){e->pio, false, !e->any_data, e->addr, e->len, e->data, e->user_fd}));
    }
    for (unsigned i = 0; i < fake->zones; i++) {
        const struct kvm_coalesced_mmio_zone *z = &fake->zone[i];
        assert_true(has(set, &(Wanted){z->pio, true, false, z->addr, z->size, 0, 0}));
    }
    assert_int_equal(fake->ioeventfds + fake->zones, set->count);
}

static unsigned pick(unsigned n)
{
    static uint64_t seed = 88172645463325252;

    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % n;
}

static void flip_bell(Toys *t, Toy *toy)
{
    unsigned i = pick(8), size = (unsigned[]){0, 1, 2, 4, 8}[pick(5)];
    bool match = size && pick(2);
    uint64_t data = match ? pick(200) : 0;
    EventNotifier *e = &t->e[pick(3)];

    if (toy->bell[i].used) {
        OK(memory_region_del_eventfd(&toy->d->mr, 8 * (hwaddr)i, toy->bell[i].size,
                                     toy->bell[i].match, toy->bell[i].data, toy->bell[i].e));
        toy->bell[i].used = false;
        return;
    }
    OK(memory_region_add_eventfd(&toy->d->mr, 8 * (hwaddr)i, size, match, data, e));
    toy->bell[i].used = true;
    toy->bell[i].size = size;
    toy->bell[i].match = match;
    toy->bell[i].data = data;
    toy->bell[i].e = e;
}

static void change_zones(Toy *toy)
{
    if (toy->zones > 2) {
        OK(memory_region_clear_coalescing(&toy->d->mr));
        memset(toy->covered, 0, sizeof toy->covered);
        toy->zones = 0;
        return;
    }
    unsigned first = pick(DEVICE_BYTES), len = 1 + pick(DEVICE_BYTES - first);
    OK(memory_region_add_coalescing(&toy->d->mr, first, len));
    memset(toy->covered + first, 1, len);
    toy->zones++;
}

static void move_toy(Toys *t, Toy *toy)
{
    int place = (int)pick(PLACES + 1) - 1;

    for (unsigned i = 0; i < DEVICES && place != NO_PLACE; i++) {
        if (t->toy[i].place == place) {
            return;
        }
    }
    if (toy->place != NO_PLACE) {
        OK(memory_region_del_subregion(parent(t, toy->place), &toy->d->mr));
    }
    if (place != NO_PLACE) {
        OK(memory_region_add_subregion(parent(t, place), base_of(place), &toy->d->mr));
    }
    toy->place = place;
}

static void edit(Toys *t)
{
    Toy *toy = &t->toy[pick(DEVICES)];

    switch (pick(8)) {
    case 0:
    case 1:
        flip_bell(t, toy);
        break;
    case 2:
    case 3:
        change_zones(toy);
        break;
    case 4:
        t->ram_there ? unmap(t->g->ms, &t->ram) : map_at(t->g->ms, 0x100000, &t->ram);
        t->ram_there = !t->ram_there;
        break;
    default:
        move_toy(t, toy);
    }
}

static bool ram_in_kernel(const Toys *t)
{
    return kvm_fake_slots(t->g->fake, 0);
}

/* Commit, after one refused try for each ioctl that the commit takes. */
static void commit_at_last(Toys *t, const WantedSet *before, const WantedSet *after)
{
    bool ram_was = ram_in_kernel(t);

    for (unsigned long k = 1;; k++) {
        kvm_fake_fail(t->g->fake, 0, k, k % 2 ? ENOSPC : ENOMEM, false);
        kvm_fake_forget_calls(t->g->fake);
        int result = memory_region_transaction_commit(t->g->ms);
        unsigned long failed = kvm_fake_heal(t->g->fake);
        if (!result) {
            assert_int_equal(failed, 0);
            break;
        }
        assert_int_equal(result, k % 2 ? -ENOSPC : -ENOMEM);
        assert_int_equal(failed, 1);
        assert_non_null(strstr(membus_last_error(), "KVM cannot"));
        assert_kernel_has(t, before);
        assert_int_equal(ram_in_kernel(t), ram_was);
    }
    assert_kernel_has(t, after);
    assert_int_equal(ram_in_kernel(t), t->ram_there);
    assert_int_equal(kvm_fake_calls(t->g->fake, 0),
                     missing(before, after) + missing(after, before) + (ram_was != t->ram_there));
    assert_int_equal(t->g->reports, 0);
}

static Toys *toys_start(void)
{
    Toys *t = calloc(1, sizeof *t);

    assert_non_null(t);
    t->g = guest_start(NULL, true);
    for (unsigned i = 0; i < 3; i++) {
        t->e[i] = notifier_open();
    }
    for (unsigned i = 0; i < DEVICES; i++) {
        t->toy[i] = (Toy){.d = any_device(t->g, DEVICE_LITTLE_ENDIAN), .place = NO_PLACE};
    }
    make_ram(t->g->ms, &t->ram, "ram", 0x1000);
    return t;
}

static void toys_end(Toys *t)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        if (t->toy[i].place != NO_PLACE) {
            OK(memory_region_del_subregion(parent(t, t->toy[i].place), &t->toy[i].d->mr));
        }
        device_drop(t->toy[i].d);
    }
    assert_kernel_has(t, &(WantedSet){.count = 0});
    if (t->ram_there) {
        unmap(t->g->ms, &t->ram);
    }
    guest_end(t->g);
    for (unsigned i = 0; i < 3; i++) {
        close(t->e[i].fd);
    }
    free(t);
}

static void test_random(void **state)
{
    static WantedSet before, after;
    Toys *t = toys_start();

    (void)state;
    for (int step = 0; step < 2000; step++) {
        want(t, &before);
        memory_region_transaction_begin(t->g->ms);
        for (unsigned edits = 1 + pick(4); edits; edits--) {
            edit(t);
        }
        want(t, &after);
        commit_at_last(t, &before, &after);
    }
    toys_end(t);
}

/* The kernel refuses to take things back, too: it is told of, and the next commit mends it. */
static void test_undo_fails(void **state)
{
    static WantedSet after;
    Toys *t = toys_start();
    unsigned long told = 0;

    (void)state;
    for (int step = 0; step < 500; step++) {
        memory_region_transaction_begin(t->g->ms);
        for (unsigned edits = 1 + pick(6); edits; edits--) {
            edit(t);
        }
        want(t, &after);
        kvm_fake_fail(t->g->fake, 0, 1 + pick(6), EIO, true);
        int result = memory_region_transaction_commit(t->g->ms);
        kvm_fake_heal(t->g->fake);
        if (result) {
            OK(memory_region_transaction_commit(t->g->ms));
        }
        assert_kernel_has(t, &after);
        assert_int_equal(ram_in_kernel(t), t->ram_there);
        told += t->g->reports;
        t->g->reports = 0;
    }
    assert_true(told > 20);
    toys_end(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_undo_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
