/* SPDX-License-Identifier: MIT */
/*
 * firmware.c - what the board tells its firmware: fw_cfg items and bytes of the CMOS memory.
 * SeaBIOS takes the memory map from etc/e820; the CMOS is for those who know no fw_cfg.
 */
#include "devices.h"
#include "fw_cfg.h"

#include <endian.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define FOUR_GIB (UINT64_C(1) << 32)

#define CONSOLE_PORT 0x3f8

/* ---- CMOS ------------------------------------------------------------------------------- */

static void set_cmos_word(Rtc *rtc, uint8_t index, hwaddr value)
{
    rtc_set_cmos(rtc, index, (uint8_t)value);
    rtc_set_cmos(rtc, (uint8_t)(index + 1), (uint8_t)(value >> 8));
}

static hwaddr smaller(hwaddr a, hwaddr b)
{
    return a < b ? a : b;
}

static void describe_in_cmos(Machine *m)
{
    Rtc *rtc = m->rtc;
    hwaddr above_1m = m->below_4g_size > MIB ? m->below_4g_size - MIB : 0;
    hwaddr above_16m = m->below_4g_size > 16 * MIB ? m->below_4g_size - 16 * MIB : 0;
    hwaddr above_4g = smaller(m->above_4g_size / (64 * KIB), 0xffffff);
    hwaddr extended = smaller(above_1m / KIB, 0xffff);

    rtc_set_cmos(rtc, 0x10, 0);         /* no floppy drives */
    rtc_set_cmos(rtc, 0x14, 0x02);      /* equipment: a coprocessor */
    set_cmos_word(rtc, 0x15, 640);      /* KiB of base memory */
    set_cmos_word(rtc, 0x17, extended); /* KiB above 1 MiB */
    set_cmos_word(rtc, 0x30, extended);
    set_cmos_word(rtc, 0x34, smaller(above_16m / (64 * KIB), 0xffff)); /* in 64 KiB */
    set_cmos_word(rtc, 0x5b, above_4g);                                /* in 64 KiB */
    rtc_set_cmos(rtc, 0x5d, (uint8_t)(above_4g >> 16));
    rtc_set_cmos(rtc, 0x3d, 0x12); /* boot from a hard disk, else a floppy, */
    rtc_set_cmos(rtc, 0x38, 0x30); /* else a CD */
    rtc_set_cmos(rtc, 0x5f, (uint8_t)(m->nr_cpus - 1));
}

/* ---- fw_cfg ------------------------------------------------------------------------------- */

typedef struct E820Entry {
    uint64_t addr, size; /* little-endian */
    uint32_t type;
} __attribute__((packed)) E820Entry;

enum { E820_RAM = 1, E820_RESERVED = 2 };

/* KVM keeps tables of its own there on some processors (cpu_kvm.c): no BAR may go there. */
#define KVM_TABLES_AT UINT64_C(0xfeffc000)
#define KVM_TABLES_SIZE (16 * KIB)

static int describe_memory(Machine *m)
{
    E820Entry map[] = {
        {0, htole64(m->below_4g_size), htole32(E820_RAM)},
        {htole64(KVM_TABLES_AT), htole64(KVM_TABLES_SIZE), htole32(E820_RESERVED)},
        {htole64(FOUR_GIB), htole64(m->above_4g_size), htole32(E820_RAM)},
    };
    MemoryRegion *devices = memory_devices_region(m->ms);
    int err =
        fw_cfg_add_file(m->fw_cfg, "etc/e820", map, (m->above_4g_size ? 3 : 2) * sizeof(map[0]));

    if (err == 0 && devices) {
        /* 64-bit BARs go behind the room for dimms. */
        uint64_t end = htole64(memory_region_address(devices) + memory_region_size(devices));
        err = fw_cfg_add_file(m->fw_cfg, "etc/reserved-memory-end", &end, sizeof(end));
    }
    return err;
}

static int add_number(FwCfg *fw, const char *name, uint32_t value)
{
    value = htole32(value);
    return fw_cfg_add_file(fw, name, &value, sizeof(value));
}

int firmware_describe(Machine *m)
{
    FwCfg *fw = m->fw_cfg;
    int err;

    if (m->rtc) {
        describe_in_cmos(m);
    }
    if ((err = fw_cfg_add_u64(fw, FW_CFG_RAM_SIZE, m->ram_size)) < 0 ||
        (err = fw_cfg_add_u16(fw, FW_CFG_NB_CPUS, (uint16_t)m->nr_cpus)) < 0 ||
        (err = fw_cfg_add_u16(fw, FW_CFG_MAX_CPUS, (uint16_t)m->nr_cpus)) < 0 ||
        (err = fw_cfg_add_u16(fw, FW_CFG_BOOT_MENU, 0)) < 0 ||
        (err = add_number(fw, "etc/show-boot-menu", 0)) < 0 ||
        (err = add_number(fw, "etc/boot-fail-wait", UINT32_MAX)) < 0 || /* ms: for ever */
        (err = add_number(fw, "etc/sercon-port", CONSOLE_PORT)) < 0 ||
        (err = describe_memory(m)) < 0) {
        return err;
    }
    return acpi_tables_add(m);
}
