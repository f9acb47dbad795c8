/* SPDX-License-Identifier: MIT */
/*
 * kvm-hello.c - a guest in real mode under KVM. It prints through a port, asks a device and answers
 * it, and writes to RAM; the program shows which pages.
 *
 * Ends with status 77 where there is no KVM to be had.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <membus/membus.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define CHECK(truth)                                                                               \
    ((truth) ? (void)0                                                                             \
             : (fprintf(stderr, "failed: %s: %s\n", #truth, membus_last_error()), exit(1)))
#define SKIPPED 77

#define CODE_AT 0x1000
#define TEXT_AT 0x1100

static const char text[] = "Hello from real mode!\n";
static const uint8_t code[] = {
    0xbe, 0x00, 0x11,       /*     mov   si, 0x1100     the text */
    0xac,                   /* 1:  lodsb                */
    0x84, 0xc0,             /*     test  al, al         */
    0x74, 0x04,             /*     jz    2f             */
    0xe6, 0xe9,             /*     out   0xe9, al       */
    0xeb, 0xf7,             /*     jmp   1b             */
    0xb8, 0x00, 0xb0,       /* 2:  mov   ax, 0xb000     */
    0x8e, 0xc0,             /*     mov   es, ax         */
    0x26, 0xa1, 0x00, 0x00, /*     mov   ax, [es:0]     ask the device, */
    0x40,                   /*     inc   ax             */
    0x26, 0xa3, 0x02, 0x00, /*     mov   [es:2], ax     answer it, */
    0xa3, 0x00, 0x80,       /*     mov   [0x8000], ax   write to a page of RAM */
    0xa3, 0xff, 0xaf,       /*     mov   [0xafff], ax   and across the border of two */
    0xf4,                   /*     hlt                  */
};

static void port_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    putchar((int)data);
}

static uint64_t device_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque;
    printf("device: %u bytes read at %u\n", size, (unsigned)addr);
    return 41;
}

static void device_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque;
    printf("device: %u bytes written at %u: %u\n", size, (unsigned)addr, (unsigned)data);
}

static const MemoryRegionOps port_ops = {.write = port_write, .endianness = DEVICE_LITTLE_ENDIAN};
static const MemoryRegionOps device_ops = {
    .read = device_read, .write = device_write, .endianness = DEVICE_LITTLE_ENDIAN};

static bool show_slot(const KVMSlot *slot, void *opaque)
{
    (void)opaque;
    printf("slot %u: 0x%05llx-0x%05llx %s\n", slot->slot, (unsigned long long)slot->start_addr,
           (unsigned long long)(slot->start_addr + slot->memory_size - 1),
           memory_region_name(slot->mr));
    return false;
}

static void start_at(KVMVcpu *cpu, uint16_t address)
{
    struct kvm_regs regs = {.rip = address, .rflags = 2};
    struct kvm_sregs sregs;

    CHECK(ioctl(kvm_vcpu_fd(cpu), KVM_GET_SREGS, &sregs) == 0);
    sregs.cs.base = sregs.cs.selector = 0;
    CHECK(ioctl(kvm_vcpu_fd(cpu), KVM_SET_SREGS, &sregs) == 0);
    CHECK(ioctl(kvm_vcpu_fd(cpu), KVM_SET_REGS, &regs) == 0);
}

static void run_until_halt(KVMState *kvm, KVMVcpu *cpu)
{
    struct kvm_run *run = kvm_vcpu_get_run(cpu);

    for (;;) {
        int result = kvm_vcpu_run(cpu);
        CHECK(result == 0 || result == -EINTR);
        if (result == 0 && kvm_memory_exit(kvm, run) != 1) {
            CHECK(run->exit_reason == KVM_EXIT_HLT);
            return;
        }
    }
}

static void show_dirty_pages(MemorySystem *ms)
{
    DirtyEpoch *epoch = memory_dirty_take(ms, DIRTY_MEMORY_MIGRATION, NULL);
    DirtyRun run = DIRTY_RUN_INIT;

    CHECK(epoch);
    while (dirty_epoch_next(epoch, &run)) {
        printf("dirty: %s + 0x%05llx, %llu bytes\n", qemu_ram_get_idstr(run.block),
               (unsigned long long)run.offset, (unsigned long long)run.size);
    }
    dirty_epoch_commit(epoch);
}

int main(void)
{
    MemorySystem *ms = memory_system_create();
    AddressSpace *memory = memory_system_memory(ms), *io = memory_system_io(ms);
    MemoryOwner *board = memory_system_owner(ms);
    MemoryRegion ram, device, port;
    KVMMemoryListener guest_memory = {0}, guest_ports = {0};

    KVMState *kvm = kvm_create(ms, NULL, NULL);
    if (!kvm) {
        fprintf(stderr, "kvm-hello needs KVM: %s\n", membus_last_error());
        memory_system_destroy(ms);
        return SKIPPED;
    }
    CHECK(memory_region_init_ram(&ram, board, "ram", 0xa0000, NULL) == 0);
    CHECK(memory_region_init_io(&device, board, &device_ops, NULL, "device", 4) == 0);
    CHECK(memory_region_init_io(&port, board, &port_ops, NULL, "debug port", 1) == 0);
    memory_region_add_subregion(get_system_memory(ms), 0, &ram);
    memory_region_add_subregion(get_system_memory(ms), 0xb0000, &device);
    memory_region_add_subregion(get_system_io(ms), 0xe9, &port);
    address_space_write(memory, CODE_AT, MEMTXATTRS_UNSPECIFIED, code, sizeof code);
    address_space_write(memory, TEXT_AT, MEMTXATTRS_UNSPECIFIED, text, sizeof text);

    CHECK(kvm_memory_listener_register(kvm, &guest_memory, memory, KVM_AS_MEMORY, "memory") == 0);
    CHECK(kvm_memory_listener_register(kvm, &guest_ports, io, KVM_AS_PORTS, "ports") == 0);
    kvm_for_each_slot(kvm, show_slot, NULL);
    CHECK(memory_global_dirty_log_start(ms, GLOBAL_DIRTY_MIGRATION, NULL) == 0);

    KVMVcpu *cpu = kvm_vcpu_create(kvm, 0, NULL);
    CHECK(cpu);
    start_at(cpu, CODE_AT);
    run_until_halt(kvm, cpu);
    show_dirty_pages(ms);

    kvm_destroy(kvm);
    return memory_system_destroy(ms);
}
