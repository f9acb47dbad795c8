/* SPDX-License-Identifier: MIT */
#include "churn.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- Picking ------------------------------------------------------------------ */

hwaddr churn_pick_address(Churn *c)
{
    hwaddr addr = rng_below(&c->rng, 24) * c->unit;
    unsigned kind = rng_below(&c->rng, 100);

    if (kind < 70) {
        return addr;
    }
    if (kind < 80) {
        return addr + rng_below(&c->rng, 5) - 2;
    }
    if (kind < 90) {
        return UINT64_MAX - addr + (kind & 1);
    }
    return kind < 95 ? (hwaddr)1 << rng_below(&c->rng, 64) : rng_below(&c->rng, 64);
}

hwaddr churn_pick_size(Churn *c, bool finite)
{
    hwaddr size = (1 + rng_below(&c->rng, 16)) * c->unit;
    unsigned kind = rng_below(&c->rng, 100);

    if (kind < 70) {
        return size;
    }
    if (kind < 80) {
        return size + rng_below(&c->rng, 3) - 1 + (size == 1);
    }
    if (kind < 85 || finite) {
        return 1 + rng_below(&c->rng, 64);
    }
    if (kind < 93) {
        return UINT64_MAX;
    }
    return kind < 96 ? 0 : (hwaddr)1 << rng_below(&c->rng, 64);
}

/* A live region, any at all. */
int churn_pick_region(Churn *c)
{
    for (;;) {
        int i = (int)rng_below(&c->rng, (unsigned)c->model.used);

        if (c->model.region[i].live) {
            return i;
        }
    }
}

/* ---- Refusals ------------------------------------------------------------------- */

/*
 * The library said @rc to an edit that the model has made already. Takes the model back if that
 * is a lawful refusal.
 */
void churn_settle(Churn *c, int rc, const Oracle *before)
{
    if (rc == 0) {
        return;
    }
    if (!(rc == -ELOOP && oracle_has_cycle(&c->model)) && !(rc == -ENOMEM && c->saboteur)) {
        churn_fail(c, "refused with %d", rc);
    }
    c->model = *before;
}

void churn_arm(Churn *c)
{
    if (c->saboteur) {
        c->saboteur->arm(&c->rng);
    }
}

void churn_disarm(Churn *c)
{
    if (c->saboteur) {
        c->saboteur->disarm();
    }
}

void churn_must_refuse(Churn *c, int rc, int expected)
{
    if (rc != expected) {
        churn_fail(c, "a broken call gave %d instead of %d", rc, expected);
    }
}

/* ---- Regions that come and go ------------------------------------------------------ */

static void finalize_region(void *opaque)
{
    ChurnRegion *region = opaque;

    __atomic_sub_fetch(&region->churn->alive, 1, __ATOMIC_RELAXED);
    memset(region, 0xdd, sizeof(*region)); /* a late reader shall stumble */
    free(region);
}

static uint64_t device_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque;
    return addr ^ size;
}

static void device_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque, (void)addr, (void)data, (void)size;
}

static const MemoryRegionOps device_ops = {
    .read = device_read, .write = device_write, .endianness = DEVICE_LITTLE_ENDIAN};

/* Make the library's region for row @i of the model; @kind as make_region picked it. */
static int init_region(Churn *c, ChurnRegion *region, int i, unsigned kind)
{
    OracleRegion *r = &c->model.region[i];
    MemoryRegion *mr = &region->mr;
    const char *kind_name = r->alias != ORACLE_NONE ? "alias"
                            : !r->terminates        ? "container"
                            : r->rom_device         ? "flash"
                            : region->is_resizeable ? "resizeable"
                            : region->is_ram        ? "ram"
                                                    : "device";
    char name[24];

    snprintf(name, sizeof name, "%s%d", kind_name, i % 8); /* some are called the same */

    if (r->alias != ORACLE_NONE) {
        return memory_region_init_alias(mr, region->owner, name, c->mr[r->alias], r->alias_offset,
                                        r->size);
    }
    if (!r->terminates) {
        return memory_region_init(mr, region->owner, name, r->size);
    }
    if (r->rom_device) {
        return memory_region_init_rom_device_unbacked(mr, region->owner, &device_ops, region, name,
                                                      r->size);
    }
    if (region->is_resizeable) {
        return memory_region_init_resizeable_ram(mr, region->owner, name, r->size, r->size * 4,
                                                 NULL, NULL);
    }
    if (region->is_ram) {
        return memory_region_init_ram_unbacked(mr, region->owner, name, r->size);
    }
    return memory_region_init_io(mr, region->owner, kind & 1 ? &device_ops : NULL, region, name,
                                 r->size);
}

int churn_make_region(Churn *c)
{
    ChurnRegion *region = calloc(1, sizeof(*region));
    unsigned kind = rng_below(&c->rng, 100);
    int i, rc;

    if (!region) {
        abort();
    }
    if (kind < 30) {
        i = oracle_new_alias(&c->model, churn_pick_region(c),
                             rng_percent(&c->rng, 40) ? 0 : churn_pick_address(c),
                             churn_pick_size(c, false));
    } else if (kind < 60) {
        i = oracle_new(&c->model, churn_pick_size(c, false), false);
    } else {
        region->is_ram = kind >= 80;
        region->is_resizeable = kind >= 97;
        i = oracle_new(&c->model, churn_pick_size(c, region->is_ram), true);
    }
    if (i == ORACLE_NONE) {
        free(region);
        return i;
    }
    if (kind >= 90 && kind < 97) {
        c->model.region[i].rom_device = c->model.region[i].romd = true;
    }
    if (region->is_resizeable) {
        c->model.region[i].size = 4096 * (1 + rng_below(&c->rng, 4));
    }
    region->churn = c;
    region->owner = memory_owner_create(c->ms, "churn", finalize_region, region);
    rc = region->owner ? init_region(c, region, i, kind) : -ENOMEM;
    __atomic_add_fetch(&c->alive, 1, __ATOMIC_RELAXED);
    c->region[i] = region;
    c->mr[i] = &region->mr;
    if (rc) {
        churn_fail(c, "making region %d gave %d", i, rc);
    }
    return i;
}

/* Drop a region that nothing refers to any more but views perhaps. */
void churn_kill_region(Churn *c)
{
    int i = churn_pick_region(c);

    if (!c->region[i] || c->model.region[i].parent != ORACLE_NONE) {
        return;
    }
    for (int k = 0; k < c->model.used; k++) {
        const OracleRegion *r = &c->model.region[k];

        if (r->live && (r->parent == i || r->alias == i)) {
            return;
        }
    }
    for (int k = 0; k < CHURN_SPACES; k++) {
        if (c->space[k].as && c->space[k].root == i) {
            return;
        }
    }
    c->model.region[i].live = false;
    memory_owner_unref(c->region[i]->owner);
    c->region[i] = NULL;
    c->mr[i] = NULL;
}
