/* SPDX-License-Identifier: MIT */
/*
 * blk_driver.h - a driver for the virtio disk, as a guest has it: finds the structures through
 * the capabilities, sets up one queue in the board's RAM, and waits for its requests.
 */
#ifndef TESTS_BLK_DRIVER_H
#define TESTS_BLK_DRIVER_H

#include "pci_board.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#define QUEUE_SIZE 64U
#define DESC 0x100000U
#define AVAIL 0x101000U
#define USED 0x102000U
#define TABLE 0x103000U  /* of indirect descriptors */
#define HEADER 0x104000U /* and the status behind it */
#define STATUS 0x104010U
#define BUFFERS 0x200000U

typedef struct BlkDriver {
    PciBoard *b;
    uint32_t at;
    hwaddr common, isr, device, notify; /* addresses */
    uint64_t features;
    uint16_t next_avail, next_used;
} BlkDriver;

uint64_t guest_load(PciBoard *b, hwaddr addr, unsigned size);
void guest_store(PciBoard *b, hwaddr addr, unsigned size, uint64_t value);

/* Give the function at @at its BARs, and reset the device. */
void blk_driver_find(BlkDriver *d, PciBoard *b, uint32_t at);
/* Negotiate @features beside VERSION_1 and begin; false: it did not accept them. */
bool blk_driver_start(BlkDriver *d, uint64_t features);
void blk_driver_descriptor(BlkDriver *d, hwaddr table, unsigned index, hwaddr addr, uint32_t len,
                           unsigned flags, unsigned next);
/* Make the chain at @head available and notify. */
void blk_driver_kick(BlkDriver *d, unsigned head);
/* Wait until a chain came back: its head, and in @len what was written; -1: none did. */
int blk_driver_wait(BlkDriver *d, uint32_t *len);
/*
 * A request with its data at the places of @lens bytes from BUFFERS on, one after the other (gaps
 * of 512 bytes), through an indirect table or not. Returns the status, -1: none came.
 */
int blk_driver_request(BlkDriver *d, uint32_t type, uint64_t sector, const uint32_t *lens,
                       unsigned count, bool indirect);
uint8_t blk_driver_status(BlkDriver *d);

#endif
