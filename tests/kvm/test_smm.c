/* SPDX-License-Identifier: MIT */
/*
 * test_smm.c - a second address space: what system management mode sees and nobody else.
 *
 *      address     KVM_AS_MEMORY      KVM_AS_SMM
 *      0x2000      ram                secret, RAM
 *      0x30000     ram                smram: where the handler is and the processor saves its state
 *      0xb0000     ram                a device
 *      all else    ram                the same, through an alias
 */
#include "live.h"
#include "tests.h"
#include <string.h>
#include <sys/ioctl.h>

#define SMBASE 0x30000U
#define HANDLER 0x8000U /* from SMBASE */

typedef struct Smm {
    Live live;
    MemoryRegion root, below, secret, smram, device;
    AddressSpace as;
    KVMMemoryListener listener;
    unsigned reads, written;
} Smm;

static uint64_t device_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)addr, (void)size;
    ((Smm *)opaque)->reads++;
    return 0x100;
}

static void device_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)addr, (void)size;
    ((Smm *)opaque)->written = (unsigned)data;
}

static const MemoryRegionOps device_ops = {
    .read = device_read,
    .write = device_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

/* The guest asks for the interrupt; it comes before its next instruction. */
static void smm_said(LiveCpu *cpu, unsigned port, uint32_t value)
{
    (void)value;
    if (port == PORT_PASS) {
        CALL(ioctl(kvm_vcpu_fd(cpu->vcpu), KVM_SMI, 0UL));
    }
}

static void add_smm(Smm *s)
{
    MemoryOwner *board = s->live.board;

    OK(memory_region_init(&s->root, board, "smm", UINT64_MAX));
    OK(memory_region_init_alias(&s->below, board, "below", s->live.memory, 0, 1ULL << 32));
    OK(memory_region_init_ram(&s->secret, board, "secret", 0x1000, NULL));
    OK(memory_region_init_ram(&s->smram, board, "smram", 0x10000, NULL));
    OK(memory_region_init_io(&s->device, board, &device_ops, s, "device", 0x1000));
    memory_region_transaction_begin(s->live.ms);
    OK(memory_region_add_subregion_overlap(&s->root, 0, &s->below, -1));
    OK(memory_region_add_subregion(&s->root, 0x2000, &s->secret));
    OK(memory_region_add_subregion(&s->root, SMBASE, &s->smram));
    OK(memory_region_add_subregion(&s->root, 0xb0000, &s->device));
    OK(memory_region_transaction_commit(s->live.ms));
    OK(address_space_init(&s->as, &s->root, "smm"));
    OK(kvm_memory_listener_register(s->live.kvm, &s->listener, &s->as, KVM_AS_SMM, "kvm-smm"));
    memcpy((uint8_t *)memory_region_get_ram_ptr(&s->smram) + HANDLER, code_smi.begin,
           code_size(&code_smi));
}

void test_smm(void)
{
    static const LiveCallbacks callbacks = {.said = smm_said};
    static Smm s;
    uint32_t secret;

    live_open(&s.live, NULL, &callbacks, &s);
    if (kvm_capabilities(s.live.kvm)->nr_address_spaces < 2 ||
        kvm_vm_check_extension(s.live.kvm, KVM_CAP_X86_SMM) <= 0) {
        skip("this KVM has no system management mode");
    }
    add_smm(&s);
    live_put(&s.live, 0x2000, &(uint32_t){0x11}, 4);
    live_put(&s.live, 0xb0000, &(uint32_t){0x77}, 4);
    LiveCpu *cpu = live_cpu(&s.live, &code_asks, 0x1000, (struct kvm_regs){0});
    live_start(cpu);
    live_join(cpu);
    CHECK(strcmp(cpu->console, "S") == 0, "the handler printed '%s'", cpu->console);
    CHECK(cpu->said[PORT_ADDRESS / 4] == 0x11, "0x%x", cpu->said[PORT_ADDRESS / 4]);
    CHECK(cpu->said[PORT_EXPECTED / 4] == 0x77, "0x%x", cpu->said[PORT_EXPECTED / 4]);
    CHECK(live_word(&s.live, 0x2000) == 0x11);
    CHECK(live_word(&s.live, 0xb0000) == 0x77);
    memcpy(&secret, memory_region_get_ram_ptr(&s.secret), sizeof secret);
    CHECK(secret == 0x21212121, "0x%x", secret);
    CHECK(s.reads == 1 && s.written == 0x101, "%u reads, 0x%x written", s.reads, s.written);
    kvm_destroy(s.live.kvm);
    OK(address_space_destroy(&s.as));
    OK(memory_system_destroy(s.live.ms));
}
