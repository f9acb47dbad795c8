/* SPDX-License-Identifier: MIT */
/* The virtio disk, driven as a guest does and compared with the file; and driven as none should. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/blk_driver.h"

#define DISK AT(0, 3, 0)
#define SECTORS 4096U
#define FEATURE(name) (UINT64_C(1) << (name))

static int make_disk(void **state)
{
    uint32_t words[128];

    board_disk_setup(state);
    for (unsigned i = 0; i < SECTORS; i++) {
        for (unsigned j = 0; j < 128; j++) {
            words[j] = i * 1000003 + j;
        }
        assert_int_equal(pwrite(board_disk_fd, words, 512, 512 * i), 512);
    }
    return 0;
}

static uint8_t *ram(PciBoard *b, hwaddr addr)
{
    return (uint8_t *)memory_region_get_ram_ptr(&b->ram) + addr;
}

/* ---- What it is for -------------------------------------------------------------------- */

static void the_configuration_is_right(void **state)
{
    PciBoard *b = pci_board_start(board_disk, true, false);
    BlkDriver d;

    (void)state;
    blk_driver_find(&d, b, DISK);
    assert_int_equal(guest_load(b, d.device, 8), SECTORS);
    assert_int_equal(guest_load(b, d.device + 12, 4), 254);
    assert_int_equal(guest_load(b, d.device + 20, 4), 512);
    assert_int_equal(guest_load(b, d.common + 0x12, 2), 1);   /* queues */
    assert_int_equal(guest_load(b, d.common + 0x18, 2), 256); /* size */
    assert_int_equal(guest_load(b, d.common + 0x10, 2), 0xffff);
    guest_store(b, d.common, 4, 0);
    uint64_t low = guest_load(b, d.common + 4, 4);
    guest_store(b, d.common, 4, 1);
    assert_int_equal(guest_load(b, d.common + 4, 4), 1);
    assert_true(low & FEATURE(VIRTIO_BLK_F_RO));
    guest_store(b, d.common, 4, 2);
    assert_int_equal(guest_load(b, d.common + 4, 4), 0);
    assert_false(blk_driver_start(&d, FEATURE(VIRTIO_BLK_F_MQ))); /* not offered */
    pci_board_end(b);
}

/* Random transfers, compared with a model of the disk. */
static void random_transfers(uint64_t features, bool indirect, bool bridge)
{
    PciBoard *b = pci_board_start(board_disk, false, bridge);
    uint8_t *model = malloc(SECTORS * 512);
    uint32_t at = bridge ? AT(1, 3, 0) : DISK;
    BlkDriver d;

    if (bridge) {
        config_writel(b, DISK, 0x18, 0x00010100);
        config_writel(b, DISK, 0x20, 0x90008000);
        config_writew(b, DISK, 4, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    }
    assert_int_equal(pread(board_disk_fd, model, SECTORS * 512, 0), SECTORS * 512);
    blk_driver_find(&d, b, at);
    assert_true(blk_driver_start(&d, features));
    srand(7);
    for (unsigned i = 0; i < 300; i++) {
        bool out = rand() % 3 == 0;
        unsigned count = 1 + (unsigned)rand() % 6, total = 0;
        uint32_t lens[6];
        for (unsigned j = 0; j < count; j++) { /* cut anywhere; whole sectors together */
            lens[j] = 1 + (uint32_t)rand() % 3000;
            total += lens[j];
        }
        lens[count - 1] += (512 - total % 512) % 512;
        total += (512 - total % 512) % 512;
        uint64_t sector = (uint64_t)rand() % (SECTORS - total / 512);
        uint8_t *where = model + sector * 512;
        hwaddr buffer = BUFFERS;
        for (unsigned j = 0; out && j < count; j++) {
            for (unsigned k = 0; k < lens[j]; k++) {
                where[k] = ram(b, buffer)[k] = (uint8_t)rand();
            }
            where += lens[j];
            buffer += lens[j] + 512;
        }
        assert_int_equal(blk_driver_request(&d, out ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, sector,
                                            lens, count, indirect),
                         VIRTIO_BLK_S_OK);
        for (unsigned j = 0; !out && j < count; j++) {
            assert_memory_equal(ram(b, buffer), where, lens[j]);
            where += lens[j];
            buffer += lens[j] + 512;
        }
    }
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false), 0);
    pci_board_end(b);
    uint8_t *now = malloc(SECTORS * 512);
    assert_int_equal(pread(board_disk_fd, now, SECTORS * 512, 0), SECTORS * 512);
    assert_memory_equal(model, now, SECTORS * 512);
    free(now);
    free(model);
}

static void transfers_are_those_of_the_file(void **state)
{
    (void)state;
    random_transfers(FEATURE(VIRTIO_BLK_F_FLUSH), false, false);
    random_transfers(0, false, false); /* write-through */
}

static void transfers_through_indirect_tables(void **state)
{
    (void)state;
    random_transfers(FEATURE(VIRTIO_BLK_F_FLUSH) | FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
                         FEATURE(VIRTIO_RING_F_EVENT_IDX),
                     true, false);
}

static void transfers_behind_a_bridge(void **state)
{
    (void)state;
    random_transfers(FEATURE(VIRTIO_BLK_F_FLUSH), false, true);
}

static void what_cannot_be_done_is_an_error(void **state)
{
    const uint32_t one[] = {512}, odd[] = {100}, twenty[] = {20}, two[] = {1024};
    PciBoard *b = pci_board_start(board_disk, true, false);
    BlkDriver d;

    (void)state;
    blk_driver_find(&d, b, DISK);
    assert_true(blk_driver_start(&d, FEATURE(VIRTIO_BLK_F_RO)));
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_OUT, 0, one, 1, false),
                     VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, 0, odd, 1, false), VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, SECTORS, one, 1, false),
                     VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, SECTORS - 1, two, 1, false),
                     VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, UINT64_MAX, one, 1, false),
                     VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, UINT64_MAX / 512 + 1, one, 1, false),
                     VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_driver_request(&d, 77, 0, one, 1, false), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_GET_ID, 0, twenty, 1, false),
                     VIRTIO_BLK_S_OK);
    assert_string_equal((char *)ram(b, BUFFERS), "membus-disk");
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, SECTORS - 1, one, 1, false),
                     VIRTIO_BLK_S_OK);
    assert_int_equal(blk_driver_status(&d), 0xf);
    pci_board_end(b);
}

/* The file cannot be written there: an error of the request, not of the device. */
static void a_full_disk_is_an_error(void **state)
{
    const uint32_t one[] = {512};
    struct rlimit before, limit;
    PciBoard *b = pci_board_start(board_disk, false, false);
    BlkDriver d;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    limit = (struct rlimit){1000 * 512, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    blk_driver_find(&d, b, DISK);
    assert_true(blk_driver_start(&d, 0));
    memcpy(ram(b, BUFFERS), (uint32_t[128]){0}, 512);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_OUT, 2000, one, 1, false),
                     VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_OUT, 10, one, 1, false), VIRTIO_BLK_S_OK);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_OUT, SECTORS, one, 1, false),
                     VIRTIO_BLK_S_IOERR);
    assert_int_equal(lseek(board_disk_fd, 0, SEEK_END), SECTORS * 512);
    pci_board_end(b);
}

/* ---- Interrupts ------------------------------------------------------------------------ */

static void completions_interrupt(void **state)
{
    const uint32_t one[] = {512};
    PciBoard *b = pci_board_start(board_disk, false, false);
    BlkDriver d;

    (void)state;
    config_writeb(b, AT(0, 1, 0), 0x62, 11);
    blk_driver_find(&d, b, DISK);
    assert_true(blk_driver_start(&d, 0));
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, 0, one, 1, false), 0);
    assert_true(b->irq[11]);
    assert_int_equal(guest_load(b, d.isr, 1), 1);
    assert_false(b->irq[11]);
    assert_int_equal(guest_load(b, d.isr, 1), 0);
    guest_store(b, AVAIL, 2, VRING_AVAIL_F_NO_INTERRUPT);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, 0, one, 1, false), 0);
    assert_false(b->irq[11]);
    guest_store(b, AVAIL, 2, 0);

    /* As messages: masked at first, then pending, then sent. */
    guest_store(b, 0x90000010, 8, 0xfee02000);
    guest_store(b, 0x90000018, 4, 0x1234);
    config_writew(b, DISK, 0x9a, 0x8000);
    guest_store(b, d.common + 0x1a, 2, 1);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, 0, one, 1, false), 0);
    assert_int_equal(b->nr_msis, 0);
    assert_int_equal(guest_load(b, 0x90000800, 4), 2);
    guest_store(b, 0x9000001c, 4, 0);
    assert_int_equal(b->nr_msis, 1);
    assert_int_equal(b->msi_addr, 0xfee02000);
    assert_int_equal(b->msi_data, 0x1234);
    assert_int_equal(guest_load(b, 0x90000800, 4), 0);
    config_writew(b, DISK, 0x9a, 0xc000); /* all masked */
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, 0, one, 1, false), 0);
    assert_int_equal(b->nr_msis, 1);
    config_writew(b, DISK, 0x9a, 0x8000);
    assert_int_equal(b->nr_msis, 2);
    assert_false(b->irq[11]);
    pci_board_end(b);
}

static void the_window_in_configuration_space(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, false);

    (void)state;
    config_writeb(b, DISK, 0x88, 4);
    config_writel(b, DISK, 0x8c, 0x2000); /* capacity */
    config_writel(b, DISK, 0x90, 4);
    assert_int_equal(config_readl(b, DISK, 0x94), SECTORS);
    config_writel(b, DISK, 0x8c, 0x14); /* status */
    config_writel(b, DISK, 0x90, 1);
    config_writel(b, DISK, 0x94, 1);
    assert_int_equal(config_readl(b, DISK, 0x94), 1);
    config_writel(b, DISK, 0x8c, 0xfffffffc);
    assert_int_equal(config_readl(b, DISK, 0x94), 1); /* nothing is there: the register */
    config_writeb(b, DISK, 0x88, 1);
    config_writel(b, DISK, 0x94, 0);
    pci_board_end(b);
}

/* ---- Drivers that make no sense -------------------------------------------------------- */

static BlkDriver *hostile_start(uint64_t features)
{
    BlkDriver *d = calloc(1, sizeof(*d));

    blk_driver_find(d, pci_board_start(board_disk, false, false), DISK);
    assert_true(blk_driver_start(d, features));
    return d;
}

/* It has to say so, take nothing more, and work again after a reset. */
static void hostile_end(BlkDriver *d)
{
    const uint32_t one[] = {512};
    uint32_t len;

    assert_int_equal(blk_driver_wait(d, &len), -1);
    assert_int_equal(blk_driver_status(d), 0x4f);
    guest_store(d->b, d->notify, 2, 0);
    assert_int_equal(pci_board_serve(d->b, 0), 0);
    guest_store(d->b, d->common + 0x14, 1, 0);
    assert_int_equal(blk_driver_status(d), 0);
    assert_true(blk_driver_start(d, 0));
    assert_int_equal(blk_driver_request(d, VIRTIO_BLK_T_IN, 0, one, 1, false), VIRTIO_BLK_S_OK);
    pci_board_end(d->b);
    free(d);
}

static void loops_end(void **state)
{
    BlkDriver *d = hostile_start(0);

    (void)state;
    blk_driver_descriptor(d, DESC, 0, HEADER, 16, VRING_DESC_F_NEXT, 1);
    blk_driver_descriptor(d, DESC, 1, HEADER, 16, VRING_DESC_F_NEXT, 0);
    blk_driver_kick(d, 0);
    hostile_end(d);
}

static void descriptors_are_inside_of_the_queue(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        BlkDriver *d = hostile_start(FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
        blk_driver_descriptor(d, DESC, 0, HEADER, 16, VRING_DESC_F_NEXT, QUEUE_SIZE);
        blk_driver_descriptor(d, DESC, 1, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
        blk_driver_descriptor(d, DESC, 2, UINT64_MAX - 3, 16, 0, 0);
        blk_driver_descriptor(d, TABLE, 0, HEADER, 16, VRING_DESC_F_NEXT, 2);
        blk_driver_kick(d, (const unsigned[]){0, 1, 2, QUEUE_SIZE}[i]);
        hostile_end(d);
    }
}

static void indirect_tables_are_checked(void **state)
{
    static const struct {
        hwaddr addr;
        uint32_t len;
        unsigned flags;
        bool negotiated;
    } tables[] = {
        {TABLE, 17, VRING_DESC_F_INDIRECT, true},
        {TABLE, 0, VRING_DESC_F_INDIRECT, true},
        {TABLE, 32, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, true},
        {TABLE, 32, VRING_DESC_F_INDIRECT, false},
        {0xfffffffffffffff0, 32, VRING_DESC_F_INDIRECT, true},
        {0x70000000, 32, VRING_DESC_F_INDIRECT, true}, /* nothing is there */
        {0x80000000, 32, VRING_DESC_F_INDIRECT, true}, /* the device itself */
        {DESC, 16, VRING_DESC_F_INDIRECT, true},       /* the descriptor itself */
        {TABLE, 0xfffffff0, VRING_DESC_F_INDIRECT, true},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        BlkDriver *d =
            hostile_start(tables[i].negotiated ? FEATURE(VIRTIO_RING_F_INDIRECT_DESC) : 0);
        blk_driver_descriptor(d, DESC, 0, tables[i].addr, tables[i].len, tables[i].flags, 0);
        for (unsigned j = 0; j < 300; j++) {
            blk_driver_descriptor(d, TABLE + 0x10000, j, HEADER, 16, VRING_DESC_F_NEXT, j + 1);
        }
        blk_driver_kick(d, 0);
        hostile_end(d);
    }
}

static void buffers_have_their_order(void **state)
{
    BlkDriver *d = hostile_start(0);

    (void)state;
    blk_driver_descriptor(d, DESC, 0, BUFFERS, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
    blk_driver_descriptor(d, DESC, 1, HEADER, 16, VRING_DESC_F_NEXT, 2);
    blk_driver_descriptor(d, DESC, 2, STATUS, 1, VRING_DESC_F_WRITE, 0);
    blk_driver_kick(d, 0);
    hostile_end(d);
    d = hostile_start(0);
    blk_driver_descriptor(d, DESC, 0, HEADER, 16, 0, 0); /* no status */
    blk_driver_kick(d, 0);
    hostile_end(d);
    d = hostile_start(0);
    blk_driver_descriptor(d, DESC, 0, HEADER, 15, VRING_DESC_F_NEXT, 1); /* half a header */
    blk_driver_descriptor(d, DESC, 1, STATUS, 1, VRING_DESC_F_WRITE, 0);
    blk_driver_kick(d, 0);
    hostile_end(d);
}

static void more_is_available_than_there_can_be(void **state)
{
    BlkDriver *d = hostile_start(0);

    (void)state;
    guest_store(d->b, AVAIL + 2, 2, QUEUE_SIZE + 1);
    guest_store(d->b, d->notify, 2, 0);
    hostile_end(d);
}

/* DMA to where no memory is, to devices, and to the disk's own registers. */
static void buffers_are_anywhere(void **state)
{
    static const hwaddr places[] = {0x70000000, 0xb8000,    0x80000014, 0x80003000,
                                    0x90000000, 0xfee00000, 0xfffff000, 0xffffffff00000000};

    (void)state;
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        BlkDriver *d = hostile_start(0);
        uint32_t len;
        guest_store(d->b, HEADER, 8, VIRTIO_BLK_T_IN);
        guest_store(d->b, HEADER + 8, 8, 0);
        guest_store(d->b, STATUS, 1, 0xee);
        blk_driver_descriptor(d, DESC, 0, HEADER, 16, VRING_DESC_F_NEXT, 1);
        blk_driver_descriptor(d, DESC, 1, places[i], 512, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
                              2);
        blk_driver_descriptor(d, DESC, 2, STATUS, 1, VRING_DESC_F_WRITE, 0);
        blk_driver_kick(d, 0);
        assert_int_equal(blk_driver_wait(d, &len), 0);
        assert_int_equal(blk_driver_status(d), 0xf);
        assert_int_not_equal(guest_load(d->b, STATUS, 1), 0xee);
        pci_board_end(d->b);
        free(d);
    }
}

static void rings_are_anywhere(void **state)
{
    static const hwaddr places[] = {0x70000000, 0xb8000, 0x80000000, 0x80003000, 0xfffff000};

    (void)state;
    for (unsigned i = 0; i < 3 * sizeof(places) / sizeof(places[0]); i++) {
        PciBoard *b = pci_board_start(board_disk, false, false);
        BlkDriver d;
        blk_driver_find(&d, b, DISK);
        assert_true(blk_driver_start(&d, 0));
        guest_store(b, d.common + 0x14, 1, 0);
        guest_store(b, d.common + 8, 4, 1);
        guest_store(b, d.common + 0xc, 4, 1);
        guest_store(b, d.common + 0x14, 1, 0xb);
        guest_store(b, d.common + 0x20, 8, i % 3 == 0 ? places[i / 3] : DESC);
        guest_store(b, d.common + 0x28, 8, i % 3 == 1 ? places[i / 3] : AVAIL);
        guest_store(b, d.common + 0x30, 8, i % 3 == 2 ? places[i / 3] : USED);
        guest_store(b, d.common + 0x1c, 2, 1);
        guest_store(b, d.common + 0x14, 1, 0xf);
        guest_store(b, HEADER, 8, VIRTIO_BLK_T_GET_ID);
        blk_driver_descriptor(&d, DESC, 0, HEADER, 16, VRING_DESC_F_NEXT, 1);
        blk_driver_descriptor(&d, DESC, 1, STATUS, 32, VRING_DESC_F_WRITE, 0);
        d.next_avail = 0;
        blk_driver_kick(&d, 0);
        pci_board_serve(b, 5);
        guest_load(b, d.common + 0x14, 1);
        pci_board_end(b);
    }
}

static void a_reset_forgets_requests(void **state)
{
    const uint32_t one[] = {512};
    BlkDriver *d = hostile_start(0);

    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        guest_store(d->b, HEADER, 8, VIRTIO_BLK_T_IN);
        guest_store(d->b, HEADER + 8, 8, 0);
        blk_driver_descriptor(d, DESC, 0, HEADER, 16, VRING_DESC_F_NEXT, 1);
        blk_driver_descriptor(d, DESC, 1, BUFFERS, 0x100000, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
                              2);
        blk_driver_descriptor(d, DESC, 2, STATUS, 1, VRING_DESC_F_WRITE, 0);
        blk_driver_kick(d, 0);
        if (i & 1) {
            pci_board_reset(d->b);
            blk_driver_find(d, d->b, DISK);
        } else {
            guest_store(d->b, d->common + 0x14, 1, 0);
        }
        memset(ram(d->b, BUFFERS), 0x55, 0x100000);
        pci_board_serve(d->b, 0);
        for (unsigned j = 0; j < 0x100000; j += 512) { /* nothing came afterwards */
            assert_int_equal(ram(d->b, BUFFERS)[j], 0x55);
        }
        assert_true(blk_driver_start(d, 0));
    }
    assert_int_equal(blk_driver_request(d, VIRTIO_BLK_T_IN, 0, one, 1, false), VIRTIO_BLK_S_OK);
    pci_board_end(d->b);
    free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_configuration_is_right),
        cmocka_unit_test(transfers_are_those_of_the_file),
        cmocka_unit_test(transfers_through_indirect_tables),
        cmocka_unit_test(transfers_behind_a_bridge),
        cmocka_unit_test(what_cannot_be_done_is_an_error),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(completions_interrupt),
        cmocka_unit_test(the_window_in_configuration_space),
        cmocka_unit_test(loops_end),
        cmocka_unit_test(descriptors_are_inside_of_the_queue),
        cmocka_unit_test(indirect_tables_are_checked),
        cmocka_unit_test(buffers_have_their_order),
        cmocka_unit_test(more_is_available_than_there_can_be),
        cmocka_unit_test(buffers_are_anywhere),
        cmocka_unit_test(rings_are_anywhere),
        cmocka_unit_test(a_reset_forgets_requests),
    };

    return cmocka_run_group_tests(tests, make_disk, board_disk_teardown);
}
