/* SPDX-License-Identifier: MIT */
/*
 * Snapshots against a naive model: a full copy of all RAM, of the view and of every region's
 * attributes at each take. Random writes of every kind, edits, unplugs, resizes, takes, restores
 * and frees in any order, while another client logs and must hear of all that changes.
 */
#include "support/rng.h"
#include "support/shown.h"
#include <errno.h>
#include <membus/membus.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE ((hwaddr)4096)
#define ANY MEMTXATTRS_UNSPECIFIED
#define RAMS 6     /* there from the start */
#define PLUGS 12   /* come and go */
#define REGIONS 24 /* of all kinds */
#define LEVELS 5
#define WINDOWS 4
#define MAX_BYTES (40 * PAGE)

enum { BIG, ODD, SHARED, GROW, ROM, FLASH };

typedef struct Plug {
    MemoryRegion mr;
    MemoryOwner *owner; /* NULL: not there */
    bool ours;          /* we hold the owner */
} Plug;

typedef struct Attributes {
    MemoryRegion *container;
    hwaddr addr, size, alias_offset;
    int priority;
    bool enabled, readonly, romd;
} Attributes;

typedef struct Image {
    bool there;
    RAMBlock *block;
    hwaddr size;
    uint8_t bytes[MAX_BYTES];
} Image;

typedef struct Level {
    MemorySnapshot *snapshot;
    Image ram[RAMS + PLUGS];
    Attributes attributes[REGIONS];
    Shown shown;
} Level;

typedef struct Window {
    uint8_t *host;
    hwaddr len;
    MemoryRegionCache cache; /* mr not NULL: it is one */
} Window;

typedef struct Model {
    Rng rng;
    MemorySystem *ms;
    AddressSpace *as;
    MemoryRegion ram[RAMS], box, alias, device, spare;
    MemoryRegion *region[REGIONS];
    unsigned regions;
    Plug plug[PLUGS];
    uint8_t *odd_bytes;
    EventNotifier notifier;
    Level level[LEVELS];
    unsigned levels;
    Window window[WINDOWS];
    int client;               /* another one that logs; -1: none */
    Image seen[RAMS + PLUGS]; /* what it has seen */
} Model;

static void must(int result)
{
    if (result < 0) {
        fail_msg("%d: %s", result, membus_last_error());
    }
}

/* Wait for plugs to end that neither we nor the map hold. */
static void settle(const Model *m)
{
    for (unsigned i = 0; i < PLUGS; i++) {
        const Plug *p = &m->plug[i];
        if (p->owner && !p->ours &&
            (!memory_region_get_ram_block(&p->mr) || !memory_region_container(&p->mr))) {
            memory_system_drain(m->ms);
            return;
        }
    }
}

/* ---- the machine ----------------------------------------------------------------------- */

static uint64_t no_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque;
    (void)addr;
    (void)size;
    return 0;
}

static void no_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque;
    (void)addr;
    (void)data;
    (void)size;
}

static const MemoryRegionOps ops = {.read = no_read, .write = no_write};

static hwaddr place_of(unsigned ram)
{
    return 0x100000 * (hwaddr)ram;
}

static void model_start(Model *m, uint64_t seed)
{
    *m = (Model){.rng = {seed}, .client = -1, .notifier = {-1}};
    m->ms = memory_system_create();
    assert_non_null(m->ms);
    m->as = memory_system_memory(m->ms);
    MemoryOwner *board = memory_system_owner(m->ms);
    MemoryRegion *root = get_system_memory(m->ms);
    int fd = memfd_create("membus-test", 0);
    assert_true(fd >= 0 && ftruncate(fd, 16 * 4096) == 0);
    m->odd_bytes = calloc(1, 5 * 4096 + 1234);

    must(memory_region_init(&m->box, board, "box", 0x100000));
    must(memory_region_init_ram(&m->ram[BIG], board, "big", 40 * PAGE, NULL));
    must(memory_region_init_ram_ptr(&m->ram[ODD], board, "odd", 5 * PAGE + 1234, m->odd_bytes));
    must(memory_region_init_ram_from_fd(&m->ram[SHARED], board, "shared", 16 * PAGE, RAM_SHARED, fd,
                                        0, NULL));
    must(memory_region_init_resizeable_ram(&m->ram[GROW], board, "grow", 4 * PAGE, 16 * PAGE, NULL,
                                           NULL));
    must(memory_region_init_rom(&m->ram[ROM], board, "rom", 4 * PAGE, NULL));
    must(memory_region_init_rom_device(&m->ram[FLASH], board, &ops, m, "flash", 8 * PAGE, NULL));
    must(memory_region_init_alias(&m->alias, board, "alias", &m->ram[BIG], 3 * PAGE, 9 * PAGE));
    must(memory_region_init_io(&m->device, board, &ops, m, "device", PAGE));
    must(memory_region_init_io(&m->spare, board, &ops, m, "spare", 2 * PAGE));
    must(memory_region_add_subregion(root, place_of(10), &m->box));
    must(memory_region_add_subregion(&m->box, 0x2000, &m->alias));
    must(memory_region_add_subregion_overlap(&m->box, 0x5000, &m->device, 3));
    for (unsigned i = 0; i < RAMS; i++) {
        must(memory_region_add_subregion(root, place_of(i), &m->ram[i]));
        m->region[m->regions++] = &m->ram[i];
    }
    m->region[m->regions++] = &m->box;
    m->region[m->regions++] = &m->alias;
    m->region[m->regions++] = &m->device;
    m->region[m->regions++] = &m->spare;
}

static MemoryRegion *ram_of(Model *m, unsigned i)
{
    if (i < RAMS) {
        return &m->ram[i];
    }
    return m->plug[i - RAMS].owner ? &m->plug[i - RAMS].mr : NULL;
}

static MemoryRegion *any_ram(Model *m, unsigned *index)
{
    MemoryRegion *mr;

    do {
        *index = rng_below(&m->rng, RAMS + PLUGS);
        mr = ram_of(m, *index);
    } while (!mr);
    return mr;
}

/* ---- writes ------------------------------------------------------------------------------ */

static hwaddr any_address(Model *m)
{
    unsigned i;

    if (rng_percent(&m->rng, 25)) {
        return place_of(10) + rng_next(&m->rng) % 0x10000;
    }
    MemoryRegion *mr = any_ram(m, &i);
    return memory_region_address(mr) + rng_next(&m->rng) % memory_region_size(mr);
}

static void write_bulk(Model *m, hwaddr addr)
{
    static uint8_t bytes[6 * 4096];
    hwaddr len = 1 + rng_next(&m->rng) % (rng_percent(&m->rng, 50) ? 100 : sizeof bytes);

    memset(bytes, (int)rng_below(&m->rng, 256), sizeof bytes);
    switch (rng_below(&m->rng, 3)) {
    case 0:
        address_space_write(m->as, addr, ANY, bytes, len);
        break;
    case 1:
        address_space_write_rom(m->as, addr, ANY, bytes, len);
        break;
    default:
        address_space_set(m->as, addr, bytes[0], len, ANY);
        break;
    }
}

static void write_mapped(Model *m, hwaddr addr)
{
    hwaddr len = 1 + rng_next(&m->rng) % (3 * PAGE);
    uint8_t *host = address_space_map(m->as, addr, &len, true, ANY);

    if (host) {
        memset(host, (int)rng_below(&m->rng, 256), (size_t)len);
        must(address_space_unmap(m->as, host, len, true, len));
    }
}

static void write_cached(Model *m, hwaddr addr)
{
    MemoryRegionCache cache;
    int64_t len = address_space_cache_init(&cache, m->as, addr, 1 + rng_below(&m->rng, 5000), true);

    if (len >= 8) {
        address_space_stq_le_cached(&cache, 0, rng_next(&m->rng), ANY, NULL);
        address_space_write_cached(&cache, (hwaddr)len - 8, &len, 8);
        if (cache.direct_write) {
            cache.ptr[len / 2] ^= 0x5a;
            address_space_cache_invalidate(&cache, (hwaddr)len / 2, 1);
        }
    }
    if (len >= 0) {
        address_space_cache_destroy(&cache);
    }
}

static void write_raw(Model *m)
{
    unsigned i;
    MemoryRegion *mr = any_ram(m, &i);
    uint8_t *host = memory_region_get_ram_ptr(mr);
    hwaddr at = rng_next(&m->rng) % memory_region_size(mr);

    memory_region_prepare_write(mr, at, 1);
    host[at]++;
    memory_region_set_dirty(mr, at, 1);
}

/* Open a window, or write through one, or close it. */
static void use_window(Model *m)
{
    Window *w = &m->window[rng_below(&m->rng, WINDOWS)];

    if (!w->host) {
        hwaddr addr = any_address(m), len = 1 + rng_next(&m->rng) % (3 * PAGE);
        if (rng_percent(&m->rng, 50)) {
            w->host = address_space_map(m->as, addr, &len, true, ANY);
            w->len = len;
        } else {
            int64_t cached = address_space_cache_init(&w->cache, m->as, addr, len, true);
            if (cached > 0 && w->cache.direct_write) {
                w->host = w->cache.ptr;
                w->len = (hwaddr)cached;
            } else if (cached > 0) {
                address_space_cache_destroy(&w->cache);
            }
        }
    } else if (rng_percent(&m->rng, 80)) {
        w->host[rng_next(&m->rng) % w->len] ^= (uint8_t)(1 + rng_below(&m->rng, 255));
    } else if (w->cache.mr) {
        address_space_cache_invalidate(&w->cache, 0, w->len);
        address_space_cache_destroy(&w->cache);
        *w = (Window){0};
    } else {
        must(address_space_unmap(m->as, w->host, w->len, true, w->len));
        *w = (Window){0};
    }
}

static void close_windows(Model *m)
{
    for (unsigned i = 0; i < WINDOWS; i++) {
        Window *w = &m->window[i];
        if (w->cache.mr) {
            address_space_cache_invalidate(&w->cache, 0, w->len);
            address_space_cache_destroy(&w->cache);
        } else if (w->host) {
            must(address_space_unmap(m->as, w->host, w->len, true, w->len));
        }
        *w = (Window){0};
    }
    settle(m);
}

static void write_something(Model *m)
{
    hwaddr addr = any_address(m);
    uint64_t value = rng_next(&m->rng);

    switch (rng_below(&m->rng, 12)) {
    case 0:
        address_space_stb(m->as, addr, (uint8_t)value, ANY, NULL);
        break;
    case 1:
        address_space_stl_be(m->as, addr & ~3ULL, (uint32_t)value, ANY, NULL);
        break;
    case 2:
        address_space_stw_le(m->as, addr, (uint16_t)value, ANY, NULL);
        break;
    case 3:
        write_bulk(m, addr);
        break;
    case 4:
        write_mapped(m, addr);
        break;
    case 5:
        write_cached(m, addr);
        break;
    case 6:
        write_raw(m);
        break;
    case 7:
        use_window(m);
        break;
    case 8: /* across pages */
        address_space_stq_le(m->as, (addr | (PAGE - 1)) - 3, value, ANY, NULL);
        break;
    default:
        for (unsigned i = 0; i < 8; i++) { /* one after the other: the fast path */
            address_space_stq_le(m->as, (addr & ~7ULL) + 8 * i, value, ANY, NULL);
        }
        break;
    }
}

/* ---- edits ------------------------------------------------------------------------------- */

static void plug_gone(void *opaque)
{
    Plug *plug = opaque;

    plug->owner = NULL;
}

static void plug(Model *m)
{
    unsigned i = rng_below(&m->rng, PLUGS);
    Plug *p = &m->plug[i];

    if (!p->owner) {
        p->owner = memory_owner_create(m->ms, "plug", plug_gone, p);
        assert_non_null(p->owner);
        must(memory_region_init_ram(&p->mr, p->owner, "plug", (1 + rng_below(&m->rng, 8)) * PAGE,
                                    NULL));
        p->ours = true;
    }
    if (!memory_region_container(&p->mr)) {
        must(memory_region_add_subregion(get_system_memory(m->ms), place_of(20 + i), &p->mr));
    } else {
        MemoryRegion *container = memory_region_container(&p->mr);
        must(memory_region_del_subregion(container, &p->mr));
    }
    if (p->ours && rng_percent(&m->rng, 70)) {
        p->ours = false;
        memory_owner_unref(p->owner);
    }
}

static void add_or_del(Model *m, MemoryRegion *mr)
{
    MemoryRegion *container = memory_region_container(mr);

    if (container) {
        must(memory_region_del_subregion(container, mr));
    } else {
        bool in_box = mr != &m->box && rng_percent(&m->rng, 50);
        must(memory_region_add_subregion_overlap(in_box ? &m->box : get_system_memory(m->ms),
                                                 rng_below(&m->rng, 64) * PAGE, mr,
                                                 (int)rng_below(&m->rng, 5) - 2));
    }
}

static void edit(Model *m)
{
    MemoryRegion *mr = m->region[rng_below(&m->rng, m->regions)];

    switch (rng_below(&m->rng, 12)) {
    case 0:
        must(memory_region_set_enabled(mr, !memory_region_is_enabled(mr)));
        break;
    case 1:
        must(memory_region_set_address(mr, rng_below(&m->rng, 0x400) * PAGE));
        break;
    case 2:
        must(memory_region_set_readonly(mr, !memory_region_is_readonly(mr)));
        break;
    case 3:
        must(memory_region_set_alias_offset(&m->alias, rng_below(&m->rng, 40) * PAGE));
        break;
    case 4:
        must(memory_region_set_size(&m->spare, rng_below(&m->rng, 5) * PAGE));
        break;
    case 5:
        must(memory_region_ram_resize(&m->ram[GROW], (1 + rng_below(&m->rng, 16)) * PAGE, NULL));
        break;
    case 6:
        must(memory_region_rom_device_set_romd(&m->ram[FLASH], rng_percent(&m->rng, 50)));
        break;
    case 7:
        add_or_del(m, mr);
        break;
    case 8:
        memory_region_add_eventfd(&m->device, 8 * rng_below(&m->rng, 4), 4, false, 0, &m->notifier);
        break;
    case 9:
        memory_region_del_eventfd(&m->device, 8 * rng_below(&m->rng, 4), 4, false, 0, &m->notifier);
        break;
    case 10:
        must(rng_percent(&m->rng, 50) ? memory_region_set_coalescing(&m->device)
                                      : memory_region_clear_coalescing(&m->device));
        break;
    default:
        plug(m);
        break;
    }
}

/* ---- the other client ----------------------------------------------------------------------- */

static void image_take(Image *image, MemoryRegion *mr)
{
    image->there = mr != NULL;
    if (mr) {
        image->block = memory_region_get_ram_block(mr);
        image->size = memory_region_size(mr);
        memcpy(image->bytes, memory_region_get_ram_ptr(mr), (size_t)image->size);
    }
}

/* All that was written or restored since the last time is dirty. */
static void client_looks(Model *m)
{
    DirtyRun run = DIRTY_RUN_INIT;

    close_windows(m); /* they have yet to tell */
    if (m->client < 0) {
        m->client = memory_dirty_client_register(m->ms, "looker", NULL);
        must(m->client);
        must(memory_global_dirty_log_start(m->ms, 1U << m->client, NULL));
        dirty_epoch_commit(memory_dirty_take(m->ms, (unsigned)m->client, NULL));
        for (unsigned i = 0; i < RAMS + PLUGS; i++) {
            image_take(&m->seen[i], ram_of(m, i));
        }
        return;
    }
    DirtyEpoch *epoch = memory_dirty_take(m->ms, (unsigned)m->client, NULL);
    assert_non_null(epoch);
    while (dirty_epoch_next(epoch, &run)) {
        for (unsigned i = 0; i < RAMS + PLUGS; i++) {
            MemoryRegion *mr = ram_of(m, i);
            if (mr == run.mr && run.offset < memory_region_size(mr)) {
                hwaddr left = memory_region_size(mr) - run.offset;
                memcpy(m->seen[i].bytes + run.offset,
                       (uint8_t *)memory_region_get_ram_ptr(mr) + run.offset,
                       (size_t)(run.size < left ? run.size : left));
            }
        }
    }
    dirty_epoch_commit(epoch);
    for (unsigned i = 0; i < RAMS + PLUGS; i++) {
        MemoryRegion *mr = ram_of(m, i);
        if (mr && memcmp(m->seen[i].bytes, memory_region_get_ram_ptr(mr),
                         (size_t)memory_region_size(mr))) {
            fail_msg("RAM %u changed and the other client does not know", i);
        }
    }
    if (rng_percent(&m->rng, 30)) {
        must(memory_global_dirty_log_stop(m->ms, 1U << m->client, NULL));
        must(memory_dirty_client_unregister(m->ms, (unsigned)m->client, NULL));
        m->client = -1;
    }
}

/* ---- snapshots ------------------------------------------------------------------------------ */

static Attributes attributes_of(const MemoryRegion *mr)
{
    return (Attributes){
        .container = memory_region_container(mr),
        .addr = memory_region_address(mr),
        .size = memory_region_size(mr),
        .alias_offset = memory_region_alias_offset(mr),
        .priority = memory_region_priority(mr),
        .enabled = memory_region_is_enabled(mr),
        .readonly = memory_region_is_readonly(mr),
        .romd = memory_region_is_romd(mr),
    };
}

static void take(Model *m)
{
    Level *level = &m->level[m->levels];

    if (m->levels == LEVELS) {
        return;
    }
    level->snapshot =
        memory_snapshot_take(m->ms, rng_percent(&m->rng, 40) ? MEMORY_SNAPSHOT_EAGER : 0, NULL);
    if (!level->snapshot) {
        fail_msg("take: %s", membus_last_error());
    }
    m->levels++;
    for (unsigned i = 0; i < RAMS + PLUGS; i++) {
        image_take(&level->ram[i], ram_of(m, i));
    }
    for (unsigned i = 0; i < m->regions; i++) {
        level->attributes[i] = attributes_of(m->region[i]);
    }
    assert_true(shown_take_space(&level->shown, m->as));
}

static void check_shown(Model *m, const Shown *expected)
{
    Shown now = {0};
    bool same;

    assert_true(shown_take_space(&now, m->as));
    same = now.count == expected->count;
    for (size_t i = 0; same && i < now.count; i++) {
        same = shown_range_same_place(&now.range[i], &expected->range[i]);
    }
    if (!same) {
        shown_print(stderr, "at the take", expected);
        shown_print(stderr, "restored", &now);
        fail_msg("the view is not what it was");
    }
    FlatView *view = address_space_get_flatview(m->as), *fresh = address_space_render(m->as);
    assert_true(fresh && flatview_equal(view, fresh));
    flatview_unref(view);
    flatview_unref(fresh);
    shown_free(&now);
}

static void check_level(Model *m, const Level *level)
{
    check_shown(m, &level->shown);
    for (unsigned i = 0; i < m->regions; i++) {
        Attributes now = attributes_of(m->region[i]), then = level->attributes[i];
        assert_ptr_equal(now.container, then.container);
        assert_int_equal(now.addr, then.addr);
        assert_int_equal(now.size, then.size);
        assert_int_equal(now.alias_offset, then.alias_offset);
        assert_int_equal(now.priority, then.priority);
        assert_int_equal(now.enabled, then.enabled);
        assert_int_equal(now.readonly, then.readonly);
        assert_int_equal(now.romd, then.romd);
    }
    for (unsigned i = 0; i < RAMS + PLUGS; i++) {
        const Image *image = &level->ram[i];
        MemoryRegion *mr = ram_of(m, i);
        if (!image->there || !mr || memory_region_get_ram_block(mr) != image->block) {
            /* it was out of the map then, and has ended, or another one has its place */
            assert_true(i >= RAMS);
            continue;
        }
        const uint8_t *now = memory_region_get_ram_ptr(mr);
        assert_int_equal(memory_region_size(mr), image->size);
        assert_int_equal(qemu_ram_get_used_length(image->block), image->size);
        for (hwaddr at = 0; at < image->size; at++) {
            if (now[at] != image->bytes[at]) {
                fail_msg("RAM %u at 0x%llx: %u, was %u", i, (unsigned long long)at, now[at],
                         image->bytes[at]);
            }
        }
    }
}

static void drop_level(Model *m, unsigned i)
{
    shown_free(&m->level[i].shown);
    memory_snapshot_free(m->level[i].snapshot);
    m->level[i].snapshot = NULL;
}

static void restore(Model *m)
{
    if (!m->levels) {
        return;
    }
    unsigned i = rng_percent(&m->rng, 60) ? m->levels - 1 : rng_below(&m->rng, m->levels);
    if (memory_snapshot_restore(m->level[i].snapshot, NULL)) {
        fail_msg("restore: %s", membus_last_error());
    }
    check_level(m, &m->level[i]);
    while (m->levels > i + 1) {
        MemorySnapshot *ended = m->level[--m->levels].snapshot;
        assert_true(memory_snapshot_has_ended(ended));
        assert_int_equal(memory_snapshot_restore(ended, NULL), -EINVAL);
        drop_level(m, m->levels);
    }
}

static void free_one(Model *m)
{
    if (m->levels) {
        unsigned i = rng_below(&m->rng, m->levels);
        drop_level(m, i);
        Level freed = m->level[i];
        memmove(&m->level[i], &m->level[i + 1], (m->levels - i - 1) * sizeof(Level));
        m->level[--m->levels] = freed;
        m->level[m->levels].shown = (Shown){0};
    }
}

static void model_end(Model *m)
{
    close_windows(m);
    while (m->levels) {
        if (rng_percent(&m->rng, 50)) {
            restore(m);
        }
        free_one(m);
    }
    if (m->client >= 0) {
        must(memory_global_dirty_log_stop(m->ms, 1U << m->client, NULL));
    }
    for (unsigned i = 0; i < PLUGS; i++) {
        Plug *p = &m->plug[i];
        if (p->owner && memory_region_container(&p->mr)) {
            must(memory_region_del_subregion(memory_region_container(&p->mr), &p->mr));
        }
        if (p->owner && p->ours) {
            memory_owner_unref(p->owner);
        }
    }
    memory_system_drain(m->ms);
    for (unsigned i = 0; i < PLUGS; i++) {
        assert_null(m->plug[i].owner);
    }
    for (unsigned i = 0; i < m->regions; i++) {
        MemoryRegion *container = memory_region_container(m->region[i]);
        if (container) {
            must(memory_region_del_subregion(container, m->region[i]));
        }
    }
    must(memory_system_destroy(m->ms));
    free(m->odd_bytes);
}

static void run(Model *m, uint64_t seed, unsigned steps)
{
    model_start(m, seed);
    for (unsigned i = 0; i < steps; i++) {
        unsigned what = rng_below(&m->rng, 100);
        if (what < 70) {
            write_something(m);
        } else if (what < 82) {
            edit(m);
        } else if (what < 87) {
            take(m);
        } else if (what < 94) {
            restore(m);
        } else if (what < 97) {
            free_one(m);
        } else {
            client_looks(m);
        }
        settle(m);
    }
    model_end(m);
}

static void random_rounds_match_the_model(void **state)
{
    const char *first = getenv("SNAPSHOT_SEED"), *rounds = getenv("SNAPSHOT_ROUNDS");
    uint64_t seed = first ? strtoull(first, NULL, 0) : 1;
    uint64_t end = seed + (rounds ? strtoull(rounds, NULL, 0) : 40);
    Model *m = malloc(sizeof *m);

    (void)state;
    for (; seed < end; seed++) {
        print_message("# seed %llu\n", (unsigned long long)seed);
        run(m, seed, 600);
    }
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_rounds_match_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
