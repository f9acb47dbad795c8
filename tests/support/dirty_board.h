/* SPDX-License-Identifier: MIT */
/*
 * dirty_board.h - a small machine with RAM of each kind, and beside it, a byte for each page and
 * client, what should be dirty.
 *
 * The model knows where each byte of guest memory is from its own table and goes byte by byte.
 */
#ifndef TESTS_DIRTY_BOARD_H
#define TESTS_DIRTY_BOARD_H

#include "rng.h"
#include <membus/membus.h>

enum {
    B_RAM,   /* 8 pages; also seen through a window of another phase */
    B_NEXT,  /* right behind it */
    B_ROM,   /* memory_region_init_rom */
    B_DEV,   /* a RAM device */
    B_FLASH, /* a ROM device: guest writes go to its callback */
    B_ODD,   /* RAM of the program's whose size is no multiple of a page */
    B_GROW,  /* resizeable */
    B_REGIONS
};
#define B_MAX_PAGES 8
#define B_ODD_SIZE 0x1234
#define B_GROW_MAX 0x6000
#define B_PAGE 0x1000
#define B_BUS_SHIFT 0x3000 /* what the second address space adds to an address */

typedef struct DirtyBoard {
    MemorySystem *ms;
    AddressSpace *memory, dma;
    MemoryRegion mr[B_REGIONS], window, root, bus;
    uint8_t *odd, *dev;
    hwaddr size[B_REGIONS], max_size[B_REGIONS];
    uint8_t own_mask[B_REGIONS], global_mask;
    uint8_t dirty[B_REGIONS][DIRTY_MEMORY_NUM][B_MAX_PAGES];
} DirtyBoard;

void board_start(DirtyBoard *b);
void board_end(DirtyBoard *b);

/* Addresses of the first bytes, in memory. */
hwaddr board_address(unsigned region);
hwaddr board_window(void);
/* Whose byte is at @addr of @as; false if nobody's. */
bool board_find(const DirtyBoard *b, const AddressSpace *as, hwaddr addr, unsigned *region,
                hwaddr *offset);

/* What can be written by which kind of write. */
typedef enum BoardWrite { WRITE_GUEST, WRITE_DEBUG, WRITE_LOADER } BoardWrite;
/* Note in the model that @len bytes at @addr were written; each byte counts for itself. */
void board_wrote(DirtyBoard *b, const AddressSpace *as, hwaddr addr, hwaddr len, BoardWrite how);
/* The same for offsets of a region, which takes it whatever it is. */
void board_marked(DirtyBoard *b, unsigned region, hwaddr offset, hwaddr len);
/* Nothing is dirty for anybody, in the model and in the machine. */
void board_clean(DirtyBoard *b);

/* Both agree; else the test fails and says where, and @what came before. */
void board_check(DirtyBoard *b, const char *what);

/* What @client would take; the same cleared. */
typedef struct BoardSet {
    uint8_t dirty[B_REGIONS][B_MAX_PAGES];
} BoardSet;
void board_take(DirtyBoard *b, unsigned client, BoardSet *set);
/* The epoch names exactly the pages of @set, in runs that are well-formed. */
void board_check_epoch(DirtyBoard *b, const DirtyEpoch *epoch, const BoardSet *set);

void board_set_log(DirtyBoard *b, unsigned region, bool log, unsigned client);
void board_start_global(DirtyBoard *b, unsigned clients);
void board_stop_global(DirtyBoard *b, unsigned clients);

#endif
