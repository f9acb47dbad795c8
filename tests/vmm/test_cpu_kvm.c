/* SPDX-License-Identifier: MIT */
/*
 * test_cpu_kvm.c - CPUs run by KVM, on a machine that is RAM, a ROM and a port: they start, wait,
 * are woken, stopped, reset, and fail.
 */
#include "vmm/devices.h"
#include "vmm/machine_run.h"

#include <membus/kvm.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define RAM_SIZE 0xa0000
#define ROM_SIZE 0x10000
#define COUNT 0x600
#define WANTED 0x604
#define SEEN 0x610
#define NOTES 0x620
#define STARTED_AT 0x8000
#define SMI_HANDLER_AT 0x38000
#define SECRET_AT 0x50000

#define GUEST(name) extern const uint8_t name##_begin[], name##_end[]
GUEST(sipi);
GUEST(started);
GUEST(timer);
GUEST(again);
GUEST(triple);
GUEST(spin);
GUEST(lost);
GUEST(asks);
GUEST(smi);

typedef struct Pc {
    Machine m;
    VmmOptions options;
    MemoryRegion ram, rom, low_rom, ports, device, secret;
    pthread_t loop;
    int status;
    atomic_uint done, asked;
    MachineRequest at_read; /* what reading the device asks for */
    CpuState inside;        /* of the CPU that asked */
} Pc;

/* ---- The machine ------------------------------------------------------------------- */

static void ports_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Pc *pc = opaque;

    (void)data, (void)size;
    if (addr == 0) {
        pc->done++;
    } else {
        pc->asked++;
        pc->m.kind->get_state(cpu_current(), &pc->inside);
        pc->m.kind->smi(cpu_current());
    }
}

static const MemoryRegionOps ports_ops = {.write = ports_write, .endianness = DEVICE_LITTLE_ENDIAN};

static uint64_t device_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)addr, (void)size;
    machine_request(&((Pc *)opaque)->m, ((Pc *)opaque)->at_read, 0);
    usleep(50000); /* the kick comes before the value does */
    return 0x44332211;
}

static const MemoryRegionOps device_ops = {.read = device_read, .endianness = DEVICE_LITTLE_ENDIAN};

static void must(int result)
{
    if (result < 0) {
        fail_msg("%s", membus_last_error());
    }
}

static void build_board(Pc *pc, const uint8_t *begin, const uint8_t *end)
{
    static const uint8_t jump[] = {0xea, 0x00, 0x00, 0x00, 0xf0}; /* ljmp f000:0 */
    Machine *m = &pc->m;
    MemoryOwner *board = memory_system_owner(m->ms);
    MemoryRegion *system = get_system_memory(m->ms);

    must(memory_region_init_ram(&pc->ram, board, "ram", RAM_SIZE, NULL));
    must(memory_region_add_subregion(system, 0, &pc->ram));
    must(memory_region_init_rom(&pc->rom, board, "rom", ROM_SIZE, NULL));
    uint8_t *rom = memory_region_get_ram_ptr(&pc->rom);
    memcpy(rom, begin, (size_t)(end - begin));
    memcpy(rom + 0xfff0, jump, sizeof jump);
    must(memory_region_add_subregion(system, 0xffff0000, &pc->rom));
    must(memory_region_init_alias(&pc->low_rom, board, "low-rom", &pc->rom, 0, ROM_SIZE));
    must(memory_region_add_subregion(system, 0xf0000, &pc->low_rom));
    must(memory_region_init_io(&pc->device, board, &device_ops, pc, "device", 4));
    must(memory_region_enable_lockless_io(&pc->device));
    must(memory_region_add_subregion(system, 0xb0000, &pc->device));
    must(memory_region_init_io(&pc->ports, board, &ports_ops, pc, "ports", 8));
    must(memory_region_add_subregion(get_system_io(m->ms), 0x400, &pc->ports));
    must(memory_region_init(&m->smram, board, "smram", UINT64_C(1) << 32));
    must(memory_region_init_ram(&pc->secret, board, "secret", 0x1000, NULL));
    must(memory_region_add_subregion(&m->smram, SECRET_AT, &pc->secret));
}

/* All but the power; skips the test where there is no KVM. */
static Pc *pc_build(unsigned nr_cpus, const uint8_t *begin, const uint8_t *end)
{
    Pc *pc = test_calloc(1, sizeof *pc);
    Machine *m = &pc->m;
    Error *err = NULL;

    *m = (Machine){.options = &pc->options, .nr_cpus = nr_cpus};
    pc->options.accel = "kvm";
    pc->at_read = MACHINE_RESET;
    m->ms = memory_system_create();
    must(machine_run_begin(m, NULL));
    if (cpus_choose_kind(m, &err) < 0) {
        print_message("# no KVM: %s\n", error_get_pretty(err));
        error_free(err);
        machine_run_end(m);
        memory_system_destroy(m->ms);
        test_free(pc);
        skip();
    }
    memory_system_lock(m->ms);
    build_board(pc, begin, end);
    if (cpus_create(m, &err) < 0) {
        fail_msg("%s", error_get_pretty(err));
    }
    memory_system_unlock(m->ms);
    must(cpus_start(m, NULL));
    return pc;
}

static void *run_loop(void *opaque)
{
    Pc *pc = opaque;

    pc->status = loop_run(&pc->m);
    return NULL;
}

static void pc_power_on(Pc *pc)
{
    machine_power_on(&pc->m);
    assert_int_equal(pthread_create(&pc->loop, NULL, run_loop, pc), 0);
}

#define PC(nr_cpus, name) pc_build(nr_cpus, name##_begin, name##_end)

/* Returns how the loop ended. */
static int pc_end(Pc *pc, bool quit)
{
    Machine *m = &pc->m;

    if (quit) {
        machine_request(m, MACHINE_QUIT, 7);
    }
    pthread_join(pc->loop, NULL);
    cpus_end(m);
    memory_system_lock(m->ms);
    cpus_destroy(m);
    devices_end(m);
    m->kind->close(m);
    memory_region_del_subregion(get_system_memory(m->ms), &pc->low_rom);
    memory_region_del_subregion(get_system_memory(m->ms), &pc->rom);
    memory_system_unlock(m->ms);
    memory_system_drain(m->ms);
    memory_system_lock(m->ms);
    memory_region_finalize(&pc->low_rom);
    memory_system_unlock(m->ms);
    must(memory_system_destroy(m->ms));
    cpus_free(m);
    machine_run_end(m);
    int status = pc->status;
    test_free(pc);
    return status;
}

static uint8_t *ram_at(Pc *pc, size_t at)
{
    return (uint8_t *)memory_region_get_ram_ptr(&pc->ram) + at;
}

static uint32_t word_at(Pc *pc, size_t at)
{
    return __atomic_load_n((uint32_t *)(void *)ram_at(pc, at), __ATOMIC_ACQUIRE);
}

static void put(Pc *pc, size_t at, const uint8_t *begin, const uint8_t *end)
{
    memcpy(ram_at(pc, at), begin, (size_t)(end - begin));
}

static void wait_done(Pc *pc, unsigned times)
{
    for (unsigned i = 0; pc->done < times; i++) {
        if (i == 20000) {
            CpuState s = {0};

            machine_stop(&pc->m);
            pc->m.kind->get_state(pc->m.cpus[0], &s);
            fail_msg("the guest was not done in 20 s: count %u, at %x:%x (0x%x)",
                     word_at(pc, COUNT), s.cs.selector, (unsigned)s.rip, (unsigned)s.cs.base);
        }
        usleep(1000);
    }
}

/* ---- Tests --------------------------------------------------------------------------- */

/* The others start where they are told to, and after a reset wait once more. */
static void test_sipi(void **state)
{
    Pc *pc = PC(3, sipi);

    (void)state;
    put(pc, STARTED_AT, started_begin, started_end);
    *ram_at(pc, WANTED) = 2;
    pc_power_on(pc);
    wait_done(pc, 1);
    assert_memory_equal(ram_at(pc, SEEN), ((uint8_t[]){0, 1, 1, 0}), 4);
    *ram_at(pc, COUNT) = 0;
    machine_request(&pc->m, MACHINE_RESET, 0);
    wait_done(pc, 2);
    assert_memory_equal(ram_at(pc, SEEN), ((uint8_t[]){0, 2, 2, 0}), 4);
    assert_int_equal(word_at(pc, COUNT), 2);
    assert_int_equal(pc_end(pc, true), 7);
}

static void test_timer(void **state)
{
    Pc *pc = PC(1, timer);

    (void)state;
    pc_power_on(pc);
    wait_done(pc, 1);
    assert_int_equal(word_at(pc, COUNT), 10);
    assert_in_range(word_at(pc, NOTES), 1, 10); /* ticks that were late come two at a time */
    assert_int_equal(pc_end(pc, true), 7);
}

/* A reset leaves nothing: not of the instruction that asked for it, of the CPU, or the chips. */
static void test_reset(void **state)
{
    Pc *pc = PC(2, again);

    (void)state;
    pc_power_on(pc);
    wait_done(pc, 1);
    assert_int_equal(word_at(pc, COUNT), 2);
    assert_int_equal(word_at(pc, NOTES), 0);              /* eax */
    assert_int_equal(word_at(pc, NOTES + 4), 0x60000010); /* cr0: SDM 3A, 9.1.1 */
    assert_int_equal(word_at(pc, NOTES + 8), 0);          /* MTRRs are off */
    assert_int_equal(*ram_at(pc, NOTES + 12), 0);         /* the PIC's mask */
    assert_int_equal(word_at(pc, NOTES + 16), 0);         /* the local APIC's logical id */
    assert_int_equal(pc_end(pc, true), 7);
}

static void test_shutdown(void **state)
{
    Pc *pc = PC(2, triple);

    (void)state;
    pc_power_on(pc);
    wait_done(pc, 1);
    assert_int_equal(word_at(pc, COUNT), 2);
    assert_int_equal(pc_end(pc, true), 7);
}

static void test_stop(void **state)
{
    Pc *pc = PC(2, spin);
    CpuState s;

    (void)state;
    pc_power_on(pc);
    for (unsigned i = 0; i < 20; i++) {
        while (word_at(pc, COUNT) == 0) {
            usleep(100);
        }
        machine_stop(&pc->m);
        uint32_t count = word_at(pc, COUNT);
        usleep(2000);
        assert_int_equal(word_at(pc, COUNT), count);
        assert_int_equal(pc->m.kind->get_state(pc->m.cpus[0], &s), 0);
        assert_int_equal(s.cs.base, 0xf0000);
        assert_int_equal(s.rbp, 0x12345678);
        assert_in_range(s.rip, 4, spin_end - spin_begin);
        assert_false(s.long_mode || s.code32 || s.smm);
        assert_int_equal(pc->m.kind->get_state(pc->m.cpus[1], &s), 0);
        assert_int_equal(s.cs.base + s.rip, 0xfffffff0);
        memset(ram_at(pc, COUNT), 0, 4);
        machine_cont(&pc->m);
    }
    assert_int_equal(pc_end(pc, true), 7);
}

/* Who is stopped by a device that it reads has read it. */
static void test_stop_inside(void **state)
{
    Pc *pc = PC(1, again);
    CpuState s;

    (void)state;
    pc->at_read = MACHINE_STOP;
    pc_power_on(pc);
    while (!machine_is_stopped(&pc->m)) {
        usleep(1000);
    }
    assert_int_equal(pc->m.kind->get_state(pc->m.cpus[0], &s), 0);
    assert_int_equal(s.rax, 0x44332211);
    assert_true(s.code32);
    assert_int_equal(pc_end(pc, true), 7);
}

static void test_failure(void **state)
{
    Pc *pc = PC(1, lost);

    (void)state;
    pc_power_on(pc);
    assert_int_equal(pc_end(pc, false), VMM_CRASHED);
}

static void test_smm(void **state)
{
    Pc *pc = PC(1, asks);
    bool has_smm = pc->m.kind->has_smm(&pc->m);
    uint32_t secret;

    (void)state;
    put(pc, SMI_HANDLER_AT, smi_begin, smi_end);
    if (!has_smm) {
        print_message("# this KVM has no system management mode\n");
        *ram_at(pc, COUNT) = 1;
    }
    pc_power_on(pc);
    wait_done(pc, 1);
    assert_int_equal(pc->asked, 1);
    assert_int_equal(pc->inside.cs.base, 0xf0000);
    assert_int_equal(word_at(pc, COUNT), 1);
    assert_int_equal(word_at(pc, SECRET_AT), 0);
    memcpy(&secret, memory_region_get_ram_ptr(&pc->secret), sizeof secret);
    assert_int_equal(secret, has_smm ? 0x5ec2e7 : 0);
    assert_int_equal(pc_end(pc, true), 7);
}

/* Whether the processor runs guests, as /proc/cpuinfo says. */
static bool has_hardware(void)
{
    FILE *cpuinfo = fopen("/proc/cpuinfo", "re");
    static char line[16384];
    bool found = false;

    while (cpuinfo && fgets(line, sizeof line, cpuinfo)) {
        found |= strncmp(line, "flags", 5) == 0 && (strstr(line, " svm ") || strstr(line, " vmx "));
    }
    if (cpuinfo) {
        fclose(cpuinfo);
    }
    return found;
}

/* A KVM that interprets its guests is not for Linux, unless it is called by its name. */
static void test_choice(void **state)
{
    const VmmOptions options = {.accel = "auto", .kernel = "vmlinuz"};
    Machine m = {.options = &options, .nr_cpus = 1, .ms = memory_system_create()};
    Error *err = NULL;
    int result = cpu_kvm.open(&m, &err);

    (void)state;
    if (access("/dev/kvm", R_OK | W_OK) == 0) {
        assert_int_equal(result == 0, has_hardware());
    }
    if (result == 0) {
        memory_system_lock(m.ms);
        cpu_kvm.close(&m);
        memory_system_unlock(m.ms);
    } else {
        print_message("# %s\n", error_get_pretty(err));
        assert_null(m.kind_state);
        error_free(err);
    }
    must(memory_system_destroy(m.ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),      cmocka_unit_test(test_sipi),
        cmocka_unit_test(test_timer),       cmocka_unit_test(test_reset),
        cmocka_unit_test(test_shutdown),    cmocka_unit_test(test_stop),
        cmocka_unit_test(test_failure),     cmocka_unit_test(test_smm),
        cmocka_unit_test(test_stop_inside),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP); /* no environment says so in the lab */
    return cmocka_run_group_tests_name("cpu_kvm", tests, NULL, NULL);
}
