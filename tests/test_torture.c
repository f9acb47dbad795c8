/* SPDX-License-Identifier: MIT */
/*
 * Readers without pause beside a writer without pause.
 *
 * The board, and what must hold in every view and for every access:
 *   pair    two RAM regions side by side, swapped in one transaction: a view shows both, in
 *           either order
 *   mover   one RAM region that moves between places: a view shows it once
 *   shadow  RAM or ROM by two aliases, one enabled: always one of the two answers
 *   slots   devices and RAM that come and go, whose finalisers poison everything that they own: an
 *           access gives the slot's tag or finds nothing, never poison
 *
 * Nobody writes guest memory that others read, so that whatever ThreadSanitizer finds is a race
 * of the library's. MEMBUS_TORTURE_SECONDS sets the time.
 */
#include "support/rng.h"
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "support/machine.h"

enum {
    READERS = 3,
    SLOTS = 8,
    PLACES = 4,
    PAGE = 0x1000,
    WORDS = PAGE / 8,
};

#define PAIR_AT 0x10000
#define SHADOW_AT 0xf0000
#define MOVER_AT(i) (0x100000 + (hwaddr)(i)*0x8000)
#define SLOT_AT(i) (0x1000000 + (hwaddr)(i)*0x10000)
#define TAG(i) (0xa5a5000000000000 + (uint64_t)(i))
#define RAM_TAG 0x1111111111111111
#define ROM_TAG 0x2222222222222222
#define LEFT_TAG 0x3333333333333333
#define RIGHT_TAG 0x4444444444444444
#define MOVER_TAG 0x5555555555555555

/* What may stand in a slot: a device (lockless or not) or RAM of the program's. */
typedef struct Part {
    MemoryRegion mr;
    MemoryOwner *owner;
    uint64_t tag;
    uint64_t *words; /* of RAM */
    bool is_ram;
} Part;

typedef struct Board {
    MemorySystem *ms;
    AddressSpace *as;
    MemoryRegion left, right, mover, ram, rom, as_ram, as_rom;
    Part *part[SLOTS];
    bool stop;           /* atomic */
    const char *failure; /* atomic: the first one */
    uint64_t edits, accesses, live;
} Board;

static void report(Board *b, const char *what)
{
    const char *none = NULL;

    __atomic_compare_exchange_n(&b->failure, &none, what, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_RELAXED);
    __atomic_store_n(&b->stop, true, __ATOMIC_RELEASE);
}

static bool stopped(Board *b)
{
    return __atomic_load_n(&b->stop, __ATOMIC_ACQUIRE);
}

/* ---- Parts that come and go --------------------------------------------------------- */

static uint64_t part_read(void *opaque, hwaddr addr, unsigned size)
{
    Part *part = opaque;

    (void)addr, (void)size;
    return part->tag;
}

static void part_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque, (void)addr, (void)data, (void)size;
}

static const MemoryRegionOps part_ops = {.read = part_read,
                                         .write = part_write,
                                         .endianness = DEVICE_LITTLE_ENDIAN,
                                         .valid = {1, 8, false, NULL},
                                         .impl = {8, 8, false}};

static uint64_t *live_parts;

static void finalize_part(void *opaque)
{
    Part *part = opaque;

    if (part->words) {
        memset(part->words, 0xdd, PAGE);
        free(part->words);
    }
    memset(part, 0xdd, sizeof(*part));
    free(part);
    __atomic_sub_fetch(live_parts, 1, __ATOMIC_RELAXED);
}

static Part *part_new(Board *b, unsigned slot, unsigned kind)
{
    Part *part = calloc(1, sizeof(*part));
    int rc;

    if (!part) {
        abort();
    }
    part->tag = TAG(slot);
    part->is_ram = kind == 0;
    part->owner = memory_owner_create(b->ms, "part", finalize_part, part);
    __atomic_add_fetch(live_parts, 1, __ATOMIC_RELAXED);
    if (part->is_ram) {
        part->words = malloc(PAGE);
        for (int i = 0; part->words && i < WORDS; i++) {
            part->words[i] = part->tag;
        }
        rc = memory_region_init_ram_ptr(&part->mr, part->owner, "part", PAGE, part->words);
    } else {
        rc = memory_region_init_io(&part->mr, part->owner, &part_ops, part, "part", PAGE);
    }
    if (rc || (kind == 2 && memory_region_enable_lockless_io(&part->mr))) {
        report(b, "a part could not be made");
    }
    return part;
}

/* ---- The writer ------------------------------------------------------------------------ */

static void swap_pair(Board *b)
{
    hwaddr at = memory_region_address(&b->left);

    memory_region_transaction_begin(b->ms);
    if (memory_region_set_address(&b->left, memory_region_address(&b->right)) ||
        memory_region_set_address(&b->right, at) || memory_region_transaction_commit(b->ms)) {
        report(b, "the pair could not be swapped");
    }
}

static void flip_shadow(Board *b)
{
    bool ram = memory_region_is_enabled(&b->as_ram);

    memory_region_transaction_begin(b->ms);
    if (memory_region_set_enabled(&b->as_ram, !ram) || memory_region_set_enabled(&b->as_rom, ram) ||
        memory_region_transaction_commit(b->ms)) {
        report(b, "the shadow could not be flipped");
    }
}

static void change_slot(Board *b, Rng *rng)
{
    unsigned slot = rng_below(rng, SLOTS);
    Part *part = b->part[slot];

    if (part) {
        if (memory_region_del_subregion(get_system_memory(b->ms), &part->mr)) {
            report(b, "a part could not be removed");
        }
        memory_owner_unref(part->owner);
        b->part[slot] = NULL;
    }
    if (!part || rng_percent(rng, 50)) {
        part = part_new(b, slot, rng_below(rng, 3));
        if (memory_region_add_subregion(get_system_memory(b->ms), SLOT_AT(slot), &part->mr)) {
            report(b, "a part could not be added");
        }
        b->part[slot] = part;
    }
}

static void *write_without_pause(void *opaque)
{
    Board *b = opaque;
    Rng rng = {4711};

    while (!stopped(b)) {
        switch (rng_below(&rng, 5)) {
        case 0:
            swap_pair(b);
            break;
        case 1:
            flip_shadow(b);
            break;
        case 2:
            if (memory_region_set_address(&b->mover, MOVER_AT(rng_below(&rng, PLACES)))) {
                report(b, "the mover could not be moved");
            }
            break;
        default:
            change_slot(b, &rng);
        }
        if (++b->edits % 512 == 0) {
            memory_system_drain(b->ms); /* or what was removed piles up */
        }
    }
    return NULL;
}

/* ---- Readers ------------------------------------------------------------------------------ */

/* A held view is one state of the board. */
static void look_at_a_view(Board *b)
{
    FlatView *view = address_space_get_flatview(b->as);
    MemoryRegionSection l, r, s;
    unsigned movers = 0;
    hwaddr addr = 0;

    if (!flatview_lookup(view, PAIR_AT, &l) || !flatview_lookup(view, PAIR_AT + PAGE, &r) ||
        !((l.mr == &b->left && r.mr == &b->right) || (l.mr == &b->right && r.mr == &b->left))) {
        report(b, "a view shows half of a swap");
    }
    if (!flatview_lookup(view, SHADOW_AT, &s) || (s.mr != &b->ram && s.mr != &b->rom)) {
        report(b, "a view shows half of a flip");
    }
    while (flatview_next(view, addr, &s)) {
        movers += s.mr == &b->mover;
        if (s.offset_within_address_space >= SLOT_AT(0) &&
            strcmp(memory_region_name(s.mr), "part") != 0) {
            report(b, "a view shows a part that is gone");
        }
        addr = s.last_within_address_space + 1;
    }
    if (movers != 1) {
        report(b, "a view does not show the mover once");
    }
    flatview_unref(view);
}

static void load_from(Board *b, hwaddr addr, uint64_t tag, uint64_t other)
{
    MemTxResult result = 0;
    uint64_t value = address_space_ldq_le(b->as, addr, ATTRS, &result);

    if (result == MEMTX_OK ? value != tag && value != other
                           : result != MEMTX_DECODE_ERROR || value != 0) {
        report(b, "a load gave what nobody ever stored");
    }
}

static void read_slot(Board *b, unsigned slot, Rng *rng)
{
    uint64_t words[16];
    unsigned n = 1 + rng_below(rng, 16);
    MemTxResult result = address_space_read(b->as, SLOT_AT(slot) + rng_below(rng, 64) * 8, ATTRS,
                                            words, n * sizeof(*words));

    for (unsigned i = 0; i < n; i++) {
        if (words[i] != TAG(slot) && !(words[i] == 0 && result == MEMTX_DECODE_ERROR)) {
            report(b, "a read gave poison");
        }
    }
}

static void map_slot(Board *b, unsigned slot)
{
    hwaddr len = 64;
    uint64_t *p = address_space_map(b->as, SLOT_AT(slot), &len, false, ATTRS);

    if (!p) {
        return; /* nothing there, or no budget left */
    }
    sched_yield();
    for (unsigned i = 0; i < len / 8; i++) {
        /* a bounce buffer is empty if the device went before it was filled */
        if (p[i] != TAG(slot) && p[i] != 0) {
            report(b, "a mapping shows poison");
        }
    }
    if (address_space_unmap(b->as, p, len, false, 0)) {
        report(b, "a mapping could not be ended");
    }
}

static void cache_slot(Board *b, unsigned slot)
{
    MemoryRegionCache cache;
    MemTxResult result = 0;
    uint64_t value;

    if (address_space_cache_init(&cache, b->as, SLOT_AT(slot), 64, false) < 0) {
        return;
    }
    sched_yield();
    value = address_space_ldq_le_cached(&cache, 8, ATTRS, &result);
    if (result != MEMTX_OK || value != TAG(slot)) {
        report(b, "a cache shows poison");
    }
    address_space_cache_destroy(&cache);
}

static void find_slot(Board *b, unsigned slot)
{
    MemoryRegionSection s = memory_region_find(get_system_memory(b->ms), SLOT_AT(slot), PAGE);

    if (s.mr) {
        sched_yield();
        if (strcmp(memory_region_name(s.mr), "part") != 0 || s.size != PAGE) {
            report(b, "memory_region_find found a part that is gone");
        }
        memory_region_unref(s.mr);
    }
}

static void translate_slot(Board *b, unsigned slot)
{
    MemoryRegion *mr;
    hwaddr xlat, len = 8;

    memory_read_lock();
    mr = address_space_translate(b->as, SLOT_AT(slot), &xlat, &len, true, ATTRS);
    if (mr && strcmp(memory_region_name(mr), "part") != 0) {
        report(b, "address_space_translate gave a part that is gone");
    }
    memory_read_unlock();
}

static void *read_without_pause(void *opaque)
{
    Board *b = opaque;
    Rng rng = {(uint64_t)(uintptr_t)&rng};
    uint64_t accesses = 0;

    while (!stopped(b)) {
        unsigned slot = rng_below(&rng, SLOTS);
        bool section = rng_percent(&rng, 20); /* a longer read section now and then */

        if (section) {
            memory_read_lock();
        }
        for (int i = 0; i < 20; i++) {
            load_from(b, SLOT_AT(slot) + (hwaddr)i * 8, TAG(slot), TAG(slot));
            load_from(b, MOVER_AT(i % PLACES), MOVER_TAG, MOVER_TAG);
        }
        if (section) {
            memory_read_unlock();
        }
        {
            MemTxResult result = 0x80;
            uint64_t value = address_space_ldq_le(b->as, SHADOW_AT + 8, ATTRS, &result);

            if (result != MEMTX_OK || (value != RAM_TAG && value != ROM_TAG)) {
                report(b, "the shadow was bare");
            }
            value = address_space_ldq_le(b->as, PAIR_AT + 8, ATTRS, &result);
            if (result != MEMTX_OK || (value != LEFT_TAG && value != RIGHT_TAG)) {
                report(b, "the pair was bare");
            }
        }
        look_at_a_view(b);
        read_slot(b, slot, &rng);
        map_slot(b, slot);
        cache_slot(b, slot);
        find_slot(b, slot);
        translate_slot(b, slot);
        accesses += 48;
    }
    __atomic_add_fetch(&b->accesses, accesses, __ATOMIC_RELAXED);
    return NULL;
}

/* Stacks must be remembered for long, or there is nothing to match the suppressions with. */
const char *__tsan_default_options(void); /* NOLINT(bugprone-reserved-identifier) */
const char *__tsan_default_options(void)
{
    return "history_size=7";
}

/*
 * ---- The board -------------------------------------------------------------------------------
 */

static void make_filled(Board *b, MemoryRegion *mr, const char *name, uint64_t tag)
{
    uint64_t *words;

    make_ram(b->ms, mr, name, PAGE);
    words = memory_region_get_ram_ptr(mr);
    for (int i = 0; i < WORDS; i++) {
        words[i] = tag;
    }
}

static void board_start(Board *b)
{
    b->ms = machine_start();
    b->as = memory_system_memory(b->ms);
    live_parts = &b->live;
    make_filled(b, &b->left, "left", LEFT_TAG);
    make_filled(b, &b->right, "right", RIGHT_TAG);
    make_filled(b, &b->mover, "mover", MOVER_TAG);
    make_filled(b, &b->ram, "ram", RAM_TAG);
    make_filled(b, &b->rom, "rom", ROM_TAG);
    make_alias(b->ms, &b->as_ram, &b->ram, 0, PAGE);
    make_alias(b->ms, &b->as_rom, &b->rom, 0, PAGE);
    OK(memory_region_set_readonly(&b->as_rom, true));
    OK(memory_region_set_enabled(&b->as_rom, false));
    map_at(b->ms, PAIR_AT, &b->left);
    map_at(b->ms, PAIR_AT + PAGE, &b->right);
    map_at(b->ms, MOVER_AT(0), &b->mover);
    map_at(b->ms, SHADOW_AT, &b->as_ram);
    map_at(b->ms, SHADOW_AT, &b->as_rom);
}

static void board_end(Board *b)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (b->part[i]) {
            unmap(b->ms, &b->part[i]->mr);
            memory_owner_unref(b->part[i]->owner);
        }
    }
    memory_system_drain(b->ms);
    assert_int_equal(__atomic_load_n(&b->live, __ATOMIC_RELAXED), 0);
    machine_end(b->ms);
}

static void readers_never_see_half_a_map(void **state)
{
    const char *seconds = getenv("MEMBUS_TORTURE_SECONDS");
    struct timespec time = {.tv_sec = seconds ? atol(seconds) : 3};
    Board *b = calloc(1, sizeof(*b));
    pthread_t reader[READERS], writer;

    (void)state;
    board_start(b);
    OK(pthread_create(&writer, NULL, write_without_pause, b));
    for (int i = 0; i < READERS; i++) {
        OK(pthread_create(&reader[i], NULL, read_without_pause, b));
    }
    for (long tenth = 0; tenth < time.tv_sec * 10 && !stopped(b); tenth++) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    __atomic_store_n(&b->stop, true, __ATOMIC_RELEASE);
    for (int i = 0; i < READERS; i++) {
        OK(pthread_join(reader[i], NULL));
    }
    OK(pthread_join(writer, NULL));
    print_message("# %" PRIu64 " edits beside %" PRIu64 " accesses\n", b->edits, b->accesses);
    if (b->failure) {
        fail_msg("%s", b->failure);
    }
    assert_true(b->edits > 50 && b->accesses > 1000);
    board_end(b);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_never_see_half_a_map),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
