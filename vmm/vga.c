/* SPDX-License-Identifier: MIT */
/* Standard VGA: its place on the PCI bus, its ports and windows, its ROM. */
#include "vga.h"

#include "devices.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define VGABIOS "/usr/share/seabios/vgabios-stdvga.bin"
#define MAX_ROM_SIZE (1U << 20)

/* ---- Ports ----------------------------------------------------------------------------- */

static uint64_t ports_read(void *opaque, hwaddr addr, unsigned size)
{
    VgaPorts *ports = opaque;

    (void)size;
    return vga_port_read(ports->vga, (uint16_t)(ports->first + addr));
}

static void ports_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    VgaPorts *ports = opaque;

    (void)size;
    vga_port_write(ports->vga, (uint16_t)(ports->first + addr), (uint8_t)data);
}

static const MemoryRegionOps ports_ops = {
    .read = ports_read,
    .write = ports_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

/* 0x1ce is the index, 0x1cf the data; also 0x1d0, for those who cannot do odd ports. */
static uint64_t vbe_read(void *opaque, hwaddr addr, unsigned size)
{
    Vga *vga = opaque;

    (void)size;
    return addr == 0 ? vga->regs.dispi_index : vga_dispi_read(vga, vga->regs.dispi_index);
}

static void vbe_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    Vga *vga = opaque;

    (void)size;
    if (addr == 0) {
        vga->regs.dispi_index = (uint16_t)data;
    } else if (addr < 3) {
        vga_dispi_write(vga, vga->regs.dispi_index, (uint16_t)data);
    }
}

static const MemoryRegionOps vbe_ops = {
    .read = vbe_read,
    .write = vbe_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.max_access_size = 2, .unaligned = true},
    .impl = {.max_access_size = 2, .unaligned = true},
};

/* ---- BAR 2 ----------------------------------------------------------------------------- */

static uint64_t remapped_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)size;
    return vga_port_read(opaque, (uint16_t)(0x3c0 + addr));
}

static void remapped_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)size;
    vga_port_write(opaque, (uint16_t)(0x3c0 + addr), (uint8_t)data);
}

static const MemoryRegionOps remapped_ops = {
    .read = remapped_read,
    .write = remapped_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl.max_access_size = 1,
};

static uint64_t dispi_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)size;
    return vga_dispi_read(opaque, (unsigned)(addr / 2));
}

static void dispi_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)size;
    vga_dispi_write(opaque, (unsigned)(addr / 2), (uint16_t)data);
}

static const MemoryRegionOps dispi_ops = {
    .read = dispi_read,
    .write = dispi_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl = {.min_access_size = 2, .max_access_size = 2},
};

/* How large this area is, and the byte order of the frame buffer: little, and it stays so. */
static uint64_t extended_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)size;
    return addr == 0 ? 8 : 0x1e1e1e1e;
}

static const MemoryRegionOps extended_ops = {
    .read = extended_read,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .impl = {.min_access_size = 4, .max_access_size = 4},
};

static int make_mmio(Vga *vga)
{
    const struct {
        MemoryRegion *mr;
        const MemoryRegionOps *ops; /* NULL: keeps the range, nothing answers */
        const char *name;
        hwaddr at, size;
    } parts[] = {
        {&vga->edid, NULL, "edid", 0, 0x180}, /* no monitor is plugged in */
        {&vga->remapped, &remapped_ops, "vga ioports remapped", 0x400, 0x20},
        {&vga->dispi, &dispi_ops, "bochs dispi interface", 0x500, 2 * DISPI_COUNT},
        {&vga->extended, &extended_ops, "qemu extended regs", 0x600, 8},
    };
    Device *device = &vga->pci.device;
    int result = memory_region_init_io(&vga->mmio, device->owner, NULL, NULL, "vga.mmio", 0x1000);

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && !result; i++) {
        result = memory_region_init_io(parts[i].mr, device->owner, parts[i].ops, vga, parts[i].name,
                                       parts[i].size);
        if (!result) {
            result = device_map(device, &vga->mmio, parts[i].at, parts[i].mr, 0);
        }
    }
    return result ? result : pci_register_bar(&vga->pci, 2, 0, &vga->mmio);
}

/* ---- Memory ---------------------------------------------------------------------------- */

static int make_vram(Vga *vga)
{
    Device *device = &vga->pci.device;
    int result = memory_region_init_ram(&vga->vram, device->owner, "vga.vram", VGA_VRAM_SIZE, NULL);

    if (!result) {
        vga->bytes = memory_region_get_ram_ptr(&vga->vram);
        result = pci_register_bar(&vga->pci, 0, PCI_BASE_ADDRESS_MEM_PREFETCH, &vga->vram);
    }
    if (!result) {
        result = memory_region_init_io(&vga->lowmem, device->owner, &vga_lowmem_ops, vga,
                                       "vga-lowmem", 0x20000);
    }
    return result ? result : device_map(device, vga->pci.bus->memory, 0xa0000, &vga->lowmem, 1);
}

/* A display without a ROM is one that the firmware leaves alone. */
static int make_rom(Vga *vga)
{
    int fd = open(VGABIOS, O_RDONLY | O_CLOEXEC);
    struct stat st;
    hwaddr size = 0x1000;
    int result = 0;

    if (fd < 0) {
        return 0;
    }
    if (fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= MAX_ROM_SIZE) {
        while (size < (hwaddr)st.st_size) {
            size *= 2;
        }
        result = memory_region_init_rom(&vga->rom, vga->pci.device.owner, "vga.rom", size, NULL);
        if (!result &&
            read(fd, memory_region_get_ram_ptr(&vga->rom), (size_t)st.st_size) == st.st_size) {
            result = pci_register_bar(&vga->pci, PCI_ROM_BAR, 0, &vga->rom);
        }
    }
    close(fd);
    return result;
}

/* ---- Making it ------------------------------------------------------------------------- */

static void reset(Device *device)
{
    vga_regs_reset((Vga *)device);
}

static void unrealize(Device *device)
{
    vga_screen_end((Vga *)device);
    pci_unrealize(device);
}

static int make_ports(Vga *vga)
{
    static const struct {
        uint16_t first, count;
    } ranges[] = {{0x3b4, 2}, {0x3ba, 1}, {0x3c0, 16}, {0x3d4, 2}, {0x3da, 1}};
    Device *device = &vga->pci.device;
    int result = 0;

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]) && !result; i++) {
        VgaPorts *ports = &vga->ports[i];
        ports->vga = vga;
        ports->first = ranges[i].first;
        result = memory_region_init_io(&ports->mr, device->owner, &ports_ops, ports, "vga",
                                       ranges[i].count);
        if (!result) {
            result =
                device_map(device, get_system_io(device->machine->ms), ports->first, &ports->mr, 0);
        }
    }
    return result ? result : device_map_ports(device, &vga->vbe, &vbe_ops, "vbe", 0x1ce, 4);
}

int vga_create(Machine *m)
{
    Vga *vga = pci_create(m, sizeof(*vga), "VGA", PCI_DEVFN(2, 0), 0x1234, 0x1111, 2, PCI_CLASS_VGA,
                          reset);
    int result;

    if (!vga) {
        return -ENOMEM;
    }
    vga->pci.device.unrealize = unrealize;
    if ((result = make_vram(vga)) < 0 || (result = make_mmio(vga)) < 0 ||
        (result = make_rom(vga)) < 0 || (result = make_ports(vga)) < 0 ||
        (result = pci_realize(&vga->pci)) < 0) {
        return result;
    }
    vga_regs_reset(vga);
    m->vga = vga;
    return 0;
}
