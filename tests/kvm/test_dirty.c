/* SPDX-License-Identifier: MIT */
/*
 * test_dirty.c - a copy that follows a memory which guests scribble into.
 *
 *      memory    0 .............................. 2047    pages, seen at AT
 *      window         700 .. 1100                          of it, in front of any part of it
 *      hole                        3                       no memory, in front of both
 *
 * Each client has a copy. It is made when its log begins, and from then on gets the pages that
 * epochs report, while windows and holes come, go and move, and other clients begin and end. A page
 * that was written and is not reported stays wrong in the copy for ever: when the guests have
 * stopped, and a last epoch has been taken, both must be equal.
 */
#include "live.h"
#include "tests.h"
#include <stdlib.h>
#include <string.h>

#define AT 0x800000U
#define PAGE 4096U
#define PAGES 2048U
#define SIZE (PAGES * PAGE)
#define CPUS 2U
#define CLIENTS 3U
#define ROUNDS 6U
#define STEPS 50U
/*
 * Each pass ends with an exit, and is shorter than what the kernel keeps in reserve in a ring: the
 * kind that runs guests by software looks only then whether a ring is full.
 */
#define WRITES_A_PASS 40U
#define PASSES_A_STEP 4U
#define CODE_AT 0x1000U
#define RING_ENTRIES 1024U

typedef struct Copier {
    unsigned client;
    bool everywhere, logging;
    uint8_t *copy;
} Copier;

typedef struct Scribble {
    Live live;
    MemoryRegion memory, window, hole;
    uint8_t *host;
    Copier copiers[CLIENTS];
    LiveCpu *cpu[CPUS];
    atomic_ulong rings_full;
    unsigned long passes;
    bool full; /* nobody shall be in time to reap */
    unsigned long reported;
    uint64_t random;
} Scribble;

static unsigned pick(Scribble *t, unsigned below)
{
    t->random = t->random * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)(t->random >> 33) % below;
}

static uint64_t entering(LiveCpu *cpu)
{
    Scribble *t = cpu->live->opaque;

    t->rings_full += cpu->run->exit_reason == KVM_EXIT_DIRTY_RING_FULL;
    cpu->run->exit_reason = KVM_EXIT_UNKNOWN;
    return 0;
}

/* ---- Copies ------------------------------------------------------------------------------ */

static void start_logging(Scribble *t, Copier *c)
{
    c->logging = true;
    if (c->everywhere) {
        OK(memory_global_dirty_log_start(t->live.ms, 1U << c->client, NULL));
    } else {
        OK(memory_region_set_log(&t->memory, true, c->client));
    }
    memcpy(c->copy, t->host, SIZE);
}

static void stop_logging(Scribble *t, Copier *c)
{
    c->logging = false;
    if (c->everywhere) {
        OK(memory_global_dirty_log_stop(t->live.ms, 1U << c->client, NULL));
    } else {
        OK(memory_region_set_log(&t->memory, false, c->client));
    }
}

/* Copy what is reported, or change one's mind. */
static void take(Scribble *t, Copier *c, bool keep)
{
    Error *err = NULL;
    DirtyEpoch *epoch = memory_dirty_take(t->live.ms, c->client, &err);

    CHECK(epoch, "%s", error_get_pretty(err));
    for (DirtyRun run = DIRTY_RUN_INIT; keep && dirty_epoch_next(epoch, &run);) {
        if (run.mr == &t->memory) {
            memcpy(c->copy + run.offset, t->host + run.offset, run.size);
            t->reported += run.size / PAGE;
        }
    }
    (keep ? dirty_epoch_commit : dirty_epoch_rollback)(epoch);
}

static void redraw(Scribble *t, Copier *c)
{
    hwaddr first = (hwaddr)pick(t, PAGES) * PAGE, size = SIZE - first;
    DirtyBitmapSnapshot *snapshot =
        memory_region_snapshot_and_clear_dirty(&t->memory, first, size, c->client);

    CHECK(snapshot);
    for (hwaddr at = first; at < SIZE; at += PAGE) {
        if (memory_region_snapshot_get_dirty(&t->memory, snapshot, at, PAGE)) {
            memcpy(c->copy + at, t->host + at, PAGE);
            t->reported++;
        }
    }
    dirty_bitmap_snapshot_free(snapshot);
}

static void compare(const Scribble *t, unsigned number, unsigned round)
{
    const Copier *c = &t->copiers[number];
    unsigned wrong = 0, first = 0;

    for (unsigned page = PAGES; page-- > 0;) {
        if (memcmp(c->copy + (size_t)page * PAGE, t->host + (size_t)page * PAGE, PAGE) != 0) {
            wrong++;
            first = page;
        }
    }
    CHECK(!wrong, "client %u, round %u: %u pages were written and not reported, the first is %u",
          number, round, wrong, first);
}

/* ---- The map ----------------------------------------------------------------------------- */

static void edit(Scribble *t)
{
    switch (pick(t, 6)) {
    case 0:
        OK(memory_region_set_enabled(&t->window, pick(t, 2)));
        break;
    case 1:
        OK(memory_region_set_address(&t->window, (hwaddr)pick(t, PAGES) * PAGE));
        break;
    case 2:
        OK(memory_region_set_alias_offset(&t->window, (hwaddr)pick(t, PAGES) * PAGE));
        break;
    case 3:
        OK(memory_region_set_size(&t->window, (hwaddr)(1 + pick(t, 600)) * PAGE));
        break;
    case 4:
        OK(memory_region_set_enabled(&t->hole, pick(t, 2)));
        break;
    default:
        OK(memory_region_set_address(&t->hole, (hwaddr)pick(t, PAGES) * PAGE));
    }
}

static void step(Scribble *t)
{
    Copier *c = &t->copiers[pick(t, CLIENTS)];
    unsigned choice = pick(t, 20);

    if (choice < 7) {
        edit(t);
    } else if (choice == 7) {
        memory_global_dirty_log_sync(t->live.ms, false);
    } else if (!c->logging) {
        start_logging(t, c);
    } else if (choice < 14) {
        take(t, c, pick(t, 4));
    } else if (choice < 18) {
        redraw(t, c);
    } else {
        stop_logging(t, c);
    }
}

/* ---- Rounds ------------------------------------------------------------------------------ */

static struct kvm_regs registers(Scribble *t, unsigned cpu)
{
    return (struct kvm_regs){.rsi = AT,
                             .rdi = SIZE - PAGE,
                             .rsp = pick(t, 1U << 30),
                             .rbp = WRITES_A_PASS,
                             .rdx = LIVE_PORTS + LIVE_PORTS_EACH * (hwaddr)cpu};
}

static void wait_for_passes(LiveCpu *cpu, unsigned count)
{
    unsigned before = cpu->passes;

    while (cpu->passes - before < count) {
        struct timespec moment = {.tv_nsec = 100000};
        nanosleep(&moment, NULL);
    }
}

static void run_round(Scribble *t, unsigned round)
{
    for (unsigned i = 0; i < CPUS; i++) {
        struct kvm_regs regs = registers(t, i);
        t->cpu[i]->stop = false;
        t->cpu[i]->passes = 0;
        code_enter(kvm_vcpu_fd(t->cpu[i]->vcpu), &code_scribble, CODE_AT * (i + 1), &regs);
        live_start(t->cpu[i]);
    }
    for (unsigned i = 0; i < STEPS; i++) {
        LiveCpu *cpu = t->cpu[pick(t, CPUS)];
        if (i % 4 == 0) {
            wait_for_passes(cpu, t->full ? 20 * PASSES_A_STEP : PASSES_A_STEP);
        }
        step(t);
    }
    for (unsigned i = 0; i < CPUS; i++) {
        t->cpu[i]->stop = true;
    }
    for (unsigned i = 0; i < CPUS; i++) {
        live_join(t->cpu[i]);
        t->passes += t->cpu[i]->passes;
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (t->copiers[i].logging) {
            take(t, &t->copiers[i], true);
            compare(t, i, round);
        }
    }
}

static void open_map(Scribble *t)
{
    MemoryOwner *board = t->live.board;
    MemoryRegion *area = calloc(1, sizeof *area);

    CHECK(area);
    OK(memory_region_init(area, board, "area", SIZE));
    OK(memory_region_init_ram(&t->memory, board, "scribbled", SIZE, NULL));
    OK(memory_region_init_alias(&t->window, board, "window", &t->memory, 700 * PAGE, 400 * PAGE));
    OK(memory_region_init_io(&t->hole, board, NULL, NULL, "hole", 3 * PAGE));
    OK(memory_region_add_subregion(area, 0, &t->memory));
    OK(memory_region_add_subregion_overlap(area, 100 * PAGE, &t->window, 1));
    OK(memory_region_add_subregion_overlap(area, 50 * PAGE, &t->hole, 2));
    OK(memory_region_add_subregion(t->live.memory, AT, area));
    t->host = memory_region_get_ram_ptr(&t->memory);
}

static void need(KVMDirtyLog mode)
{
    MemorySystem *ms = memory_system_create();
    KVMState *kvm = kvm_create(ms, NULL, NULL);
    CHECK(kvm);
    KVMCapabilities caps = *kvm_capabilities(kvm);

    kvm_destroy(kvm);
    OK(memory_system_destroy(ms));
    if (mode == KVM_DIRTY_LOG_MANUAL && !caps.manual_dirty_log) {
        skip("this KVM's dirty logs cannot be cleared by hand");
    }
    if (mode == KVM_DIRTY_LOG_RING && caps.dirty_ring_max < RING_ENTRIES) {
        skip("this KVM has no dirty rings");
    }
}

static void follow(KVMDirtyLog mode, bool full)
{
    static const LiveCallbacks callbacks = {.entering = entering};
    Scribble *t = calloc(1, sizeof *t);
    KVMConfig config = KVM_CONFIG_INIT;

    CHECK(t);
    need(mode);
    t->random = 1;
    t->full = full;
    config.dirty_log = mode;
    config.clear_shift = 7;
    config.max_slot_size = 900 * PAGE;
    config.dirty_ring_entries = RING_ENTRIES;
    config.reap_interval_ms = full ? 100000 : 1;
    live_open(&t->live, &config, &callbacks, t);
    open_map(t);
    for (unsigned i = 0; i < CLIENTS; i++) {
        int client =
            i ? memory_dirty_client_register(t->live.ms, "copier", NULL) : DIRTY_MEMORY_MIGRATION;
        t->copiers[i] = (Copier){(unsigned)client, i == 0, false, malloc(SIZE)};
        CHECK(client >= 0 && t->copiers[i].copy);
    }
    for (unsigned i = 0; i < CPUS; i++) {
        t->cpu[i] = live_cpu(&t->live, &code_scribble, CODE_AT * (i + 1), registers(t, i));
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        run_round(t, round);
    }
    note("%lu passes of %u writes, %lu pages reported, rings full %lu times", t->passes,
         WRITES_A_PASS, t->reported, t->rings_full);
    CHECK(t->reported > 1000);
    CHECK(!full || t->rings_full);
    live_close(&t->live);
}

void test_dirty_bitmap(void)
{
    follow(KVM_DIRTY_LOG_BITMAP, false);
}

void test_dirty_manual(void)
{
    follow(KVM_DIRTY_LOG_MANUAL, false);
}

void test_dirty_ring(void)
{
    follow(KVM_DIRTY_LOG_RING, false);
}

/* Nobody reaps but syncs and the vCPUs themselves. */
void test_dirty_ring_full(void)
{
    follow(KVM_DIRTY_LOG_RING, true);
}
