/* SPDX-License-Identifier: MIT */
/*
 * The board: its memory and who is on it.
 *
 *      system
 *        ├─ ram-below-4g   0              alias of pc.ram
 *        ├─ ram-above-4g   4 GiB          alias of the rest of pc.ram
 *        ├─ device-memory  behind that    dimms (-m maxmem)
 *        └─ pci (-1)       everywhere     what devices answer
 *             ├─ pc.rom    0xc0000        RAM for option ROMs, read-only
 *             ├─ isa-bios  0xe0000        alias of the last 128 KiB of pc.bios
 *             └─ pc.bios   below 4 GiB    the firmware
 *
 * The host bridge (i440fx.c) puts PAM and SMRAM over it.
 */
#include "devices.h"
#include "machine_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)
#define FOUR_GIB (4 * GIB)

#define DEFAULT_RAM "128M"
#define DEFAULT_BIOS "/usr/share/seabios/bios-256k.bin"

/* Where RAM has to leave room for PCI: what QEMU's PC does with more than 3.5 GiB. */
#define MAX_BELOW_4G (FOUR_GIB - 512 * MIB)
#define SPLIT_AT (3 * GIB)
#define MAX_RAM (UINT64_C(1) << 46)

#define ISA_BIOS_SIZE (128 * KIB)
#define OPTION_ROM_BASE 0xc0000
#define OPTION_ROM_SIZE (128 * KIB)
#define MIN_BIOS_SIZE (64 * KIB)
#define MAX_BIOS_SIZE (16 * MIB)

/* ---- -m ------------------------------------------------------------------------------ */

/* A number of bytes; without a suffix, @unit times that. */
static bool parse_size(const char *text, size_t length, hwaddr unit, hwaddr *size)
{
    char copy[32], *end;

    if (length == 0 || length >= sizeof copy || text[0] < '0' || text[0] > '9') {
        return false;
    }
    memcpy(copy, text, length);
    copy[length] = '\0';
    errno = 0;
    unsigned long long number = strtoull(copy, &end, 0);
    static const char suffixes[] = "bkmgt";
    if (*end) {
        const char *suffix = strchr(suffixes, *end | 0x20);
        if (!suffix || end[1]) {
            return false;
        }
        unit = UINT64_C(1) << (10 * (suffix - suffixes));
    }
    return errno == 0 && !__builtin_mul_overflow(number, unit, size);
}

/* SIZE[,slots=N,maxmem=SIZE] */
int board_read_options(Machine *m, Error **errp)
{
    const char *text = m->options->memory ? m->options->memory : DEFAULT_RAM;
    hwaddr slots = 0;

    for (const char *at = text; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        size_t length = strcspn(at, ",");
        bool good;
        if (strncmp(at, "slots=", 6) == 0) {
            good = parse_size(at + 6, length - 6, 1, &slots) && slots <= MEMORY_DEVICES_MAX_SLOTS;
        } else if (strncmp(at, "maxmem=", 7) == 0) {
            good = parse_size(at + 7, length - 7, MIB, &m->maxmem);
        } else {
            const char *number = strncmp(at, "size=", 5) == 0 ? at + 5 : at;
            good =
                at == text && parse_size(number, length - (size_t)(number - at), MIB, &m->ram_size);
        }
        if (!good) {
            return error_set(errp, EINVAL, "-m %s: %.*s is not understood", text, (int)length, at);
        }
    }
    m->slots = (unsigned)slots;
    if (m->ram_size < MIB || m->ram_size > MAX_RAM || m->ram_size % (4 * KIB)) {
        return error_set(errp, EINVAL, "-m %s: RAM is 1 MiB to 64 TiB, in pages of 4 KiB", text);
    }
    if ((m->slots > 0) != (m->maxmem > 0) || (m->maxmem && m->maxmem <= m->ram_size) ||
        m->maxmem > MAX_RAM || m->maxmem % (4 * KIB)) {
        return error_set(errp, EINVAL,
                         "-m %s: slots= and maxmem= go together, maxmem above the RAM", text);
    }
    if (m->nr_cpus > 255) {
        return error_set(errp, EINVAL, "--smp %u: 255 CPUs at most", m->nr_cpus);
    }
    m->below_4g_size = m->ram_size < MAX_BELOW_4G ? m->ram_size : SPLIT_AT;
    m->above_4g_size = m->ram_size - m->below_4g_size;
    return 0;
}

/* ---- RAM ----------------------------------------------------------------------------- */

/*
 * pc.ram, as --memory-backend says. By itself it is anonymous memory that the host gives page by
 * page as the guest touches it, so that a large guest starts at once.
 */
static int make_ram(Machine *m, Error **errp)
{
    if (m->options->memory_backend) {
        m->ram_backend = host_memory_backend_create(m->ms, m->options->memory_backend, errp);
    } else {
        HostMemoryConfig config = HOST_MEMORY_CONFIG_INIT;
        config.id = "pc.ram";
        config.size = m->ram_size;
        config.reserve = false;
        m->ram_backend = host_memory_backend_create_config(m->ms, &config, errp);
    }
    if (!m->ram_backend) {
        return -EINVAL;
    }
    m->ram = host_memory_backend_get_memory(m->ram_backend);
    if (memory_region_size(m->ram) != m->ram_size) {
        return error_set(
            errp, EINVAL, "--memory-backend: it has %llu bytes, the guest's RAM (-m) %llu",
            (unsigned long long)memory_region_size(m->ram), (unsigned long long)m->ram_size);
    }
    return host_memory_backend_claim(m->ram_backend, "the board", errp);
}

static int map_ram(Machine *m)
{
    MemoryOwner *board = memory_system_owner(m->ms);
    MemoryRegion *system = get_system_memory(m->ms);
    int result;

    if ((result = memory_region_init_alias(&m->ram_below_4g, board, "ram-below-4g", m->ram, 0,
                                           m->below_4g_size)) < 0 ||
        (result = memory_region_add_subregion(system, 0, &m->ram_below_4g)) < 0 ||
        m->above_4g_size == 0) {
        return result;
    }
    result = memory_region_init_alias(&m->ram_above_4g, board, "ram-above-4g", m->ram,
                                      m->below_4g_size, m->above_4g_size);
    return result < 0 ? result : memory_region_add_subregion(system, FOUR_GIB, &m->ram_above_4g);
}

static int make_device_memory(Machine *m, Error **errp)
{
    if (m->maxmem == 0) {
        return 0;
    }
    hwaddr base = (FOUR_GIB + m->above_4g_size + GIB - 1) & ~(GIB - 1);
    return memory_devices_init(m->ms, base, m->maxmem - m->ram_size, m->slots, errp);
}

/* ---- ROM ----------------------------------------------------------------------------- */

/* The whole of @path into @mr, at the end of it. */
static int load_firmware(int fd, const char *path, MemoryRegion *mr, size_t size, Error **errp)
{
    uint8_t *at = memory_region_get_ram_ptr(mr);

    while (size > 0) {
        ssize_t count = read(fd, at, size);
        if (count <= 0) {
            return error_set(errp, count < 0 ? errno : EIO, "%s: %s", path,
                             count < 0 ? strerror(errno) : "shorter than it was");
        }
        at += count;
        size -= (size_t)count;
    }
    return 0;
}

static int make_bios(Machine *m, int fd, const char *path, Error **errp)
{
    MemoryOwner *board = memory_system_owner(m->ms);
    struct stat st;
    int result;

    if (fstat(fd, &st) < 0) {
        return error_set(errp, errno, "%s: %m", path);
    }
    hwaddr size = (hwaddr)st.st_size;
    if (size < MIN_BIOS_SIZE || size > MAX_BIOS_SIZE || size % MIN_BIOS_SIZE) {
        return error_set(errp, EINVAL,
                         "%s: %llu bytes; firmware is a multiple of 64 KiB, 16 MiB "
                         "at most",
                         path, (unsigned long long)size);
    }
    hwaddr isa_size = size < ISA_BIOS_SIZE ? size : ISA_BIOS_SIZE;
    if ((result = memory_region_init_rom(&m->bios, board, "pc.bios", size, errp)) < 0 ||
        (result = load_firmware(fd, path, &m->bios, (size_t)size, errp)) < 0 ||
        (result = memory_region_add_subregion(&m->pci_memory, FOUR_GIB - size, &m->bios)) < 0 ||
        (result = memory_region_init_alias(&m->isa_bios, board, "isa-bios", &m->bios,
                                           size - isa_size, isa_size)) < 0 ||
        (result = memory_region_set_readonly(&m->isa_bios, true)) < 0) {
        return result;
    }
    return memory_region_add_subregion_overlap(&m->pci_memory, MIB - isa_size, &m->isa_bios, 1);
}

static int load_bios(Machine *m, Error **errp)
{
    const char *path = m->options->bios ? m->options->bios : DEFAULT_BIOS;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return error_set(errp, errno, "%s: %m%s", path,
                         m->options->bios ? "" : " (the package seabios has it)");
    }
    int result = make_bios(m, fd, path, errp);
    close(fd);
    return result;
}

static int make_rom(Machine *m, Error **errp)
{
    MemoryOwner *board = memory_system_owner(m->ms);
    int result = memory_region_init_rom(&m->option_rom, board, "pc.rom", OPTION_ROM_SIZE, errp);

    if (result == 0) {
        result =
            memory_region_add_subregion_overlap(&m->pci_memory, OPTION_ROM_BASE, &m->option_rom, 1);
    }
    return result < 0 ? result : load_bios(m, errp);
}

/* pc_memory_init */
static int make_memory(Machine *m, Error **errp)
{
    MemoryOwner *board = memory_system_owner(m->ms);
    int result;

    if ((result = make_ram(m, errp)) < 0 || (result = map_ram(m)) < 0 ||
        (result = make_device_memory(m, errp)) < 0 ||
        (result = memory_region_init(&m->pci_memory, board, "pci", UINT64_MAX)) < 0 ||
        (result = memory_region_add_subregion_overlap(get_system_memory(m->ms), 0, &m->pci_memory,
                                                      -1)) < 0) {
        return result;
    }
    return make_rom(m, errp);
}

/* ---- Devices ------------------------------------------------------------------------- */

static int make_serial(Machine *m)
{
    m->serial = chardev_open(m, m->options->serial ? m->options->serial : "stdio", NULL);
    return m->serial ? uart_create(m, m->serial, 0x3f8, 4) : -EINVAL;
}

static int make_debugcon(Machine *m)
{
    return m->options->debugcon ? debugcon_create(m, m->options->debugcon) : 0;
}

/* FILE[,readonly] */
static int make_disk(Machine *m)
{
    static const char readonly[] = ",readonly";
    const char *text = m->options->disk;

    if (!text) {
        return 0;
    }
    size_t length = strlen(text), suffix = sizeof readonly - 1;
    bool is_readonly = length > suffix && strcmp(text + length - suffix, readonly) == 0;
    char *file = strndup(text, is_readonly ? length - suffix : length);
    int result =
        file ? virtio_blk_create(m, file, is_readonly) : error_set(NULL, ENOMEM, "memory is short");
    free(file);
    return result;
}

/* A CPU that has interrupt controllers of its own has a timer, too. */
static int make_pic(Machine *m)
{
    return m->kind->set_irq ? 0 : pic_create(m);
}

static int make_pit(Machine *m)
{
    return m->kind->set_irq ? 0 : pit_create(m);
}

/* The timer before the PIC: its reset raises its output, which is to be no interrupt. */
static int make_devices(Machine *m, Error **errp)
{
    static int (*const makers[])(Machine * m) = {
        i440fx_create, piix3_create,  make_pit,          make_pic,        apic_create,
        rtc_create,    make_serial,   make_debugcon,     i8042_create,    port92_create,
        ports_create,  fw_cfg_create, vga_create,        piix4_pm_create, make_disk,
        acpi_create,   linux_create,  firmware_describe,
    };

    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        int result = makers[i](m);
        if (result < 0) {
            return error_set(errp, -result, "%s", membus_last_error());
        }
    }
    return 0;
}

int board_create(Machine *m, Error **errp)
{
    int result = make_memory(m, errp);

    return result < 0 ? result : make_devices(m, errp);
}

/* ---- The end ------------------------------------------------------------------------- */

static bool remove_dimm(MemoryDeviceState *md, void *opaque)
{
    *(MemoryDeviceState **)opaque = md;
    return true;
}

static bool remove_backend(HostMemoryBackend *backend, void *opaque)
{
    (void)opaque;
    host_memory_backend_destroy(backend, NULL);
    return false;
}

void board_dismantle(Machine *m)
{
    MemoryDeviceState *md;

    devices_end(m);
    chardev_close(m->serial);
    m->serial = NULL;
    while (memory_devices_for_each(m->ms, remove_dimm, &md) && memory_device_del(md, NULL) == 0) {
    }
    MemoryRegion *regions[] = {&m->isa_bios,     &m->bios,         &m->option_rom,
                               &m->ram_below_4g, &m->ram_above_4g, &m->pci_memory};
    for (size_t i = 0; i < sizeof regions / sizeof *regions; i++) {
        region_unmap(regions[i]);
    }
}

/* Aliases keep what they look at; nobody looks at them any more. */
void board_destroy(Machine *m)
{
    MemoryRegion *aliases[] = {&m->isa_bios, &m->ram_below_4g, &m->ram_above_4g};

    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        if (memory_region_alias_target(aliases[i])) {
            memory_region_finalize(aliases[i]);
        }
    }
    memory_devices_finalize(m->ms, NULL);
    if (m->ram_backend) {
        host_memory_backend_release(m->ram_backend);
    }
    host_memory_backend_for_each(m->ms, remove_backend, NULL);
}
