/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kvm_dirty_board.h"

#define NEVER_MS 1000000

static int ask_fake(void *opaque, int fd, unsigned long request, void *arg)
{
    Board *b = opaque;

    if (b->before_ioctl && b->before_ioctl(b, request, arg)) {
        return 0;
    }
    int result = kvm_fake_ioctl(b->fake, fd, request, arg);
    return result == -1 ? -errno : result;
}

static void pause_vcpus(void *opaque)
{
    ((Board *)opaque)->pauses++;
}

static void resume_vcpus(void *opaque)
{
    (void)opaque;
}

static void report(void *opaque, const Error *err)
{
    assert_non_null(err);
    ((Board *)opaque)->reports++;
}

KVMConfig kvm_dirty_board_config(Board *b, KVMDirtyLog mode)
{
    KVMConfig config = kvm_fake_config(b->fake);

    config.kernel = (KVMKernel){ask_fake, b};
    config.dirty_log = mode;
    config.clear_shift = 6;
    config.dirty_ring_entries = 256;
    config.reap_interval_ms = NEVER_MS;
    config.pause_vcpus = pause_vcpus;
    config.resume_vcpus = resume_vcpus;
    config.report = report;
    config.opaque = b;
    return config;
}

void kvm_dirty_board_begin_with(Board *b, KVMDirtyLog mode, void *memory, unsigned reap_ms,
                                const KvmFakeCaps *caps)
{
    *b = (Board){.fake = kvm_fake_create(caps), .ms = machine_start()};
    assert_non_null(b->fake);
    KVMConfig config = kvm_dirty_board_config(b, mode);
    config.reap_interval_ms = reap_ms ? reap_ms : NEVER_MS;
    if (memory) {
        OK(memory_region_init_ram_ptr(&b->ram, memory_system_owner(b->ms), "ram", PAGES * PAGE,
                                      memory));
    } else {
        make_ram(b->ms, &b->ram, "ram", PAGES * PAGE);
    }
    map_at(b->ms, 0, &b->ram);
    b->kvm = kvm_create(b->ms, &config, NULL);
    assert_non_null(b->kvm);
    b->cpu = kvm_vcpu_create(b->kvm, 0, NULL);
    assert_non_null(b->cpu);
    OK(kvm_memory_listener_register(b->kvm, &b->memory, memory_system_memory(b->ms), 0, "kvm"));
}

void kvm_dirty_board_begin(Board *b, KVMDirtyLog mode)
{
    kvm_dirty_board_begin_with(b, mode, NULL, 0, NULL);
}

void kvm_dirty_board_end(Board *b)
{
    kvm_destroy(b->kvm);
    machine_end(b->ms);
    kvm_fake_destroy(b->fake);
}

void write_at(Board *b, hwaddr gpa)
{
    assert_int_equal(kvm_fake_guest_write(b->fake, 0, 0, gpa, "x", 1), KVM_FAKE_DONE);
}

void write_page(Board *b, unsigned page)
{
    write_at(b, (hwaddr)page * PAGE);
}

void sync_now(Board *b)
{
    memory_global_dirty_log_sync(b->ms, false);
}

uint64_t take(Board *b, unsigned client, uint64_t *first)
{
    DirtyEpoch *epoch = memory_dirty_take(b->ms, client, NULL);
    DirtyRun run = DIRTY_RUN_INIT;

    assert_non_null(epoch);
    uint64_t pages = dirty_epoch_pages(epoch);
    if (first) {
        *first = dirty_epoch_next(epoch, &run) ? run.offset / PAGE : UINT64_MAX;
    }
    dirty_epoch_commit(epoch);
    return pages;
}

void log_for(Board *b, unsigned client, bool on)
{
    OK(memory_region_set_log(&b->ram, on, client));
}

void takes_page(Board *b, unsigned client, uint64_t page)
{
    uint64_t first;

    assert_int_equal(take(b, client, &first), 1);
    assert_int_equal(first, page);
}
