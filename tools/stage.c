/* SPDX-License-Identifier: MIT */
/*
 * stage.c - play a captured map to the library's KVM code.
 *
 * A capture has no memory. So each region with memory that a view shows gets a twin with address
 * space reserved for it, the machine of the twins shows at each address what the captured view
 * shows, and a KVM listener on it drives the model of the kernel. No memory is touched: a capture
 * may be of a machine with terabytes.
 *
 * To go from one map to another, regions of both are taken for the same if they have the same
 * name; of several with one name the first that a view shows is the first, and so on.
 */
#include "stage.h"

#include "tool.h"

#include <membus/error.h>
#include <membus/system.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MIB2 ((hwaddr)2 << 20)
#define GIB1 ((hwaddr)1 << 30)

typedef struct StageUse {
    const MemoryRegion *shown;
    unsigned map;
    size_t order; /* of the first mention */
    StageRegion *region;
} StageUse;

bool stage_is_memory(const MemoryRegionSection *s)
{
    return memory_region_is_ram(s->mr) || (memory_region_is_rom_device(s->mr) && s->romd);
}

/* ---- which regions there are ---------------------------------------------------------- */

typedef struct Count {
    Stage *stage;
    unsigned map;
    size_t count;
} Count;

static void count_memory(const MemoryRegionSection *section, void *opaque)
{
    ((Count *)opaque)->count += stage_is_memory(section);
}

static void note_use(const MemoryRegionSection *section, void *opaque)
{
    Count *c = opaque;

    if (stage_is_memory(section)) {
        size_t order = c->stage->nr_uses++;
        c->stage->uses[order] = (StageUse){section->mr, c->map, order, NULL};
    }
}

static int by_region(const void *a, const void *b)
{
    const StageUse *x = a, *y = b;

    if (x->map != y->map) {
        return x->map < y->map ? -1 : 1;
    }
    return ((uintptr_t)x->shown > (uintptr_t)y->shown) -
           ((uintptr_t)x->shown < (uintptr_t)y->shown);
}

static int by_region_and_order(const void *a, const void *b)
{
    const StageUse *x = a, *y = b;
    int order = by_region(a, b);

    return order ? order : (x->order > y->order) - (x->order < y->order);
}

static int by_name(const void *a, const void *b)
{
    const StageUse *x = *(StageUse *const *)a, *y = *(StageUse *const *)b;
    int order = strcmp(memory_region_name(x->shown), memory_region_name(y->shown));

    if (order == 0) {
        order = (x->map > y->map) - (x->map < y->map);
    }
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

/* One use of each region of each map, sorted for find_use(). */
static bool find_uses(Stage *stage, FlatView *const views[STAGE_MAPS])
{
    Count all = {.stage = stage};
    size_t kept = 0;

    for (unsigned map = 0; map < STAGE_MAPS && views[map]; map++) {
        size_t before = all.count;
        for_each_range(views[map], count_memory, &all);
        stage->nr_aliases[map] = all.count - before;
        stage->aliases[map] = calloc(stage->nr_aliases[map] + 1, sizeof(MemoryRegion));
        stage->no_memory |= !stage->aliases[map];
    }
    stage->uses = calloc(all.count + 1, sizeof *stage->uses);
    stage->regions = calloc(all.count + 1, sizeof *stage->regions);
    if (!stage->uses || !stage->regions || stage->no_memory) {
        complain("out of memory");
        return false;
    }
    for (all.map = 0; all.map < STAGE_MAPS && views[all.map]; all.map++) {
        for_each_range(views[all.map], note_use, &all);
    }
    qsort(stage->uses, stage->nr_uses, sizeof *stage->uses, by_region_and_order);
    for (size_t i = 0; i < stage->nr_uses; i++) {
        if (kept == 0 || by_region(&stage->uses[kept - 1], &stage->uses[i]) != 0) {
            stage->uses[kept++] = stage->uses[i];
        }
    }
    stage->nr_uses = kept;
    return true;
}

static void take(Stage *stage, StageUse *use, StageRegion *region)
{
    hwaddr size = memory_region_size(use->shown);

    if (!region) {
        region = &stage->regions[stage->nr_regions++];
        region->shown = use->shown;
    }
    region->size = size > region->size ? size : region->size;
    use->region = region;
}

/* Pair the n-th region of a name in one map with the n-th in the other. */
static bool pair_uses(Stage *stage)
{
    StageUse **order = calloc(stage->nr_uses + 1, sizeof(StageUse *));

    if (!order) {
        complain("out of memory");
        return false;
    }
    for (size_t i = 0; i < stage->nr_uses; i++) {
        order[i] = &stage->uses[i];
    }
    qsort(order, stage->nr_uses, sizeof(StageUse *), by_name);
    size_t partner = 0; /* in the first map */
    for (size_t i = 0; i < stage->nr_uses; i++) {
        const char *name = memory_region_name(order[i]->shown);
        if (i == 0 || strcmp(name, memory_region_name(order[i - 1]->shown)) != 0) {
            partner = i;
        }
        bool paired = order[i]->map == 1 && order[partner]->map == 0 &&
                      strcmp(name, memory_region_name(order[partner]->shown)) == 0;
        take(stage, order[i], paired ? order[partner++]->region : NULL);
    }
    free(order);
    return true;
}

static StageRegion *twin_of(const Stage *stage, unsigned map, const MemoryRegion *shown)
{
    StageUse wanted = {.shown = shown, .map = map};
    StageUse *use = bsearch(&wanted, stage->uses, stage->nr_uses, sizeof wanted, by_region);

    return use->region; /* find_uses() has seen it */
}

/* ---- twins ------------------------------------------------------------------------------ */

/* Aligned as memory for guests is, so that large pages fit. */
static bool reserve(StageRegion *region)
{
    const char *name = memory_region_name(region->shown);
    hwaddr align = region->size >= GIB1 ? GIB1 : MIB2;

    if (region->size > SIZE_MAX / 2) {
        complain("%s: 0x%" PRIx64 " bytes are too many", name, region->size);
        return false;
    }
    region->reserved_size = (size_t)(region->size + align);
    region->reserved = mmap(NULL, region->reserved_size, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region->reserved == MAP_FAILED) {
        region->reserved = NULL;
        complain("%s: address space for 0x%" PRIx64 " bytes: %s", name, region->size,
                 strerror(errno));
        return false;
    }
    region->host = ((uintptr_t)region->reserved + (align - 1)) & ~(uintptr_t)(align - 1);
    return true;
}

static bool make_twin(Stage *stage, StageRegion *region)
{
    const char *name = memory_region_name(region->shown);
    void *host = (char *)region->reserved + (region->host - (uintptr_t)region->reserved);
    int result = memory_region_init_ram_ptr(&region->mr, memory_system_owner(stage->ms), name,
                                            region->size, host);

    if (result == 0 && stage->config.log) {
        result = memory_region_set_log(&region->mr, true, DIRTY_MEMORY_VGA);
    }
    if (result < 0) {
        complain("%s", membus_last_error());
    }
    return result == 0;
}

static int by_host(const void *a, const void *b)
{
    const StageRegion *const *x = a, *const *y = b;

    return ((*x)->host > (*y)->host) - ((*x)->host < (*y)->host);
}

static int at_host(const void *key, const void *element)
{
    const StageRegion *region = *(StageRegion *const *)element;
    uint64_t hva = *(const uint64_t *)key;

    return hva < region->host ? -1 : hva - region->host >= region->size;
}

const StageRegion *stage_region_at(const Stage *stage, uint64_t hva, hwaddr *offset)
{
    StageRegion **found =
        bsearch(&hva, stage->by_host, stage->nr_regions, sizeof(StageRegion *), at_host);

    if (!found) {
        return NULL;
    }
    *offset = hva - (*found)->host;
    return *found;
}

static bool make_twins(Stage *stage)
{
    stage->by_host = calloc(stage->nr_regions + 1, sizeof(StageRegion *));
    if (!stage->by_host) {
        complain("out of memory");
        return false;
    }
    for (size_t i = 0; i < stage->nr_regions; i++) {
        stage->by_host[i] = &stage->regions[i];
        if (!reserve(&stage->regions[i]) || !make_twin(stage, &stage->regions[i])) {
            return false;
        }
    }
    qsort(stage->by_host, stage->nr_regions, sizeof(StageRegion *), by_host);
    return true;
}

/* ---- the kernel's side --------------------------------------------------------------------- */

static void note_call(void *opaque, KVMModelChange change, const KVMMemorySlot *before,
                      const KVMMemorySlot *after)
{
    Stage *stage = opaque;

    if (stage->nr_calls == stage->max_calls) {
        size_t max = stage->max_calls ? 2 * stage->max_calls : 64;
        StageCall *grown = reallocarray(stage->calls, max, sizeof *grown);
        if (!grown) {
            stage->no_memory = true;
            return;
        }
        stage->calls = grown;
        stage->max_calls = max;
    }
    stage->calls[stage->nr_calls++] =
        (StageCall){change, before ? *before : (KVMMemorySlot){.npages = 0},
                    after ? *after : (KVMMemorySlot){.npages = 0}};
}

static hwaddr host_page(void *opaque, uint64_t hva)
{
    (void)hva;
    return ((const Stage *)opaque)->config.host_page;
}

static bool start_kvm(Stage *stage)
{
    KVMModelConfig model = {.host_page_size = host_page, .changed = note_call, .opaque = stage};
    KVMConfig config = KVM_CONFIG_INIT;
    Error *err = NULL;

    stage->model = kvm_model_create(&model, &err);
    if (stage->model) {
        config.kernel = kvm_model_kernel(stage->model);
        config.kvm_fd = kvm_model_fd(stage->model);
        config.max_slot_size = stage->config.max_slot;
        config.max_slots = stage->config.max_slots;
        stage->kvm = kvm_create(stage->ms, &config, &err);
    }
    if (!stage->kvm) {
        complain("%s", error_get_pretty(err));
        error_free(err);
    }
    return stage->kvm;
}

bool stage_begin(Stage *stage, const StageConfig *config, FlatView *const views[STAGE_MAPS])
{
    *stage = (Stage){.config = *config};
    stage->ms = memory_system_create();
    if (!stage->ms) {
        complain("%s", membus_last_error());
        return false;
    }
    return find_uses(stage, views) && pair_uses(stage) && make_twins(stage) && start_kvm(stage);
}

/* ---- the maps -------------------------------------------------------------------------------- */

typedef struct Setting {
    Stage *stage;
    unsigned map;
    size_t used;
    int result;
} Setting;

static void add_range(const MemoryRegionSection *s, void *opaque)
{
    Setting *setting = opaque;
    Stage *stage = setting->stage;

    if (!stage_is_memory(s) || setting->result < 0) {
        return;
    }
    MemoryRegion *alias = &stage->aliases[setting->map][setting->used++];
    setting->result = memory_region_init_alias(
        alias, memory_system_owner(stage->ms), memory_region_name(s->mr),
        &twin_of(stage, setting->map, s->mr)->mr, s->offset_within_region, s->size);
    if (setting->result == 0 && (s->readonly || memory_region_is_rom_device(s->mr))) {
        setting->result = memory_region_set_readonly(alias, true);
    }
    if (setting->result == 0) {
        setting->result = memory_region_add_subregion(get_system_memory(stage->ms),
                                                      s->offset_within_address_space, alias);
    }
}

bool stage_show(Stage *stage, const FlatView *view, unsigned map)
{
    Setting setting = {.stage = stage, .map = map};

    stage->nr_calls = 0;
    memory_region_transaction_begin(stage->ms);
    for (size_t i = 0; map > 0 && i < stage->nr_aliases[map - 1] && setting.result == 0; i++) {
        setting.result =
            memory_region_del_subregion(get_system_memory(stage->ms), &stage->aliases[map - 1][i]);
    }
    for_each_range(view, add_range, &setting);
    int committed = memory_region_transaction_commit(stage->ms);
    int result = setting.result < 0 ? setting.result : committed;
    if (result == 0 && map == 0) {
        result = kvm_memory_listener_register(stage->kvm, &stage->listener,
                                              memory_system_memory(stage->ms),
                                              (int)stage->config.as_id, "slots");
    }
    if (result < 0) {
        complain("%s", membus_last_error());
    } else if (stage->no_memory) {
        complain("out of memory");
    }
    return result == 0 && !stage->no_memory;
}

void stage_end(Stage *stage)
{
    kvm_destroy(stage->kvm);
    if (stage->ms) {
        memory_system_destroy(stage->ms);
    }
    kvm_model_destroy(stage->model);
    for (size_t i = 0; i < stage->nr_regions; i++) {
        if (stage->regions[i].reserved) {
            munmap(stage->regions[i].reserved, stage->regions[i].reserved_size);
        }
    }
    for (unsigned map = 0; map < STAGE_MAPS; map++) {
        free(stage->aliases[map]);
    }
    free(stage->by_host);
    free(stage->regions);
    free(stage->uses);
    free(stage->calls);
}
