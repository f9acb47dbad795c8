/* SPDX-License-Identifier: MIT */
/* ACPI: the tables as firmware would install them, and the ports of memory hotplug. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/fw_cfg_guest.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static FakeMachine *f;
static unsigned gpes[32];

void piix4_pm_send_gpe(Machine *m, unsigned bit)
{
    assert_true(memory_system_locked(m->ms));
    gpes[bit]++;
}

void rtc_set_cmos(Rtc *rtc, uint8_t index, uint8_t value)
{
    ((uint8_t *)rtc)[index] = value;
}

/* ---- Tables ---------------------------------------------------------------------------- */

#define RSDP_ADDR 0xf6780u
#define TABLES_ADDR 0x7fd0000u

/* Guest memory as far as the tables are concerned. */
typedef struct Installed {
    uint8_t *rsdp, *tables;
    uint32_t rsdp_size, tables_size;
} Installed;

static uint32_t le32(const uint8_t *at)
{
    return (uint32_t)(at[0] | at[1] << 8 | at[2] << 16) | (uint32_t)at[3] << 24;
}

static uint8_t sum(const uint8_t *bytes, size_t count)
{
    uint8_t total = 0;

    while (count--) {
        total = (uint8_t)(total + *bytes++);
    }
    return total;
}

static uint8_t *file_of(Installed *in, const char *name, uint32_t **size, uint32_t *addr)
{
    bool rsdp = strcmp(name, "etc/acpi/rsdp") == 0;

    assert_true(rsdp || strcmp(name, "etc/acpi/tables") == 0);
    *size = rsdp ? &in->rsdp_size : &in->tables_size;
    *addr = rsdp ? RSDP_ADDR : TABLES_ADDR;
    return rsdp ? in->rsdp : in->tables;
}

/* One command of etc/table-loader, carried out. */
static void carry_out(Installed *in, const uint8_t *command)
{
    uint32_t *size, *source_size, addr, source_addr, pointer;
    uint8_t *file = file_of(in, (const char *)command + 4, &size, &addr);

    switch (le32(command)) {
    case 1: /* allocate */
        assert_int_equal(addr % le32(command + 60), 0);
        assert_int_equal(command[64], addr == RSDP_ADDR ? 2 : 1);
        break;
    case 2: /* add a pointer */
        file_of(in, (const char *)command + 60, &source_size, &source_addr);
        assert_true(le32(command + 116) + 4 <= *size);
        assert_int_equal(command[120], 4);
        pointer = le32(file + le32(command + 116));
        assert_true(pointer < *source_size);
        pointer += source_addr;
        memcpy(file + le32(command + 116), &pointer, 4);
        break;
    case 3: /* add a checksum */
        assert_true(le32(command + 60) < *size);
        assert_true(le32(command + 64) + le32(command + 68) <= *size);
        file[le32(command + 60)] = (uint8_t)(file[le32(command + 60)] -
                                             sum(file + le32(command + 64), le32(command + 68)));
        break;
    default:
        fail_msg("command %u", le32(command));
    }
}

static Installed install(void)
{
    Installed in = {0};
    uint32_t size = 0;
    uint8_t *loader = read_file(f, "etc/table-loader", &size);

    in.rsdp = read_file(f, "etc/acpi/rsdp", &in.rsdp_size);
    in.tables = read_file(f, "etc/acpi/tables", &in.tables_size);
    assert_int_equal(size % 128, 0);
    for (uint32_t at = 0; at < size; at += 128) {
        carry_out(&in, loader + at);
    }
    free(loader);
    return in;
}

static void free_installed(Installed *in)
{
    free(in->rsdp);
    free(in->tables);
}

static const uint8_t *table_at(const Installed *in, uint32_t addr)
{
    assert_in_range(addr, TABLES_ADDR, TABLES_ADDR + in->tables_size - 36);
    const uint8_t *table = in->tables + (addr - TABLES_ADDR);
    assert_true(le32(table + 4) <= TABLES_ADDR + in->tables_size - addr);
    if (memcmp(table, "FACS", 4) != 0) {
        assert_int_equal(sum(table, le32(table + 4)), 0);
    }
    return table;
}

/* As an operating system finds it; NULL: there is none. */
static const uint8_t *find_table(const Installed *in, const char *signature)
{
    const uint8_t *rsdt;

    assert_memory_equal(in->rsdp, "RSD PTR ", 8);
    assert_int_equal(sum(in->rsdp, 20), 0);
    rsdt = table_at(in, le32(in->rsdp + 16));
    assert_memory_equal(rsdt, "RSDT", 4);
    for (uint32_t at = 36; at < le32(rsdt + 4); at += 4) {
        const uint8_t *table = table_at(in, le32(rsdt + at));
        if (memcmp(table, signature, 4) == 0) {
            return table;
        }
    }
    return NULL;
}

static void start(unsigned cpus, unsigned slots)
{
    f = fake_machine_start();
    f->m.nr_cpus = cpus;
    f->m.slots = slots;
    f->m.ram_size = 6 * GIB;
    f->m.below_4g_size = 3 * GIB;
    f->m.above_4g_size = 3 * GIB;
    if (slots) {
        MAKE(memory_devices_init(f->m.ms, 8 * GIB, 4 * GIB, slots, NULL));
    }
    MAKE(fw_cfg_create(&f->m));
    MAKE(acpi_create(&f->m));
    fake_machine_reset(f);
    memset(gpes, 0, sizeof(gpes));
}

static void end(void)
{
    memory_system_lock(f->m.ms);
    assert_int_equal(memory_devices_finalize(f->m.ms, NULL), 0);
    memory_system_unlock(f->m.ms);
    f->m.nr_cpus = 1;
    fake_machine_end(f);
}

static void check_madt(const uint8_t *madt, unsigned cpus)
{
    unsigned found = 0, ioapics = 0, timer_gsi = 0;

    for (uint32_t at = 44; at < le32(madt + 4); at += madt[at + 1]) {
        assert_in_range(madt[at + 1], 6, le32(madt + 4) - at);
        if (madt[at] == 0) {
            assert_int_equal(madt[at + 3], found++);
            assert_int_equal(le32(madt + at + 4), 1);
        } else if (madt[at] == 1) {
            assert_int_equal(le32(madt + at + 4), 0xfec00000);
            ioapics++;
        } else if (madt[at] == 2 && madt[at + 3] == 0) {
            timer_gsi = le32(madt + at + 4);
        }
    }
    assert_int_equal(found, cpus);
    assert_int_equal(ioapics, 1);
    assert_int_equal(timer_gsi, 2);
}

static void write_out(const char *path, const uint8_t *table)
{
    FILE *out = fopen(path, "wb");

    assert_non_null(out);
    assert_int_equal(fwrite(table, 1, le32(table + 4), out), le32(table + 4));
    assert_int_equal(fclose(out), 0);
}

/* ACPICA, as Linux has it, loads the AML; the interpreter finds @devices memory devices. */
static void try_aml(const uint8_t *dsdt, const uint8_t *ssdt, unsigned devices)
{
    char folder[] = "/tmp/test_acpi.XXXXXX", path[64], command[512], line[256];
    unsigned errors = 0, found = 0;

    if (system("command -v acpiexec iasl >/dev/null") != 0) {
        print_message("# without acpica-tools nobody reads the AML\n");
        return;
    }
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/dsdt", folder);
    write_out(path, dsdt);
    snprintf(path, sizeof(path), "%s/ssdt", folder);
    if (ssdt) {
        write_out(path, ssdt);
    }
    snprintf(command, sizeof(command),
             "cd %s && iasl -d *sdt 2>&1 | grep -i error; "
             "timeout 60 acpiexec -b 'namespace \\_SB.MEMH' *sdt 2>&1; rm -r %s",
             folder, folder);
    FILE *in = popen(command, "r");
    assert_non_null(in);
    while (fgets(line, sizeof(line), in)) {
        if (strstr(line, "rror")) {
            print_message("# %s", line);
            errors++;
        }
        found += strstr(line, "  S") && strstr(line, " Device ");
    }
    pclose(in);
    assert_int_equal(errors, 0);
    assert_int_equal(found, devices);
}

/* The method that tells devices is the last thing in its table: its length says so. */
static void check_notifier(const uint8_t *ssdt)
{
    static const char path[] = "\\/\3_SB_MEMHTELL";
    const uint8_t *end = ssdt + le32(ssdt + 4), *name = NULL, *at = ssdt;

    while ((at = memmem(at + 1, (size_t)(end - at - 1), path, sizeof(path) - 1))) {
        name = at;
    }
    assert_non_null(name);
    const uint8_t *length = name - 4;
    assert_int_equal(length[-1], 0x14);
    assert_int_equal(length[0] & 0xf0, 0xc0);
    assert_ptr_equal(
        length + (length[0] | length[1] << 4 | length[2] << 12 | length[3] << 20) - 0xc0, end);
}

static void check_tables(unsigned cpus, unsigned slots)
{
    start(cpus, slots);
    MAKE(acpi_tables_add(&f->m));
    Installed in = install();
    const uint8_t *fadt = find_table(&in, "FACP"), *ssdt = find_table(&in, "SSDT");
    assert_non_null(fadt);
    assert_int_equal(le32(fadt + 4), 244);
    assert_int_equal(le32(fadt + 36) % 64, 0);
    assert_memory_equal(table_at(&in, le32(fadt + 36)), "FACS\x40\0\0\0", 8);
    const uint8_t *dsdt = table_at(&in, le32(fadt + 40));
    assert_memory_equal(dsdt, "DSDT", 4);
    assert_int_equal(le32(fadt + 56), 0x600);  /* PM1 events */
    assert_int_equal(le32(fadt + 80), 0xafe0); /* GPE0 */
    assert_int_equal(fadt[128], 6);            /* reset value */
    check_madt(find_table(&in, "APIC"), cpus);
    assert_int_equal(ssdt != NULL, slots > 0);
    assert_non_null(memmem(dsdt, le32(dsdt + 4), "PCIB\x0c\0\0\0\xc0", 9));
    if (ssdt) {
        check_notifier(ssdt);
    }
    try_aml(dsdt, ssdt, slots);
    free_installed(&in);
    end();
}

static void tables_are_sound(void **state)
{
    (void)state;
    check_tables(1, 0);
    check_tables(2, 1);
    check_tables(255, MEMORY_DEVICES_MAX_SLOTS);
}

static void the_board_is_described(void **state)
{
    uint8_t cmos[128] = {0};
    uint64_t end_of_dimms;
    uint32_t size;
    uint8_t *bytes;

    (void)state;
    start(3, 2);
    f->m.rtc = (Rtc *)cmos;
    MAKE(firmware_describe(&f->m));
    static const struct E820 {
        uint64_t addr, size;
        uint32_t type;
    } __attribute__((packed)) wanted[] = {
        {0, 3 * GIB, 1},
        {0xfeffc000, 0x4000, 2},
        {4 * GIB, 3 * GIB, 1},
    };
    bytes = read_file(f, "etc/e820", &size);
    assert_int_equal(size, sizeof wanted);
    assert_memory_equal(bytes, wanted, size);
    free(bytes);
    bytes = read_file(f, "etc/reserved-memory-end", &size);
    memcpy(&end_of_dimms, bytes, 8);
    free(bytes);
    assert_int_equal(end_of_dimms, (8 + 4 + 2) * GIB);
    assert_int_equal(cmos[0x34] | cmos[0x35] << 8, (3 * GIB - 16 * MIB) >> 16);
    assert_int_equal(cmos[0x5b] | cmos[0x5c] << 8 | cmos[0x5d] << 16, 3 * GIB >> 16);
    assert_int_equal(cmos[0x5f], 2);
    select_key(f, 0x05);
    assert_int_equal(inb(f, DATA_PORT), 3);
    end();
}

/* ---- Hotplug ------------------------------------------------------------------------------ */

#define PORT 0xa00
#define FLAGS 0xa14

static uint32_t inl(uint16_t port)
{
    return address_space_ldl_le(memory_system_io(f->m.ms), port, ATTRS, NULL);
}

static void outl(uint16_t port, uint32_t value)
{
    address_space_stl_le(memory_system_io(f->m.ms), port, value, ATTRS, NULL);
}

static MemoryDeviceState *plug(const char *options)
{
    static unsigned number;
    char backend[64], device[128];

    snprintf(backend, sizeof(backend), "memory-backend-ram,id=b%u,size=128M", ++number);
    snprintf(device, sizeof(device), "%s,memdev=b%u", options, number);
    assert_non_null(host_memory_backend_create(f->m.ms, backend, NULL));
    memory_system_lock(f->m.ms);
    MemoryDeviceState *dimm = memory_device_add(f->m.ms, device, NULL);
    assert_non_null(dimm);
    acpi_memory_plugged(&f->m, dimm);
    memory_system_unlock(f->m.ms);
    return dimm;
}

static int setup(void **state)
{
    (void)state;
    start(1, 4);
    return 0;
}

static bool next_device(MemoryDeviceState *md, void *opaque)
{
    *(MemoryDeviceState **)opaque = md;
    return true;
}

static bool end_backend(HostMemoryBackend *backend, void *opaque)
{
    (void)opaque;
    assert_int_equal(host_memory_backend_destroy(backend, NULL), 0);
    return false;
}

static int teardown(void **state)
{
    MemoryDeviceState *md;

    (void)state;
    memory_system_lock(f->m.ms);
    while (memory_devices_for_each(f->m.ms, next_device, &md)) {
        assert_int_equal(memory_device_del(md, NULL), 0);
    }
    host_memory_backend_for_each(f->m.ms, end_backend, NULL);
    memory_system_unlock(f->m.ms);
    end();
    return 0;
}

static void a_dimm_comes_and_goes(void **state)
{
    MemoryDeviceState *dimm = plug("pc-dimm,id=d0,slot=2,addr=0x248000000,node=1");

    (void)state;
    assert_int_equal(gpes[3], 1);
    outl(PORT, 1);
    assert_int_equal(inb(f, FLAGS), 0);
    outl(PORT, 2);
    assert_int_equal(inl(PORT), 0x48000000);
    assert_int_equal(inl(PORT + 4), 2);
    assert_int_equal(inl(PORT + 8), 128 * MIB);
    assert_int_equal(inl(PORT + 12), 0);
    assert_int_equal(inl(PORT + 16), 1);
    assert_int_equal(inl(FLAGS), 0xffffff03); /* used, inserted */
    outb(f, FLAGS, 2);
    assert_int_equal(inb(f, FLAGS), 1);

    MAKE(acpi_memory_unplug_request(&f->m, dimm, NULL));
    assert_int_equal(gpes[3], 2);
    assert_int_equal(inb(f, FLAGS), 5);
    outb(f, FLAGS, 4);
    assert_int_equal(inb(f, FLAGS), 1);
    outl(PORT + 4, 0x103);
    outl(PORT + 8, 0x84); /* under way */
    outb(f, FLAGS, 8);
    assert_int_equal(inb(f, FLAGS), 0);
    assert_int_equal(inl(PORT), 0);
    memory_system_lock(f->m.ms);
    assert_null(memory_device_find(f->m.ms, "d0"));
    memory_system_unlock(f->m.ms);
    outb(f, FLAGS, 8); /* nothing is there any more */
}

/* What one dimm was asked says nothing to the next in its slot. */
static void taken_out_by_others(void **state)
{
    MemoryDeviceState *dimm = plug("pc-dimm,id=d0,slot=0");

    (void)state;
    MAKE(acpi_memory_unplug_request(&f->m, dimm, NULL));
    MAKE(memory_device_del(dimm, NULL));
    assert_int_equal(inb(f, FLAGS), 0);
    plug("pc-dimm,id=d1,slot=0");
    assert_int_equal(inb(f, FLAGS), 3);
    fake_machine_reset(f);
    assert_int_equal(inb(f, FLAGS), 1);
}

static void what_has_no_slot_here(void **state)
{
    MemoryDeviceState *other = plug("virtio-mem-pci,id=v0");
    Error *err = NULL;

    (void)state;
    memory_system_lock(f->m.ms);
    assert_int_equal(acpi_memory_unplug_request(&f->m, other, &err), -ENOTSUP);
    assert_string_equal(error_get_pretty(err), "the guest cannot be asked to let go of v0");
    error_free(err);
    memory_system_unlock(f->m.ms);
    assert_int_equal(gpes[3], 0);
    outl(PORT, 4); /* a slot too many */
    assert_int_equal(inl(PORT), 0);
    assert_int_equal(inb(f, FLAGS), 0);
    outl(PORT, UINT32_MAX);
    outb(f, FLAGS, 0xff);
    assert_int_equal(inb(f, FLAGS), 0);
}

static void any_write_is_survived(void **state)
{
    AddressSpace *io = memory_system_io(f->m.ms);

    (void)state;
    plug("pc-dimm,id=d0");
    plug("pc-dimm,id=d1");
    srandom(5);
    for (unsigned i = 0; i < 20000; i++) {
        uint16_t port = (uint16_t)(PORT + random() % 28 - 2);
        uint32_t value = (uint32_t)random() >> random() % 31;
        address_space_ldl_le(io, port, ATTRS, NULL);
        switch (random() % 3) {
        case 0:
            address_space_stb(io, port, (uint8_t)value, ATTRS, NULL);
            break;
        case 1:
            address_space_stw_le(io, port, (uint16_t)value, ATTRS, NULL);
            break;
        default:
            address_space_stl_le(io, port, value, ATTRS, NULL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_sound),
        cmocka_unit_test(the_board_is_described),
        cmocka_unit_test_setup_teardown(a_dimm_comes_and_goes, setup, teardown),
        cmocka_unit_test_setup_teardown(taken_out_by_others, setup, teardown),
        cmocka_unit_test_setup_teardown(what_has_no_slot_here, setup, teardown),
        cmocka_unit_test_setup_teardown(any_write_is_survived, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
