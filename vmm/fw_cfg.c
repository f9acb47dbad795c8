/* SPDX-License-Identifier: MIT */
/*
 * fw_cfg.c - the firmware configuration device: items that firmware asks for by key, read byte by
 * byte from a port or copied to memory by descriptors. All items are read-only.
 */
#include "fw_cfg.h"

#include "devices.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FW_CFG_PORT 0x510
#define FW_CFG_DMA_PORT 0x514

/* A read may go this far past the end of an item and finds zeros there. */
#define FW_CFG_MAX_PADDING 65536

typedef struct Item {
    uint16_t key;
    char name[FW_CFG_MAX_FILE_PATH]; /* "": no file */
    uint8_t *data;
    size_t size;
} Item;

struct FwCfg {
    Device device;
    MemoryRegion ports, dma;
    Item *items; /* files come last, by name */
    size_t nr_items, first_file;

    uint16_t key;    /* what is selected */
    uint64_t offset; /* of the next byte of it */
    uint64_t dma_addr;
};

/* ---- What the guest does --------------------------------------------------------- */

static const Item *selected(const FwCfg *fw)
{
    for (size_t i = 0; i < fw->nr_items; i++) {
        if (fw->items[i].key == fw->key) {
            return &fw->items[i];
        }
    }
    return NULL;
}

static void select_item(FwCfg *fw, uint16_t key)
{
    fw->key = (uint16_t)(key & ~FW_CFG_WRITE_CHANNEL);
    fw->offset = 0;
}

/* What is left of the selected item. */
static size_t rest(const FwCfg *fw, const uint8_t **data)
{
    const Item *item = selected(fw);

    if (item == NULL || fw->offset >= item->size) {
        return 0;
    }
    *data = item->data + fw->offset;
    return (size_t)(item->size - fw->offset);
}

static uint64_t read_data(void *opaque, hwaddr addr, unsigned size)
{
    FwCfg *fw = opaque;
    const uint8_t *data;
    uint8_t byte = rest(fw, &data) > 0 ? *data : 0;

    (void)addr;
    (void)size;
    fw->offset++;
    return byte;
}

static void write_selector(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    (void)size;
    if (addr == 0) { /* writes to the data register are ignored */
        select_item(opaque, (uint16_t)value);
    }
}

static bool accepts(void *opaque, hwaddr addr, unsigned size, bool is_write, MemTxAttrs attrs)
{
    (void)opaque;
    (void)attrs;
    return addr == 0 ? is_write && size == 2 : size == 1;
}

static const MemoryRegionOps port_ops = {
    .read = read_data,
    .write = write_selector,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 2, .accepts = accepts},
    .impl = {.min_access_size = 1, .max_access_size = 2},
};

/* Copy @length bytes of the selected item to guest @addr. */
static MemTxResult copy_out(FwCfg *fw, hwaddr addr, uint32_t length, MemTxAttrs attrs)
{
    AddressSpace *as = memory_system_memory(fw->device.machine->ms);
    const uint8_t *data = NULL;
    size_t count = rest(fw, &data);
    MemTxResult result = MEMTX_OK;

    if (count > length) {
        count = length;
    }
    if (length - count > FW_CFG_MAX_PADDING || addr > UINT64_MAX - length) {
        return MEMTX_ERROR;
    }
    if (count > 0) {
        result |= address_space_write(as, addr, attrs, data, count);
    }
    if (length > count) {
        result |= address_space_set(as, addr + count, 0, length - count, attrs);
    }
    fw->offset += length;
    return result;
}

/* Carry out the descriptor at dma_addr, which is the guest's word for everything. */
static void run_dma(FwCfg *fw)
{
    /* To memory and nowhere else: a descriptor must not work a device. */
    const MemTxAttrs attrs = {.memory = 1};
    AddressSpace *as = memory_system_memory(fw->device.machine->ms);
    hwaddr addr = fw->dma_addr;
    struct fw_cfg_dma_access access;
    MemTxResult result = address_space_read(as, addr, attrs, &access, sizeof(access));

    fw->dma_addr = 0;
    if (result == MEMTX_OK) {
        uint32_t control = be32toh(access.control), length = be32toh(access.length);

        if (control & FW_CFG_DMA_CTL_SELECT) {
            select_item(fw, (uint16_t)(control >> 16));
        }
        if (control & FW_CFG_DMA_CTL_READ) {
            result = copy_out(fw, be64toh(access.address), length, attrs);
        } else if (control & FW_CFG_DMA_CTL_WRITE) {
            result = MEMTX_ERROR; /* nothing is writable */
        } else if (control & FW_CFG_DMA_CTL_SKIP) {
            fw->offset += length;
        }
    }
    address_space_stl_be(as, addr, result == MEMTX_OK ? 0 : FW_CFG_DMA_CTL_ERROR, attrs, NULL);
}

static uint64_t read_signature(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque;
    return FW_CFG_DMA_SIGNATURE >> 8 * (8 - addr - size);
}

/* The upper half first; the lower one, or both at once, starts the transfer. */
static void write_dma(void *opaque, hwaddr addr, uint64_t value, unsigned size)
{
    FwCfg *fw = opaque;

    if (size == 8) {
        fw->dma_addr = value;
    } else if (addr == 0) {
        fw->dma_addr = value << 32;
        return;
    } else {
        fw->dma_addr |= (uint32_t)value;
    }
    run_dma(fw);
}

static bool dma_accepts(void *opaque, hwaddr addr, unsigned size, bool is_write, MemTxAttrs attrs)
{
    (void)opaque;
    (void)addr;
    (void)attrs;
    return !is_write || size >= 4;
}

static const MemoryRegionOps dma_ops = {
    .read = read_signature,
    .write = write_dma,
    .endianness = DEVICE_BIG_ENDIAN,
    .valid = {.min_access_size = 1, .max_access_size = 8, .accepts = dma_accepts},
    .impl = {.min_access_size = 1, .max_access_size = 8},
};

/* ---- Items ------------------------------------------------------------------------- */

/* Put an item in as number @at; the files behind it move up. */
static int insert(FwCfg *fw, size_t at, const Item *item, const void *data)
{
    Item *items = realloc(fw->items, (fw->nr_items + 1) * sizeof(*items));
    uint8_t *copy = malloc(item->size ? item->size : 1);

    if (items) {
        fw->items = items;
    }
    if (items == NULL || copy == NULL) {
        free(copy);
        return error_set(NULL, ENOMEM, "no memory for %zu bytes for the firmware", item->size);
    }
    if (item->size) {
        memcpy(copy, data, item->size);
    }
    memmove(items + at + 1, items + at, (fw->nr_items - at) * sizeof(*items));
    items[at] = *item;
    items[at].data = copy;
    fw->nr_items++;
    return 0;
}

/* Number the files and tell of them in the directory, which is item 0. */
static int list_files(FwCfg *fw)
{
    size_t count = fw->nr_items - fw->first_file;
    size_t size = sizeof(uint32_t) + count * sizeof(struct fw_cfg_file);
    uint8_t *directory = calloc(1, size);
    uint32_t be_count = htobe32((uint32_t)count);

    if (directory == NULL) {
        return error_set(NULL, ENOMEM, "no memory for a directory of %zu files", count);
    }
    memcpy(directory, &be_count, sizeof(be_count));
    for (size_t i = 0; i < count; i++) {
        Item *item = &fw->items[fw->first_file + i];
        struct fw_cfg_file file = {.size = htobe32((uint32_t)item->size)};

        item->key = (uint16_t)(FW_CFG_FILE_FIRST + i);
        file.select = htobe16(item->key);
        memcpy(file.name, item->name, sizeof(file.name));
        memcpy(directory + sizeof(be_count) + i * sizeof(file), &file, sizeof(file));
    }
    free(fw->items[0].data);
    fw->items[0].data = directory;
    fw->items[0].size = size;
    return 0;
}

int fw_cfg_add_bytes(FwCfg *fw, uint16_t key, const void *data, size_t size)
{
    Item item = {.key = key, .size = size};
    int err;

    if (size > UINT32_MAX || (key & FW_CFG_WRITE_CHANNEL) ||
        (key >= FW_CFG_FILE_FIRST && !(key & FW_CFG_ARCH_LOCAL))) {
        return error_set(NULL, EINVAL, "no fw_cfg item: key 0x%x, %zu bytes", key, size);
    }
    for (size_t i = 0; i < fw->first_file; i++) {
        if (fw->items[i].key == key) {
            return error_set(NULL, EEXIST, "fw_cfg has item 0x%x already", key);
        }
    }
    err = insert(fw, fw->first_file, &item, data);
    if (err == 0) {
        fw->first_file++;
    }
    return err;
}

int fw_cfg_add_file(FwCfg *fw, const char *name, const void *data, size_t size)
{
    Item item = {.size = size};
    size_t at = fw->first_file, length = strlen(name);
    int err;

    if (length == 0 || length >= sizeof(item.name) || size > UINT32_MAX ||
        fw->nr_items - at >= FW_CFG_WRITE_CHANNEL - FW_CFG_FILE_FIRST) {
        return error_set(NULL, EINVAL, "no fw_cfg file: '%s', %zu bytes", name, size);
    }
    while (at < fw->nr_items && strcmp(fw->items[at].name, name) < 0) {
        at++;
    }
    if (at < fw->nr_items && strcmp(fw->items[at].name, name) == 0) {
        return error_set(NULL, EEXIST, "fw_cfg has file '%s' already", name);
    }
    memcpy(item.name, name, length);
    err = insert(fw, at, &item, data);
    return err == 0 ? list_files(fw) : err;
}

int fw_cfg_add_u16(FwCfg *fw, uint16_t key, uint16_t value)
{
    value = htole16(value);
    return fw_cfg_add_bytes(fw, key, &value, sizeof(value));
}

int fw_cfg_add_u32(FwCfg *fw, uint16_t key, uint32_t value)
{
    value = htole32(value);
    return fw_cfg_add_bytes(fw, key, &value, sizeof(value));
}

int fw_cfg_add_u64(FwCfg *fw, uint16_t key, uint64_t value)
{
    value = htole64(value);
    return fw_cfg_add_bytes(fw, key, &value, sizeof(value));
}

/* ---- Life --------------------------------------------------------------------------- */

static void reset(Device *device)
{
    FwCfg *fw = (FwCfg *)device;

    select_item(fw, FW_CFG_SIGNATURE);
    fw->dma_addr = 0;
}

static void finalize(Device *device)
{
    FwCfg *fw = (FwCfg *)device;

    for (size_t i = 0; i < fw->nr_items; i++) {
        free(fw->items[i].data);
    }
    free(fw->items);
}

int fw_cfg_create(Machine *m)
{
    FwCfg *fw = device_create(m, sizeof(*fw), "fw_cfg", reset);
    const uint32_t no_files = 0;
    int err;

    if (fw == NULL) {
        return -ENOMEM;
    }
    fw->device.finalize = finalize;
    err = fw_cfg_add_bytes(fw, FW_CFG_FILE_DIR, &no_files, sizeof(no_files));
    if (err == 0) {
        err = fw_cfg_add_bytes(fw, FW_CFG_SIGNATURE, "QEMU", FW_CFG_SIG_SIZE);
    }
    if (err == 0) {
        err = fw_cfg_add_u32(fw, FW_CFG_ID, FW_CFG_VERSION | FW_CFG_VERSION_DMA);
    }
    if (err == 0) {
        err = device_map_ports(&fw->device, &fw->ports, &port_ops, "fwcfg", FW_CFG_PORT, 2);
    }
    if (err == 0) {
        err = device_map_ports(&fw->device, &fw->dma, &dma_ops, "fwcfg.dma", FW_CFG_DMA_PORT, 8);
    }
    if (err == 0) {
        m->fw_cfg = fw;
    }
    return err;
}
