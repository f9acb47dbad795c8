/* SPDX-License-Identifier: MIT */
/* The virtio disk with many requests in flight: data, the ends of the rings, bounce buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/blk_driver.h"

#define DISK AT(0, 3, 0)
#define SECTORS 4096U
#define CHAINS (QUEUE_SIZE / 3)
#define HEADERS 0x110000U
#define STATUSES 0x120000U
#define MAX_DATA 0x8000U
#define BUFFER(i) (BUFFERS + (i)*MAX_DATA)

static uint8_t model[SECTORS * 512];

static int make_disk(void **state)
{
    board_disk_setup(state);
    for (unsigned i = 0; i < sizeof(model); i++) {
        model[i] = (uint8_t)(i * 7 + i / 512);
    }
    return pwrite(board_disk_fd, model, sizeof(model), 0) == sizeof(model) ? 0 : -1;
}

static uint8_t *ram(PciBoard *b, hwaddr addr)
{
    return (uint8_t *)memory_region_get_ram_ptr(&b->ram) + addr;
}

/* Put chain @i into the ring, without a word to the device. */
static void offer(BlkDriver *d, unsigned i, uint32_t type, uint64_t sector, hwaddr data,
                  uint32_t len)
{
    unsigned head = 3 * i, write = type == VIRTIO_BLK_T_OUT ? 0 : VRING_DESC_F_WRITE;

    guest_store(d->b, HEADERS + 16 * i, 8, type);
    guest_store(d->b, HEADERS + 16 * i + 8, 8, sector);
    guest_store(d->b, STATUSES + i, 1, 0xee);
    blk_driver_descriptor(d, DESC, head, HEADERS + 16 * i, 16, VRING_DESC_F_NEXT, head + 1);
    blk_driver_descriptor(d, DESC, head + 1, data, len, VRING_DESC_F_NEXT | write, head + 2);
    blk_driver_descriptor(d, DESC, head + 2, STATUSES + i, 1, VRING_DESC_F_WRITE, 0);
    guest_store(d->b, AVAIL + 4 + 2U * (d->next_avail % QUEUE_SIZE), 2, head);
    guest_store(d->b, AVAIL + 2, 2, ++d->next_avail);
}

static void collect(BlkDriver *d, unsigned count)
{
    uint32_t seen = 0, len;

    guest_store(d->b, d->notify, 2, 0);
    for (unsigned i = 0; i < count; i++) {
        int head = blk_driver_wait(d, &len);
        assert_true(head >= 0 && head % 3 == 0 && !(seen >> head / 3 & 1));
        seen |= 1U << head / 3;
        assert_int_equal(guest_load(d->b, STATUSES + (hwaddr)head / 3, 1), VIRTIO_BLK_S_OK);
    }
}

/* Each has an area of the disk of its own, so the order is the device's. */
static void requests_do_not_mix(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, false);
    const unsigned area = SECTORS / CHAINS;
    BlkDriver d;

    (void)state;
    blk_driver_find(&d, b, DISK);
    assert_true(blk_driver_start(&d, UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX));
    srand(3);
    for (unsigned round = 0; round < 100; round++) {
        unsigned count = 1 + (unsigned)rand() % CHAINS, sectors[CHAINS];
        uint32_t lens[CHAINS];
        for (unsigned i = 0; i < count; i++) {
            bool out = rand() & 1;
            lens[i] = 512 * (1 + (uint32_t)rand() % (MAX_DATA / 512));
            sectors[i] = area * i + (unsigned)rand() % (area - lens[i] / 512 + 1);
            for (unsigned k = 0; out && k < lens[i]; k++) {
                model[512 * sectors[i] + k] = ram(b, BUFFER(i))[k] = (uint8_t)rand();
            }
            offer(&d, i, out ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, sectors[i], BUFFER(i), lens[i]);
        }
        collect(&d, count);
        for (unsigned i = 0; i < count; i++) {
            assert_memory_equal(ram(b, BUFFER(i)), model + 512 * sectors[i], lens[i]);
        }
    }
    uint8_t *file = malloc(sizeof(model));
    assert_int_equal(pread(board_disk_fd, file, sizeof(model), 0), sizeof(model));
    assert_memory_equal(file, model, sizeof(model));
    free(file);
    pci_board_end(b);
}

static void the_indices_wrap(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, false);
    BlkDriver d;

    (void)state;
    blk_driver_find(&d, b, DISK);
    assert_true(blk_driver_start(&d, UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX));
    for (unsigned i = 0; i < 70000 / CHAINS; i++) {
        for (unsigned k = 0; k < CHAINS; k++) {
            offer(&d, k, VIRTIO_BLK_T_GET_ID, 0, BUFFER(k), 20);
        }
        collect(&d, CHAINS);
    }
    assert_true(d.next_used < 70000 - 65536 + CHAINS);
    pci_board_end(b);
}

/* Of two that need all there is, one waits; one that needs more than that fails. */
static void bounce_buffers_are_waited_for(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, false);
    const hwaddr vga = 0xb8000; /* no memory: a device's */
    BlkDriver d;
    uint32_t len;

    (void)state;
    blk_driver_find(&d, b, DISK);
    assert_true(blk_driver_start(&d, 0));
    for (unsigned i = 0; i < CHAINS; i++) {
        offer(&d, i, VIRTIO_BLK_T_OUT, 8 * i, i % 5 ? vga : BUFFER(i), 4096);
    }
    collect(&d, CHAINS);
    offer(&d, 0, VIRTIO_BLK_T_OUT, 0, vga, 8192);
    offer(&d, 1, VIRTIO_BLK_T_OUT, 0, 0x70000000, 512); /* nothing is there */
    guest_store(b, d.notify, 2, 0);
    assert_int_equal(blk_driver_wait(&d, &len), 0);
    assert_int_equal(blk_driver_wait(&d, &len), 3);
    assert_int_equal(guest_load(b, STATUSES, 1), VIRTIO_BLK_S_IOERR);
    assert_int_equal(guest_load(b, STATUSES + 1, 1), VIRTIO_BLK_S_IOERR);
    pci_board_end(b);
}

static void a_disk_may_shrink(void **state)
{
    PciBoard *b = pci_board_start(board_disk, false, false);
    const uint32_t one[] = {512};
    BlkDriver d;

    (void)state;
    blk_driver_find(&d, b, DISK);
    assert_true(blk_driver_start(&d, 0));
    assert_int_equal(ftruncate(board_disk_fd, 512), 0);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, 0, one, 1, false), VIRTIO_BLK_S_OK);
    assert_int_equal(blk_driver_request(&d, VIRTIO_BLK_T_IN, 1, one, 1, false), VIRTIO_BLK_S_IOERR);
    assert_int_equal(blk_driver_status(&d), 0xf);
    pci_board_end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_do_not_mix),
        cmocka_unit_test(the_indices_wrap),
        cmocka_unit_test(bounce_buffers_are_waited_for),
        cmocka_unit_test(a_disk_may_shrink),
    };

    return cmocka_run_group_tests(tests, make_disk, board_disk_teardown);
}
