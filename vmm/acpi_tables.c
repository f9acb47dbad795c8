/* SPDX-License-Identifier: MIT */
/*
 * acpi_tables.c - the ACPI tables, as files that the firmware puts into the guest's memory.
 *
 *      etc/acpi/rsdp     RSDP -> RSDT
 *      etc/acpi/tables   FACS, DSDT, SSDT (with memory slots), FADT -> FACS, DSDT; MADT;
 *                        RSDT -> FADT, MADT, SSDT
 *      etc/table-loader  commands: allocate room for the files, make offsets addresses, sum up
 *
 * The commands are needed since only the firmware knows where the files will be.
 */
#include "devices.h"
#include "fw_cfg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* dsdt_aml[] and so on: what iasl made of the .asl files */
#include <dsdt.aml.h>
#include <memory.aml.h>
#include <memory_slot.aml.h>

#define RSDP_FILE "etc/acpi/rsdp"
#define TABLES_FILE "etc/acpi/tables"
#define LOADER_FILE "etc/table-loader"

#define HEADER_SIZE 36 /* of a table */
#define CHECKSUM_AT 9  /* in a table */

/* Where the chipset's registers are once the firmware has set it up. */
#define PM_PORT 0x600
#define GPE_PORT 0xafe0
#define SMI_PORT 0xb2
#define SMI_ACPI_ON 0xf1
#define SMI_ACPI_OFF 0xf0
#define RESET_PORT 0xcf9
#define RESET_HARD 0x06
#define SCI_IRQ 9
#define LOCAL_APIC_BASE 0xfee00000
#define IOAPIC_BASE 0xfec00000

/* ---- Bytes that pile up -------------------------------------------------------------- */

typedef struct Blob {
    uint8_t *data;
    size_t size;
    bool failed; /* memory was short */
} Blob;

typedef struct Builder {
    Machine *machine;
    Blob tables, loader;
} Builder;

static void put(Blob *blob, const void *bytes, size_t count)
{
    uint8_t *data = realloc(blob->data, blob->size + count);

    if (data == NULL) {
        blob->failed = true;
        return;
    }
    blob->data = data;
    memcpy(data + blob->size, bytes, count);
    blob->size += count;
}

/* @value, little-endian, in @count bytes. */
static void put_number(Blob *blob, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t byte = (uint8_t)(value >> 8 * i);
        put(blob, &byte, 1);
    }
}

/* @text in @count bytes, filled up with @pad. */
static void put_text(Blob *blob, const char *text, size_t count, char pad)
{
    for (size_t i = 0; i < count; i++) {
        put(blob, *text ? text : &pad, 1);
        text += *text != 0;
    }
}

static void set_number(Blob *blob, size_t at, uint64_t value, unsigned count)
{
    if (!blob->failed) {
        for (unsigned i = 0; i < count; i++) {
            blob->data[at + i] = (uint8_t)(value >> 8 * i);
        }
    }
}

/* ---- Commands: 128 bytes each, zeros where there is nothing to say ---------------------- */

enum { ALLOCATE = 1, ADD_POINTER = 2, ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2 };
#define COMMAND_SIZE 128

static size_t begin_command(Blob *loader, uint32_t command, const char *file)
{
    size_t start = loader->size;

    put_number(loader, command, 4);
    put_text(loader, file, FW_CFG_MAX_FILE_PATH, 0);
    return start;
}

static void end_command(Blob *loader, size_t start)
{
    put_text(loader, "", COMMAND_SIZE - (loader->size - start), 0);
}

static void allocate(Blob *loader, const char *file, uint32_t align, uint8_t zone)
{
    size_t start = begin_command(loader, ALLOCATE, file);

    put_number(loader, align, 4);
    put_number(loader, zone, 1);
    end_command(loader, start);
}

/* The 4 bytes at @at of @file are an offset in the tables and are to be an address. */
static void add_pointer(Blob *loader, const char *file, size_t at)
{
    size_t start = begin_command(loader, ADD_POINTER, file);

    put_text(loader, TABLES_FILE, FW_CFG_MAX_FILE_PATH, 0);
    put_number(loader, at, 4);
    put_number(loader, 4, 1);
    end_command(loader, start);
}

static void add_checksum(Blob *loader, const char *file, size_t at, size_t first, size_t count)
{
    size_t start = begin_command(loader, ADD_CHECKSUM, file);

    put_number(loader, at, 4);
    put_number(loader, first, 4);
    put_number(loader, count, 4);
    end_command(loader, start);
}

/* ---- Tables ------------------------------------------------------------------------------ */

/* Returns where it starts. */
static size_t begin_table(Builder *b, const char *signature, uint8_t revision)
{
    size_t start = b->tables.size;

    put_text(&b->tables, signature, 4, 0);
    put_number(&b->tables, 0, 4); /* length */
    put_number(&b->tables, revision, 1);
    put_number(&b->tables, 0, 1); /* checksum */
    put_text(&b->tables, "MEMBUS", 6, ' ');
    put_text(&b->tables, "MEMBUSPC", 8, ' ');
    put_number(&b->tables, 1, 4);
    put_text(&b->tables, "MBUS", 4, ' ');
    put_number(&b->tables, 1, 4);
    return start;
}

static size_t end_table(Builder *b, size_t start)
{
    size_t size = b->tables.size - start;

    set_number(&b->tables, start + 4, size, 4);
    add_checksum(&b->loader, TABLES_FILE, start + CHECKSUM_AT, start, size);
    return start;
}

static void put_table_pointer(Builder *b, size_t table)
{
    add_pointer(&b->loader, TABLES_FILE, b->tables.size);
    put_number(&b->tables, table, 4);
}

static size_t put_facs(Builder *b)
{
    size_t start = b->tables.size;

    put_text(&b->tables, "FACS", 4, 0);
    put_number(&b->tables, 64, 4);
    put_text(&b->tables, "", 64 - 8, 0);
    return start;
}

/*
 * Set Name (@name, ...), a number of @count bytes, in the AML that was put from @start on. Name is
 * 08, the name, and for a constant 0b (2 bytes) or 0c (4 bytes).
 */
static void set_name(Blob *blob, size_t start, const char *name, uint64_t value, unsigned count)
{
    uint8_t pattern[6] = {0x08, 0, 0, 0, 0, count == 2 ? 0x0b : 0x0c};

    memcpy(pattern + 1, name, 4);
    if (!blob->failed) {
        uint8_t *found = memmem(blob->data + start, blob->size - start, pattern, sizeof(pattern));
        set_number(blob, (size_t)(found + sizeof(pattern) - blob->data), value, count);
    }
}

/* A table that iasl has made, but for its header. */
static size_t begin_compiled(Builder *b, const char *signature, const uint8_t *aml, size_t size)
{
    size_t start = begin_table(b, signature, 2); /* 2: numbers have 64 bits */

    put(&b->tables, aml + HEADER_SIZE, size - HEADER_SIZE);
    return start;
}

static size_t put_dsdt(Builder *b)
{
    size_t start = begin_compiled(b, "DSDT", dsdt_aml, sizeof(dsdt_aml));

    set_name(&b->tables, start, "PCIB", b->machine->below_4g_size, 4);
    return end_table(b, start);
}

/* "S000" and so on. */
static void slot_name(char name[4], unsigned slot)
{
    static const char digits[] = "0123456789ABCDEF";

    name[0] = 'S';
    name[1] = digits[slot >> 8 & 15];
    name[2] = digits[slot >> 4 & 15];
    name[3] = digits[slot & 15];
}

/* The device of each slot: what memory_slot.asl is but for its header and declarations. */
static void put_slot_devices(Builder *b)
{
    static const uint8_t device_op[] = {0x5b, 0x82};
    const uint8_t *end = memory_slot_aml + sizeof(memory_slot_aml);
    const uint8_t *device =
        memmem(memory_slot_aml + HEADER_SIZE, sizeof(memory_slot_aml) - HEADER_SIZE, device_op, 2);
    const uint8_t *name = memmem(device, (size_t)(end - device), "S000", 4);

    for (unsigned slot = 0; slot < b->machine->slots; slot++) {
        size_t start = b->tables.size;
        char text[4];

        slot_name(text, slot);
        put(&b->tables, device, (size_t)(name - device));
        put(&b->tables, text, 4);
        put(&b->tables, name + 4, (size_t)(end - name - 4));
        set_name(&b->tables, start, "NUMB", slot, 2);
    }
}

/* Method (\_SB.MEMH.TELL, 2) { If (Arg0 == n) { Notify (\_SB.MEMH.Sn, Arg1) } ... } */
static void put_slot_notifier(Builder *b)
{
    Blob *aml = &b->tables;
    static const uint8_t path[] = {'\\', 0x2f, 3, '_', 'S', 'B', '_', 'M', 'E', 'M', 'H'};
    size_t start;

    put_number(aml, 0x14, 1); /* Method */
    start = aml->size;
    put_number(aml, 0, 4); /* its length */
    put(aml, path, sizeof(path));
    put(aml, "TELL", 4);
    put_number(aml, 2, 1); /* arguments */
    for (unsigned slot = 0; slot < b->machine->slots; slot++) {
        char name[4];

        slot_name(name, slot);
        put(aml, "\xa0\x17\x93\x68\x0b", 5); /* If, 23 bytes, LEqual, Arg0, a word */
        put_number(aml, slot, 2);
        put_number(aml, 0x86, 1); /* Notify */
        put(aml, path, sizeof(path));
        put(aml, name, 4);
        put_number(aml, 0x69, 1); /* Arg1 */
    }
    /* A length in 4 bytes: bits 7 and 6 of the first say so, bits 3 to 0 are the lowest. */
    size_t length = aml->size - start;
    set_number(aml, start, 0xc0 | (length & 15) | length >> 4 << 8, 4);
}

static size_t put_ssdt(Builder *b)
{
    size_t start = begin_compiled(b, "SSDT", memory_aml, sizeof(memory_aml));

    set_name(&b->tables, start, "SLTS", b->machine->slots, 2);
    put_slot_devices(b);
    put_slot_notifier(b);
    return end_table(b, start);
}

static size_t put_fadt(Builder *b, size_t facs, size_t dsdt)
{
    Blob *t = &b->tables;
    size_t start = begin_table(b, "FACP", 3);

    put_table_pointer(b, facs);
    put_table_pointer(b, dsdt);
    put_number(t, 0, 1);
    put_number(t, 0, 1); /* profile: unspecified */
    put_number(t, SCI_IRQ, 2);
    put_number(t, SMI_PORT, 4);
    put_number(t, SMI_ACPI_ON, 1);
    put_number(t, SMI_ACPI_OFF, 1);
    put_number(t, 0, 2);           /* no S4BIOS, no P states */
    put_number(t, PM_PORT, 4);     /* PM1a events */
    put_number(t, 0, 4);           /* PM1b events */
    put_number(t, PM_PORT + 4, 4); /* PM1a control */
    put_number(t, 0, 4);           /* PM1b control */
    put_number(t, 0, 4);           /* PM2 control */
    put_number(t, PM_PORT + 8, 4); /* timer */
    put_number(t, GPE_PORT, 4);
    put_number(t, 0, 4);     /* GPE1 */
    put_number(t, 4, 1);     /* lengths: PM1 events */
    put_number(t, 2, 1);     /* PM1 control */
    put_number(t, 0, 1);     /* PM2 control */
    put_number(t, 4, 1);     /* timer */
    put_number(t, 4, 1);     /* GPE0 */
    put_number(t, 0, 3);     /* GPE1, its base, _CST */
    put_number(t, 0xfff, 2); /* no C2 */
    put_number(t, 0xfff, 2); /* no C3 */
    put_number(t, 0, 8);     /* cache flushing, duty cycle, RTC alarms */
    put_number(t, 0x32, 1);  /* the century in CMOS */
    /* ISA devices and a keyboard controller; perhaps no MSIs */
    put_number(t, b->machine->kind->msi ? 0x3 : 0xb, 2);
    put_number(t, 0, 1);
    /* WBINVD works; all have C1; no buttons; RTC wakes not; the reset register */
    put_number(t, 1 << 0 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10, 4);
    put_number(t, 1 | 8 << 8 | 1 << 24, 4); /* it is a port of 8 bits, taken as a byte */
    put_number(t, RESET_PORT, 8);
    put_number(t, RESET_HARD, 1);
    put_text(t, "", 244 - 129, 0); /* 64-bit addresses: as above */
    return end_table(b, start);
}

/* ISA interrupt @irq is @gsi of the IOAPIC, with MPS INTI @flags. */
static void put_override(Blob *t, uint8_t irq, uint8_t gsi, uint16_t flags)
{
    put_number(t, 2, 1);
    put_number(t, 10, 1);
    put_number(t, 0, 1); /* ISA */
    put_number(t, irq, 1);
    put_number(t, gsi, 4);
    put_number(t, flags, 2);
}

static size_t put_madt(Builder *b)
{
    Blob *t = &b->tables;
    size_t start = begin_table(b, "APIC", 1);
    static const uint8_t pci_irqs[] = {5, 9, 10, 11};

    put_number(t, LOCAL_APIC_BASE, 4);
    put_number(t, 1, 4); /* there are 8259s, too */
    for (unsigned cpu = 0; cpu < b->machine->nr_cpus; cpu++) {
        put_number(t, 0, 1);
        put_number(t, 8, 1);
        put_number(t, cpu, 1);
        put_number(t, cpu, 1); /* APIC id */
        put_number(t, 1, 4);   /* enabled */
    }
    put_number(t, 1, 1); /* IOAPIC */
    put_number(t, 12, 1);
    put_number(t, 0, 2); /* id */
    put_number(t, IOAPIC_BASE, 4);
    put_number(t, 0, 4);      /* its first GSI */
    put_override(t, 0, 2, 0); /* the timer */
    for (size_t i = 0; i < sizeof(pci_irqs); i++) {
        put_override(t, pci_irqs[i], pci_irqs[i], 0xd); /* level, active high */
    }
    put_number(t, 4, 1); /* NMI: LINT1 of all */
    put_number(t, 6, 1);
    put_number(t, 0xff, 1);
    put_number(t, 0, 2);
    put_number(t, 1, 1);
    return end_table(b, start);
}

/* Returns where the RSDT is. */
static size_t put_tables(Builder *b)
{
    size_t facs = put_facs(b); /* first, since it has to be at a multiple of 64 */
    size_t dsdt = put_dsdt(b);
    size_t ssdt = b->machine->slots ? put_ssdt(b) : 0;
    size_t fadt = put_fadt(b, facs, dsdt);
    size_t madt = put_madt(b);
    size_t rsdt = begin_table(b, "RSDT", 1);

    put_table_pointer(b, fadt);
    put_table_pointer(b, madt);
    if (ssdt) {
        put_table_pointer(b, ssdt);
    }
    return end_table(b, rsdt);
}

int acpi_tables_add(Machine *m)
{
    Builder b = {.machine = m};
    Blob rsdp = {0};
    int err;

    allocate(&b.loader, RSDP_FILE, 16, ZONE_FSEG);
    allocate(&b.loader, TABLES_FILE, 64, ZONE_HIGH);
    size_t rsdt = put_tables(&b);
    put_text(&rsdp, "RSD PTR ", 8, 0);
    put_number(&rsdp, 0, 1); /* checksum */
    put_text(&rsdp, "MEMBUS", 6, ' ');
    put_number(&rsdp, 0, 1); /* revision */
    add_pointer(&b.loader, RSDP_FILE, rsdp.size);
    put_number(&rsdp, rsdt, 4);
    add_checksum(&b.loader, RSDP_FILE, 8, 0, rsdp.size);

    if (b.tables.failed || b.loader.failed || rsdp.failed) {
        err = error_set(NULL, ENOMEM, "no memory for ACPI tables");
    } else if ((err = fw_cfg_add_file(m->fw_cfg, RSDP_FILE, rsdp.data, rsdp.size)) == 0 &&
               (err = fw_cfg_add_file(m->fw_cfg, TABLES_FILE, b.tables.data, b.tables.size)) == 0) {
        err = fw_cfg_add_file(m->fw_cfg, LOADER_FILE, b.loader.data, b.loader.size);
    }
    free(rsdp.data);
    free(b.tables.data);
    free(b.loader.data);
    return err;
}
