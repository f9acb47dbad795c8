/* SPDX-License-Identifier: MIT */
/* fw_cfg_guest.h - fw_cfg as firmware uses it, a byte at a time. After fake_machine.h. */
#ifndef TESTS_FW_CFG_GUEST_H
#define TESTS_FW_CFG_GUEST_H

#include "fake_machine.h"

#include <stdlib.h>
#include <string.h>

#define SELECTOR 0x510
#define DATA_PORT 0x511

static inline void select_key(FakeMachine *f, uint16_t key)
{
    address_space_stw_le(memory_system_io(f->m.ms), SELECTOR, key, ATTRS, NULL);
}

static inline void read_bytes(FakeMachine *f, void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ((uint8_t *)bytes)[i] = inb(f, DATA_PORT);
    }
}

static inline uint32_t read_be(FakeMachine *f, unsigned count)
{
    uint32_t value = 0;

    while (count--) {
        value = value << 8 | inb(f, DATA_PORT);
    }
    return value;
}

/* The key of file @name and its size; 0: no such file. */
static inline uint16_t find_file(FakeMachine *f, const char *name, uint32_t *size)
{
    select_key(f, 0x19);
    for (uint32_t count = read_be(f, 4); count > 0; count--) {
        char found[57] = "";
        *size = read_be(f, 4);
        uint16_t key = (uint16_t)read_be(f, 2);
        read_be(f, 2);
        read_bytes(f, found, 56);
        if (strcmp(found, name) == 0) {
            return key;
        }
    }
    return 0;
}

/* The contents of file @name, to be freed; NULL: no such file. */
static inline uint8_t *read_file(FakeMachine *f, const char *name, uint32_t *size)
{
    uint16_t key = find_file(f, name, size);
    uint8_t *bytes;

    if (key == 0) {
        return NULL;
    }
    bytes = malloc(*size ? *size : 1);
    assert_non_null(bytes);
    select_key(f, key);
    read_bytes(f, bytes, *size);
    return bytes;
}

#endif
