/* SPDX-License-Identifier: MIT */
/* test_cpu_soft.c - the software CPU in a machine with memory, a PIC and a test device. */
#include "support/vm.h"
#include "vmm/devices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

extern const uint8_t soft_guest[], soft_guest_end[];
extern const uint8_t soft_guest_shown[], soft_guest_covered[];

#define GUEST_AT 0x8000
#define WORDS 0x600
#define IRQ 3

typedef struct Board {
    Vm *vm;
    MemoryRegion rom, ports, overlay, device;
    _Atomic unsigned done;
    uint16_t next;     /* what the data port reads */
    uint16_t sent[16]; /* what was written to it */
    unsigned nr_sent;
} Board;

static uint64_t port_read(void *opaque, hwaddr addr, unsigned size)
{
    Board *b = opaque;
    uint16_t low = b->next++;

    (void)addr;
    return size == 4 ? low | (uint64_t)b->next++ << 16 : low;
}

static void port_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    Board *b = opaque;

    (void)size;
    switch (addr) {
    case 0:
        atomic_fetch_add(&b->done, 1);
        break;
    case 2:
        machine_pulse_irq(&b->vm->machine, IRQ);
        break;
    case 4:
        memory_region_set_enabled(&b->overlay, value & 1);
        break;
    case 8:
        b->sent[b->nr_sent++ % 16] = (uint16_t)value;
        break;
    }
}

static const MemoryRegionOps port_ops = {.read = port_read,
                                         .write = port_write,
                                         .endianness = DEVICE_LITTLE_ENDIAN,
                                         .impl = {.min_access_size = 1, .max_access_size = 4}};

/* Whatever is read from the device: it is `out %al, %dx` all over. */
static uint64_t device_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    return 0xeeeeeeee;
}

static void device_write(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    (void)opaque, (void)addr, (void)value, (void)size;
}

static const MemoryRegionOps device_ops = {
    .read = device_read, .write = device_write, .endianness = DEVICE_LITTLE_ENDIAN};

static uint8_t *ram(Board *b)
{
    return memory_region_get_ram_ptr(&b->vm->ram);
}

static unsigned word(Board *b, unsigned offset)
{
    uint16_t value;

    memcpy(&value, ram(b) + WORDS + offset, sizeof value);
    return value;
}

static uint32_t dword(Board *b, unsigned offset)
{
    return word(b, offset) | (uint32_t)word(b, offset + 2) << 16;
}

static void make_regions(Board *b, const uint8_t *entry)
{
    Machine *m = &b->vm->machine;
    MemoryOwner *owner = memory_system_owner(m->ms);
    MemoryRegion *system = get_system_memory(m->ms);
    uint16_t start = (uint16_t)(GUEST_AT + (entry - soft_guest));
    uint8_t reset[] = {0xea, (uint8_t)start, (uint8_t)(start >> 8), 0, 0}; /* ljmp */

    assert_int_equal(0, memory_region_init(&m->smram, owner, "smram", UINT64_C(1) << 32));
    assert_int_equal(0, memory_region_init_rom(&b->rom, owner, "rom", 0x10000, NULL));
    memcpy((uint8_t *)memory_region_get_ram_ptr(&b->rom) + 0xfff0, reset, sizeof reset);
    assert_int_equal(0, memory_region_add_subregion(system, 0xffff0000, &b->rom));
    assert_int_equal(0, memory_region_init_ram(&b->overlay, owner, "overlay", 0x1000, NULL));
    memory_region_set_enabled(&b->overlay, false);
    assert_int_equal(0, memory_region_add_subregion_overlap(system, 0xc0000, &b->overlay, 1));
    assert_int_equal(0,
                     memory_region_init_io(&b->device, owner, &device_ops, b, "device", 0x10000));
    assert_int_equal(0, memory_region_add_subregion_overlap(system, 0xd0000, &b->device, 1));
    assert_int_equal(0, memory_region_init_io(&b->ports, owner, &port_ops, b, "ports", 16));
    assert_int_equal(0, memory_region_add_subregion(get_system_io(m->ms), 0x400, &b->ports));
}

static void begin(Board *b, const uint8_t *entry)
{
    *b = (Board){.vm = vm_create(NULL)};
    Machine *m = &b->vm->machine;

    m->run->pauses = 1; /* as machine_power_on() wants it */
    m->run->clock_stopped = true;
    m->kind = &cpu_soft;
    m->nr_cpus = 1;
    memory_system_lock(m->ms);
    assert_int_equal(0, pic_create(m));
    make_regions(b, entry);
    memcpy(ram(b) + GUEST_AT, soft_guest, (size_t)(soft_guest_end - soft_guest));
    assert_int_equal(0, m->kind->open(m, NULL));
    assert_int_equal(0, cpus_create(m, NULL));
    memory_system_unlock(m->ms);
}

static void start(Board *b)
{
    assert_int_equal(0, cpus_start(&b->vm->machine, NULL));
    machine_power_on(&b->vm->machine);
    vm_start(b->vm);
}

/* Ten seconds; true if the guest said @times that it was done. */
static bool wait_until_done(Board *b, unsigned times)
{
    const struct timespec moment = {0, 1000000};

    for (int i = 0; i < 10000 && atomic_load(&b->done) < times; i++) {
        nanosleep(&moment, NULL);
    }
    return atomic_load(&b->done) >= times;
}

static void end(Board *b)
{
    Machine *m = &b->vm->machine;
    MemoryRegion *system = get_system_memory(m->ms);

    machine_request(m, MACHINE_QUIT, VMM_DONE);
    vm_wait(b->vm);
    cpus_end(m);
    memory_system_lock(m->ms);
    cpus_destroy(m);
    devices_end(m);
    m->kind->close(m);
    memory_region_del_subregion(system, &b->rom);
    memory_region_del_subregion(system, &b->overlay);
    memory_region_del_subregion(system, &b->device);
    memory_region_del_subregion(get_system_io(m->ms), &b->ports);
    memory_system_unlock(m->ms);
    memory_system_drain(m->ms);
    cpus_finalize(m);
    memory_system_drain(m->ms);
    Machine ended = *m;
    vm_destroy(b->vm);
    cpus_free(&ended); /* its regions were the memory system's */
}

/* Run the guest to its end; the machine then stands still. */
#define RUN(board, name)                                                                           \
    do {                                                                                           \
        extern const uint8_t soft_guest_##name[];                                                  \
        begin(board, soft_guest_##name);                                                           \
        start(board);                                                                              \
        assert_true(wait_until_done(board, 1));                                                    \
        machine_stop(&(board)->vm->machine);                                                       \
    } while (0)

/* ---- What libx86emu must not be left alone with ------------------------------------------- */

static void test_divisions_that_trap_on_the_host(void **state)
{
    Board b;

    (void)state;
    RUN(&b, divide);
    assert_int_equal(4, word(&b, 0));
    assert_int_equal(-142, (int32_t)dword(&b, 4));
    end(&b);
}

static void test_prefixes_without_end(void **state)
{
    Board b;

    (void)state;
    RUN(&b, prefixes);
    assert_int_equal(0x7000 - 6, word(&b, 0)); /* no error code in real mode */
    assert_int_equal(0, word(&b, 2));
    assert_int_equal(0x2000, word(&b, 4));
    end(&b);
}

static void test_strings(void **state)
{
    extern const uint8_t soft_guest_strings[];
    static const uint16_t where[] = {0, 4094, 4095, 4096, 8191, 9999};
    Board b;

    (void)state;
    begin(&b, soft_guest_strings);
    for (unsigned i = 0; i < 10000; i++) {
        ram(&b)[0x20000 + i] = (uint8_t)(i % 89); /* never 0x5a */
    }
    start(&b);
    assert_true(wait_until_done(&b, 1));
    assert_memory_equal(ram(&b) + 0x20000, ram(&b) + 0x30000, 6000);
    assert_int_equal(10000, word(&b, 0));
    assert_int_equal(10000, word(&b, 2));
    assert_int_equal(0, word(&b, 4));
    assert_true(word(&b, 6) & 0x40);
    assert_int_equal(0, word(&b, 8));
    assert_int_equal(10000 - 8192, word(&b, 10));
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(9999 - where[i], word(&b, 16 + 2 * i));
    }
    end(&b);
}

static void test_endless_string_is_interrupted(void **state)
{
    Board b;
    CpuState cpu;

    (void)state;
    RUN(&b, endless);
    for (int i = 0; i < 20; i++) {
        machine_cont(&b.vm->machine);
        usleep(1000);
        machine_stop(&b.vm->machine); /* returns */
        cpu_soft.get_state(b.vm->machine.cpus[0], &cpu);
        assert_int_equal(0xffff, (uint32_t)(cpu.rcx + cpu.rdi)); /* nothing got lost */
    }
    assert_true(cpu.rcx < UINT32_MAX && cpu.rcx > 0);
    end(&b);
}

static void test_string_input_and_output(void **state)
{
    static const uint16_t first[] = {0, 1, 2, 3, 4}, back[] = {6, 5};
    Board b;

    (void)state;
    RUN(&b, ports);
    assert_int_equal(0x2006, word(&b, 0));
    assert_int_equal(0, word(&b, 2));
    assert_int_equal(0x200a, word(&b, 4));
    assert_int_equal(0x20fe, word(&b, 6));
    assert_int_equal(0x20fe, word(&b, 8)); /* not once */
    assert_int_equal(0x2006, word(&b, 10));
    assert_int_equal(0x3005, word(&b, 12));
    assert_memory_equal(first, ram(&b) + 0x2000, sizeof first);
    assert_memory_equal(back, ram(&b) + 0x2100, sizeof back);
    assert_int_equal(3, b.nr_sent);
    assert_memory_equal(first, b.sent, 6);
    assert_memory_equal("\7\10\11\12\13", ram(&b) + 0x3000, 5);
    end(&b);
}

static void test_operands_that_look_like_hlt(void **state)
{
    extern const uint8_t soft_guest_operands[];
    Board b;

    (void)state;
    begin(&b, soft_guest_operands);
    start(&b);
    for (int i = 0; i < 300000 && !atomic_load(&b.done); i++) {
        cpu_soft.kick(b.vm->machine.cpus[0]);
    }
    assert_true(wait_until_done(&b, 1));
    end(&b);
}

/* ---- Interrupts ---------------------------------------------------------------------------- */

static void test_sti_covers_hlt(void **state)
{
    Board b;

    (void)state;
    RUN(&b, sti);
    assert_int_equal(1000, word(&b, 0));
    assert_int_equal(1000, word(&b, 2));
    end(&b);
}

static void test_new_stack_is_whole(void **state)
{
    Board b;

    (void)state;
    RUN(&b, stack);
    assert_int_equal(1, word(&b, 0));
    assert_int_equal(0x5000 - 6, word(&b, 24));
    end(&b);
}

static void test_halted_for_ever(void **state)
{
    Board b;

    (void)state;
    RUN(&b, halted);
    machine_cont(&b.vm->machine);
    usleep(20000);
    memory_system_lock(b.vm->machine.ms);
    machine_pulse_irq(&b.vm->machine, IRQ);
    memory_system_unlock(b.vm->machine.ms);
    usleep(20000);
    machine_stop(&b.vm->machine);
    assert_int_equal(0, word(&b, 0));
    assert_int_equal(1, word(&b, 2));
    assert_int_equal(0, word(&b, 4));
    end(&b);
}

static void test_gates(void **state)
{
    Board b;

    (void)state;
    RUN(&b, gates);
    assert_int_equal(1, dword(&b, 0));
    assert_int_equal(1, dword(&b, 4));
    assert_false(dword(&b, 8) & 0x200); /* IF */
    assert_true(dword(&b, 12) & 0x200);
    assert_int_equal(0x7000, dword(&b, 16));
    end(&b);
}

static void test_no_handler_is_a_shutdown(void **state)
{
    Board b;

    (void)state;
    RUN(&b, shutdown);
    assert_int_equal(3, word(&b, 0)); /* twice reset: in real and in protected mode */
    end(&b);
}

/* ---- Where code is --------------------------------------------------------------------------- */

static void test_map_changes_under_code(void **state)
{
    extern const uint8_t soft_guest_overlay[];
    Board b;

    (void)state;
    begin(&b, soft_guest_overlay);
    memcpy(ram(&b) + 0xc0000, soft_guest_shown, 64);
    memcpy(memory_region_get_ram_ptr(&b.overlay), soft_guest_covered, 64);
    start(&b);
    assert_true(wait_until_done(&b, 1));
    assert_int_equal(2, word(&b, 0) & 0xff);
    end(&b);
}

static void test_code_over_a_border(void **state)
{
    extern const uint8_t soft_guest_border[];
    /* the rest of movl $0x44332211, %eax; movl %eax, WORDS; out %al to DONE; hlt */
    static const uint8_t rest[] = {0x33, 0x44, 0x66, 0x36, 0xa3, 0x00,
                                   0x06, 0xba, 0x00, 0x04, 0xee, 0xf4};
    Board b;

    (void)state;
    begin(&b, soft_guest_border);
    memcpy(memory_region_get_ram_ptr(&b.overlay), rest, sizeof rest);
    start(&b);
    assert_true(wait_until_done(&b, 1));
    assert_int_equal(0x44332211, dword(&b, 0));
    end(&b);
}

static void test_code_that_changes_itself(void **state)
{
    Board b;

    (void)state;
    RUN(&b, modify);
    assert_int_equal(1000, word(&b, 0));
    end(&b);
}

static void test_stack_and_code_in_a_device(void **state)
{
    Board b;

    (void)state;
    RUN(&b, device);
    assert_int_equal(1, word(&b, 0));
    end(&b);
}

static void test_code_where_nobody_is(void **state)
{
    Board b;

    (void)state;
    RUN(&b, nowhere);
    for (int i = 0; i < 20; i++) {
        machine_cont(&b.vm->machine);
        usleep(500);
        machine_stop(&b.vm->machine);
    }
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_divisions_that_trap_on_the_host),
        cmocka_unit_test(test_prefixes_without_end),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_endless_string_is_interrupted),
        cmocka_unit_test(test_string_input_and_output),
        cmocka_unit_test(test_operands_that_look_like_hlt),
        cmocka_unit_test(test_sti_covers_hlt),
        cmocka_unit_test(test_new_stack_is_whole),
        cmocka_unit_test(test_halted_for_ever),
        cmocka_unit_test(test_gates),
        cmocka_unit_test(test_no_handler_is_a_shutdown),
        cmocka_unit_test(test_map_changes_under_code),
        cmocka_unit_test(test_code_over_a_border),
        cmocka_unit_test(test_code_that_changes_itself),
        cmocka_unit_test(test_stack_and_code_in_a_device),
        cmocka_unit_test(test_code_where_nobody_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
