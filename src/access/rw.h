/* SPDX-License-Identifier: MIT */
/* rw.h - transfers of any length, piece by piece. See rw.c. */
#ifndef ACCESS_RW_H
#define ACCESS_RW_H

#include "map/flatview.h"

typedef enum RwKind {
    RW_READ,      /* guest to buffer */
    RW_WRITE,     /* buffer to guest */
    RW_WRITE_ROM, /* buffer to guest RAM and ROM, whatever protects it; devices are skipped */
    RW_SET,       /* the buffer's first byte to all of the guest's */
} RwKind;

/* Context: RCU reader, or view held. */
MemTxResult rw_view(const FlatView *view, hwaddr addr, MemTxAttrs attrs, uint8_t *buf, hwaddr len,
                    RwKind kind);

#endif
