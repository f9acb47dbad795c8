/* SPDX-License-Identifier: MIT */
/*
 * soak_board [ROUNDS [EDITS [SEED]]]: a guest that knows the PC's devices and means them no good.
 * It writes at random to configuration space, PAM and SMRAM, moves BARs over RAM, ROM and each
 * other, gives the disk rings that make no sense, loops of descriptors, and buffers in devices and
 * in its own registers, and does the same to fw_cfg's DMA and to VGA.
 *
 * After every round of EDITS each address space's view has to be what rendering its tree afresh
 * gives, ROM to be as it was, and the disk as long as it was. RAM lies between pages that nobody
 * may touch; run under AddressSanitizer for all else. Round number i has the seed SEED + i on a new
 * board each 20 rounds, so a failure is seen again with `soak_board 20 EDITS seed` from a
 * multiple of 20 on. Exit 0: all held; 1: one did not; 2: bad arguments.
 */
#include "tests/vmm/support/blk_driver.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_SIZE (1 << 20)
#define ROUNDS_A_BOARD 20

static uint64_t random_state;

static uint64_t next_random(void)
{
    uint64_t x = random_state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static unsigned below(unsigned n)
{
    return (unsigned)(next_random() % n);
}

/* ---- What is interesting --------------------------------------------------------------- */

static const hwaddr anchors[] = {0,
                                 0xa0000,
                                 0xb8000,
                                 0xc0000,
                                 0xe0000,
                                 0xf0000,
                                 DESC,
                                 AVAIL,
                                 USED,
                                 TABLE,
                                 HEADER,
                                 BUFFERS,
                                 0x80000000,
                                 0x80002000,
                                 0x80003000,
                                 0x90000000,
                                 0x90000800,
                                 0xa0000000,
                                 0xfee00000,
                                 0xfec00000,
                                 0xfffc0000,
                                 0xffffc000,
                                 0x100000000,
                                 BOARD_RAM - 16,
                                 0xff000000,
                                 0xfe000000,
                                 0xd0000,
                                 0xec000,
                                 UINT64_MAX - 0xffff};

static hwaddr some_address(void)
{
    hwaddr addr = anchors[below(sizeof(anchors) / sizeof(anchors[0]))];

    switch (below(4)) {
    case 0:
        return addr + below(0x1000);
    case 1:
        return addr + 8 * (hwaddr)below(64);
    case 2:
        return below(50) ? addr : next_random();
    default:
        return addr;
    }
}

static uint32_t some_function(void)
{
    static const uint32_t functions[] = {AT(0, 0, 0), AT(0, 1, 0), AT(0, 2, 0),
                                         AT(0, 3, 0), AT(1, 3, 0), AT(0, 9, 0)};

    return below(30) ? functions[below(6)] : (uint32_t)next_random() & 0xffff00;
}

static unsigned some_size(void)
{
    return 1U << below(4);
}

/* ---- What it does ---------------------------------------------------------------------- */

static void write_config(PciBoard *b)
{
    uint32_t at = some_function(), value = (uint32_t)some_address();
    uint64_t wide = next_random();
    unsigned reg = below(256);

    switch (below(6)) {
    case 0: /* decoding, on mostly */
        config_writew(b, at, 4, below(8) ? 7 : below(0x10000));
        break;
    case 1:
        config_writel(b, at, 0x10 + 4 * below(6), below(6) ? value : UINT32_MAX);
        break;
    case 2:
        config_writel(b, AT(0, 2, 0), 0x30, value | 1);
        break;
    case 3: /* the bridge */
        config_writel(b, at, 0x18 + 4 * below(6), below(2) ? (uint32_t)next_random() : 0x00010100);
        break;
    case 4:
        config_writeb(b, at, reg, below(256));
        break;
    default:
        config_select(b, at, reg);
        address_space_write(memory_system_io(b->m.ms), 0xcfc + below(4), ATTRS, &wide, some_size());
    }
    config_readl(b, at, reg);
}

static void write_chipset(PciBoard *b)
{
    if (below(3)) {
        config_writeb(b, AT(0, 0, 0), 0x59 + below(7), below(256));
    } else {
        config_writeb(b, AT(0, 0, 0), 0x72, below(8) ? below(256) & ~0x10U : below(256));
    }
    config_writeb(b, AT(0, 1, 0), 0x60 + below(4), below(256));
}

static void use_ports(PciBoard *b)
{
    static const uint16_t first[] = {0x3b0, 0x3c0, 0x3d0, 0x1ce, 0xcf8, 0x510, 0x514};
    uint16_t port = (uint16_t)(first[below(7)] + below(16));
    uint64_t value = next_random();

    if (port == 0x514 && below(2)) { /* fw_cfg's DMA, big-endian */
        value = __builtin_bswap64(some_address());
    }
    address_space_write(memory_system_io(b->m.ms), port, ATTRS, &value, some_size());
    address_space_read(memory_system_io(b->m.ms), port, ATTRS, &value, some_size());
}

static void use_fw_cfg(PciBoard *b)
{
    hwaddr request = HEADER + 0x100;
    uint32_t control = (uint32_t)next_random() & 0x1f;

    guest_store(b, request, 4, __builtin_bswap32(below(64) << 16 | control));
    guest_store(b, request + 4, 4, __builtin_bswap32((uint32_t)(next_random() >> below(32))));
    guest_store(b, request + 8, 8, __builtin_bswap64(some_address()));
    outl(b, 0x514, 0);
    outl(b, 0x518, __builtin_bswap32((uint32_t)request));
}

static void use_memory(PciBoard *b)
{
    static uint8_t bytes[4096];
    AddressSpace *memory = memory_system_memory(b->m.ms);
    hwaddr addr = some_address();

    switch (below(4)) {
    case 0:
        guest_store(b, addr, some_size(), next_random());
        break;
    case 1:
        guest_load(b, addr, some_size());
        break;
    case 2:
        address_space_read(memory, addr, ATTRS, bytes, 1 + below(sizeof(bytes) - 1));
        break;
    default:
        address_space_write(memory, addr, ATTRS, bytes, 1 + below(sizeof(bytes) - 1));
    }
}

/* A chain that is mostly right, with something wrong in it at times. */
static void write_rings(BlkDriver *d)
{
    hwaddr table = below(4) ? DESC : TABLE;
    unsigned count = 1 + below(5);

    guest_store(d->b, HEADER, 4, below(8) ? below(2) : below(16));
    guest_store(d->b, HEADER + 8, 8, below(4) ? below(64) : next_random() >> below(64));
    for (unsigned i = 0; i < count; i++) {
        bool last = i == count - 1;
        unsigned flags = last ? 0 : VRING_DESC_F_NEXT;
        hwaddr addr = i == 0     ? HEADER
                      : last     ? STATUS
                      : below(3) ? BUFFERS + 4096 * i
                                 : some_address();
        uint32_t len = i == 0 ? 16 : last ? 1 : 512 * (1 + below(8));
        flags |= i > 0 && (last || below(2)) ? VRING_DESC_F_WRITE : 0;
        if (!below(20)) {
            addr = some_address();
            len = (uint32_t)next_random() >> below(32);
            flags = below(8);
        }
        blk_driver_descriptor(d, table, i, addr, len, flags, below(40) ? i + 1 : below(300));
    }
    unsigned head = 0;
    if (table == TABLE) {
        head = 7;
        blk_driver_descriptor(d, DESC, head, TABLE, 16 * count, VRING_DESC_F_INDIRECT, 0);
    }
    if (!below(30)) {
        d->next_avail = (uint16_t)next_random();
        head = below(300);
    }
    blk_driver_kick(d, head);
}

static void use_disk(BlkDriver *d)
{
    uint32_t at = below(8) ? d->at : some_function();

    switch (below(12)) {
    case 0:
    case 1:
        blk_driver_find(d, d->b, AT(below(2), 3, 0));
        blk_driver_start(d, next_random() & 0x30000220);
        break;
    case 2:
        guest_store(d->b, d->common + below(0x40), some_size(),
                    below(2) ? some_address() : next_random());
        break;
    case 3: /* the window in configuration space */
        config_writeb(d->b, at, 0x88, below(4) ? 4 : below(8));
        config_writel(d->b, at, 0x8c, below(4) ? below(0x40) + 0x1000 * below(4) : below(1 << 30));
        config_writel(d->b, at, 0x90, 1U << below(4));
        config_writel(d->b, at, 0x94, (uint32_t)next_random() >> below(32));
        break;
    case 4: /* interrupts to anywhere */
        guest_store(d->b, 0x90000000 + 16 * (hwaddr)below(2), 8, some_address());
        guest_store(d->b, 0x9000000c + 16 * (hwaddr)below(2), 4, below(2));
        config_writew(d->b, at, 0x9a, below(4) << 14);
        break;
    case 5:
        blk_driver_status(d);
        guest_load(d->b, d->isr, 1);
        break;
    default:
        write_rings(d);
    }
}

static void act(PciBoard *b, BlkDriver *d)
{
    switch (below(10)) {
    case 0:
        write_config(b);
        break;
    case 1:
        write_chipset(b);
        break;
    case 2:
        use_ports(b);
        break;
    case 3:
        use_memory(b);
        break;
    case 4:
        use_fw_cfg(b);
        break;
    case 5:
        if (!below(40)) {
            pci_board_reset(b);
        }
        pci_board_serve(b, 0);
        break;
    default:
        use_disk(d);
    }
}

/* ---- What has to hold ------------------------------------------------------------------ */

static bool differs(AddressSpace *as, void *opaque)
{
    FlatView *now = address_space_get_flatview(as), *afresh = address_space_render(as);
    bool wrong = !afresh || !flatview_equal(now, afresh);

    (void)opaque;
    if (wrong) {
        fprintf(stderr, "%s: the view is not what its tree shows\n", address_space_name(as));
    }
    flatview_unref(afresh);
    flatview_unref(now);
    return wrong;
}

static bool is_rom_written(const MemoryRegion *rom, size_t size)
{
    const uint8_t *bytes = memory_region_get_ram_ptr(rom);

    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            fprintf(stderr, "%s: written at %zx\n", memory_region_name(rom), i);
            return true;
        }
    }
    return false;
}

static bool holds(PciBoard *b, const char *disk)
{
    struct stat st;
    FILE *out = fopen("/dev/null", "w");

    pci_board_serve(b, 0);
    memory_system_lock(b->m.ms);
    if (out) {
        vga_text(b->m.vga, out);
        fclose(out);
    }
    bool wrong = memory_system_for_each_address_space(b->m.ms, differs, NULL);
    memory_system_unlock(b->m.ms);
    pci_board_run(b, 50000000);
    wrong |= is_rom_written(&b->m.bios, BIOS_SIZE) || is_rom_written(&b->m.option_rom, 0x20000);
    if (stat(disk, &st) < 0 || st.st_size != DISK_SIZE) {
        fprintf(stderr, "the disk is not as long as it was\n");
        wrong = true;
    }
    return !wrong;
}

/* ---- Rounds ---------------------------------------------------------------------------- */

static PciBoard *start(BlkDriver *d, const char *disk)
{
    PciBoard *b = pci_board_start(disk, false, below(2));

    memory_system_lock(b->m.ms);
    int result = fw_cfg_create(&b->m);
    memory_system_unlock(b->m.ms);
    if (result < 0) {
        abort();
    }
    blk_driver_find(d, b, AT(0, 3, 0));
    return b;
}

static bool run(uint64_t rounds, uint64_t edits, uint64_t seed, const char *disk)
{
    PciBoard *b = NULL;
    BlkDriver d;
    bool good = true;

    for (uint64_t i = 0; i < rounds && good; i++) {
        random_state = seed + i;
        if (i % ROUNDS_A_BOARD == 0) {
            if (b) {
                pci_board_end(b);
            }
            b = start(&d, disk);
        }
        for (uint64_t j = 0; j < edits; j++) {
            act(b, &d);
        }
        good = holds(b, disk);
        if (!good) {
            fprintf(stderr, "round %" PRIu64 " from seed %" PRIu64 "\n", i, seed);
        } else if ((i + 1) % 1000 == 0) {
            printf("%" PRIu64 " rounds x %" PRIu64 " edits held\n", i + 1, edits);
            fflush(stdout);
        }
    }
    if (b) {
        pci_board_end(b);
    }
    return good;
}

static bool parse(const char *text, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(text, &end, 0);
    return !errno && end != text && !*end && text[0] != '-';
}

int main(int argc, char **argv)
{
    uint64_t args[3] = {1000, 100, 1}; /* rounds, edits, seed */
    char disk[BOARD_DISK_PATH];

    for (int i = 1; i < argc; i++) {
        if (i > 3 || !parse(argv[i], &args[i - 1])) {
            fprintf(stderr, "usage: soak_board [ROUNDS [EDITS [SEED]]]: bad argument '%s'\n",
                    argv[i]);
            return 2;
        }
    }
    int fd = pci_board_make_disk(disk, DISK_SIZE);
    bool good = run(args[0], args[1], args[2], disk);
    close(fd);
    if (good) {
        printf("ok: %" PRIu64 " rounds x %" PRIu64 " edits from seed %" PRIu64 "\n", args[0],
               args[1], args[2]);
    }
    return good ? 0 : 1;
}
