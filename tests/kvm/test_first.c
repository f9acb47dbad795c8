/* SPDX-License-Identifier: MIT */
/* test_first.c - a guest in real mode, and the slots that it gets. */
#include "live.h"
#include "tests.h"
#include <stdio.h>
#include <string.h>

/* ---- A text, a device, RAM -------------------------------------------------------------- */

typedef struct Register {
    MemoryRegion mr;
    uint64_t value;   /* what reads give */
    char writes[128]; /* "size@address=value " */
} Register;

static uint64_t register_read(void *opaque, hwaddr addr, unsigned size)
{
    Register *r = opaque;

    (void)addr, (void)size;
    return r->value;
}

static void register_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Register *r = opaque;
    size_t length = strlen(r->writes);

    snprintf(r->writes + length, sizeof r->writes - length, "%u@%llx=%llx ", size,
             (unsigned long long)addr, (unsigned long long)data);
}

static const MemoryRegionOps register_ops = {
    .read = register_read,
    .write = register_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

static void add_register(Live *live, Register *r)
{
    OK(memory_region_init_io(&r->mr, live->board, &register_ops, r, "register", 0x1000));
    OK(memory_region_add_subregion_overlap(live->memory, 0xb0000, &r->mr, 1));
}

void test_real_mode(void)
{
    static Live live;
    Register r = {.value = 0x11223343};

    live_open(&live, NULL, NULL, NULL);
    add_register(&live, &r);
    LiveCpu *cpu = live_cpu(&live, &code_hello, 0x1000, (struct kvm_regs){.rdi = 0x3000});
    live_start(cpu);
    live_join(cpu);
    CHECK(strcmp(cpu->console, "Hello from real mode\n") == 0, "%s", cpu->console);
    CHECK(strcmp(r.writes, "4@4=11223344 2@8=3344 1@a=44 ") == 0, "%s", r.writes);
    CHECK(live_word(&live, 0x3000) == 0x11223344, "%x", live_word(&live, 0x3000));
    CHECK(cpu->mmio_exits == 4, "%lu", cpu->mmio_exits);
    live_close(&live);
}

/* Unregistered, all memory has gone; registered again, all is there. */
void test_register_again(void)
{
    static Live live;
    Register r = {.value = 1};

    live_open(&live, NULL, NULL, NULL);
    add_register(&live, &r);
    LiveCpu *cpu = live_cpu(&live, &code_hello, 0x1000, (struct kvm_regs){.rdi = 0x3000});
    kvm_memory_listener_unregister(&live.listener);
    CHECK(kvm_get_free_memslots(live.kvm, 0) == kvm_get_max_memslots(live.kvm));
    OK(kvm_memory_listener_register(live.kvm, &live.listener, memory_system_memory(live.ms), 0,
                                    "again"));
    live_start(cpu);
    live_join(cpu);
    CHECK(live_word(&live, 0x3000) == 2);
    live_close(&live);
}

/* ---- What gets a slot --------------------------------------------------------------------- */

/* The slots in words; those that together show one range count as one: nobody can tell. */
typedef struct SlotText {
    char text[512];
    KVMSlot slot; /* not in the text yet; none if memory_size is 0 */
} SlotText;

static void tell_slot(SlotText *t)
{
    size_t length = strlen(t->text);

    if (t->slot.memory_size) {
        snprintf(t->text + length, sizeof t->text - length, "%u:%llx+%llx %s%s@%llx ",
                 t->slot.as_id, (unsigned long long)t->slot.start_addr,
                 (unsigned long long)t->slot.memory_size, memory_region_name(t->slot.mr),
                 t->slot.flags & KVM_MEM_READONLY ? ".ro" : "",
                 (unsigned long long)t->slot.offset_within_region);
    }
}

static bool see_slot(const KVMSlot *slot, void *opaque)
{
    SlotText *t = opaque;
    hwaddr size = t->slot.memory_size;

    CHECK(slot->ram == (uint8_t *)memory_region_get_ram_ptr(slot->mr) + slot->offset_within_region);
    if (size && slot->as_id == t->slot.as_id && slot->mr == t->slot.mr &&
        slot->flags == t->slot.flags && slot->start_addr == t->slot.start_addr + size &&
        slot->offset_within_region == t->slot.offset_within_region + size) {
        t->slot.memory_size += slot->memory_size;
    } else {
        tell_slot(t);
        t->slot = *slot;
    }
    return false;
}

static void expect_slots(Live *live, const char *expected)
{
    SlotText t = {0};

    memory_system_lock(live->ms);
    kvm_for_each_slot(live->kvm, see_slot, &t);
    memory_system_unlock(live->ms);
    tell_slot(&t);
    CHECK(strcmp(t.text, expected) == 0, "slots are %s", t.text);
}

/*
 *      0       10000      f0000   100000    200000         300000
 *      |  ram  | register |  ram  |  rom    | flash        | ram2, of 2.5 pages
 */
void test_slots(void)
{
    static Live live;
    MemoryRegion rom, flash, ram2;
    Register r = {0};

    live_open(&live, NULL, NULL, NULL);
    OK(memory_region_init_io(&r.mr, live.board, &register_ops, &r, "register", 0x800));
    OK(memory_region_init_rom(&rom, live.board, "rom", 0x10000, NULL));
    OK(memory_region_init_rom_device(&flash, live.board, &register_ops, &r, "flash", 0x2000, NULL));
    OK(memory_region_init_ram(&ram2, live.board, "ram2", 0x2800, NULL));
    memory_region_transaction_begin(live.ms);
    OK(memory_region_add_subregion_overlap(live.memory, 0x10000, &r.mr, 1));
    OK(memory_region_add_subregion(live.memory, 0x100000, &rom));
    OK(memory_region_add_subregion(live.memory, 0x200000, &flash));
    OK(memory_region_add_subregion(live.memory, 0x300000, &ram2));
    OK(memory_region_transaction_commit(live.ms));
    expect_slots(&live, "0:0+10000 ram@0 0:11000+ef000 ram@11000 0:100000+10000 rom.ro@0 "
                        "0:200000+2000 flash.ro@0 0:300000+2000 ram2@0 ");
    OK(memory_region_rom_device_set_romd(&flash, false));
    OK(memory_region_set_enabled(&r.mr, false));
    OK(memory_region_set_readonly(&ram2, true));
    OK(memory_region_set_address(&rom, 0x180000));
    expect_slots(&live, "0:0+100000 ram@0 0:180000+10000 rom.ro@0 0:300000+2000 ram2.ro@0 ");
    live_close(&live);
}
