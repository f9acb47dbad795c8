/* SPDX-License-Identifier: MIT */
/* fw_cfg: items, the directory, and descriptors, hostile ones too, against a model. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/fw_cfg_guest.h"
#include "vmm/fw_cfg.h"

#define RAM_SIZE 0x40000u
#define DMA_PORT 0x514
#define DESCRIPTOR 0x100

static FakeMachine *f;
static MemoryRegion ram, device;
static unsigned device_accesses;

static uint64_t device_read(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)addr, (void)size;
    device_accesses++;
    return 0;
}

static void device_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    (void)opaque, (void)addr, (void)data, (void)size;
    device_accesses++;
}

static const MemoryRegionOps device_ops = {.read = device_read, .write = device_write};

static int setup(void **state)
{
    (void)state;
    f = fake_machine_start();
    MemoryOwner *board = memory_system_owner(f->m.ms);
    MemoryRegion *system = get_system_memory(f->m.ms);
    MAKE(memory_region_init_ram(&ram, board, "ram", RAM_SIZE, NULL));
    MAKE(memory_region_add_subregion(system, 0, &ram));
    MAKE(memory_region_init_io(&device, board, &device_ops, NULL, "device", 0x1000));
    MAKE(memory_region_add_subregion(system, 0x100000, &device));
    MAKE(fw_cfg_create(&f->m));
    device_accesses = 0;
    fake_machine_reset(f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    MAKE(memory_region_del_subregion(get_system_memory(f->m.ms), &ram));
    MAKE(memory_region_del_subregion(get_system_memory(f->m.ms), &device));
    fake_machine_end(f);
    return 0;
}

static uint8_t *host(void)
{
    return memory_region_get_ram_ptr(&ram);
}

/* Have the descriptor at DESCRIPTOR carried out; returns its control word afterwards. */
static uint32_t dma(uint32_t control, uint32_t length, uint64_t addr)
{
    AddressSpace *io = memory_system_io(f->m.ms);
    struct fw_cfg_dma_access access = {htobe32(control), htobe32(length), htobe64(addr)};

    memcpy(host() + DESCRIPTOR, &access, sizeof(access));
    address_space_stl_be(io, DMA_PORT, 0, ATTRS, NULL);
    address_space_stl_be(io, DMA_PORT + 4, DESCRIPTOR, ATTRS, NULL);
    memcpy(&access, host() + DESCRIPTOR, sizeof(access));
    return be32toh(access.control);
}

#define SELECT(key) ((uint32_t)(key) << 16 | FW_CFG_DMA_CTL_SELECT)

static void what_every_guest_asks_first(void **state)
{
    char signature[4];
    uint8_t id[5];

    (void)state;
    read_bytes(f, signature, 4); /* what is selected after reset */
    assert_memory_equal(signature, "QEMU", 4);
    select_key(f, FW_CFG_ID);
    read_bytes(f, id, 5);
    assert_memory_equal(id, "\3\0\0\0\0", 5); /* version, DMA; past the end */
    assert_int_equal(address_space_ldq_be(memory_system_io(f->m.ms), DMA_PORT, ATTRS, NULL),
                     FW_CFG_DMA_SIGNATURE);
    assert_int_equal(address_space_ldl_be(memory_system_io(f->m.ms), DMA_PORT + 4, ATTRS, NULL),
                     (uint32_t)FW_CFG_DMA_SIGNATURE);
    assert_int_equal(inb(f, DMA_PORT + 1), 'E');
}

static void files_are_listed_by_name(void **state)
{
    static const char *const names[] = {"etc/b", "genroms/x", "bootorder", "etc/a"};
    static const char *const sorted[] = {"bootorder", "etc/a", "etc/b", "genroms/x"};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        MAKE(fw_cfg_add_file(f->m.fw_cfg, names[i], names[i], strlen(names[i])));
        MAKE(fw_cfg_add_u32(f->m.fw_cfg, (uint16_t)(FW_CFG_ARCH_LOCAL + i), (uint32_t)i));
    }
    for (size_t i = 0; i < 4; i++) {
        uint32_t size;
        assert_int_equal(find_file(f, sorted[i], &size), FW_CFG_FILE_FIRST + i);
        uint8_t *bytes = read_file(f, sorted[i], &size);
        assert_int_equal(size, strlen(sorted[i]));
        assert_memory_equal(bytes, sorted[i], size);
        free(bytes);
        select_key(f, (uint16_t)(FW_CFG_ARCH_LOCAL + i));
        assert_int_equal(inb(f, DATA_PORT), i);
    }
}

static void items_that_cannot_be(void **state)
{
    FwCfg *fw = f->m.fw_cfg;
    char name[57];

    (void)state;
    memory_system_lock(f->m.ms);
    memset(name, 'n', sizeof(name));
    name[56] = '\0';
    assert_int_equal(fw_cfg_add_file(fw, name, "", 0), -EINVAL);
    name[55] = '\0';
    assert_int_equal(fw_cfg_add_file(fw, name, "", 0), 0);
    assert_int_equal(fw_cfg_add_file(fw, name, "", 0), -EEXIST);
    assert_int_equal(fw_cfg_add_file(fw, "", "", 0), -EINVAL);
    assert_int_equal(fw_cfg_add_u16(fw, FW_CFG_ID, 0), -EEXIST);
    assert_int_equal(fw_cfg_add_u16(fw, FW_CFG_FILE_FIRST, 0), -EINVAL);
    assert_int_equal(fw_cfg_add_u16(fw, FW_CFG_WRITE_CHANNEL | FW_CFG_NB_CPUS, 0), -EINVAL);
    memory_system_unlock(f->m.ms);
}

static void nothing_is_written(void **state)
{
    (void)state;
    MAKE(fw_cfg_add_u64(f->m.fw_cfg, FW_CFG_RAM_SIZE, 0x1122334455667788));
    select_key(f, FW_CFG_WRITE_CHANNEL | FW_CFG_RAM_SIZE);
    outb(f, DATA_PORT, 0xff);
    outb(f, SELECTOR, 0); /* half a key */
    assert_int_equal(inb(f, DATA_PORT), 0x88);
    assert_int_equal(dma(SELECT(FW_CFG_RAM_SIZE) | FW_CFG_DMA_CTL_WRITE, 8, 0x1000),
                     FW_CFG_DMA_CTL_ERROR);
    select_key(f, FW_CFG_RAM_SIZE);
    assert_int_equal(inb(f, DATA_PORT), 0x88);
    assert_int_equal(inb(f, DATA_PORT), 0x77);
}

static void descriptors_read_and_skip(void **state)
{
    (void)state;
    MAKE(fw_cfg_add_file(f->m.fw_cfg, "file", "abcdefghij", 10));
    memset(host() + 0x1000, 0x55, 0x100);
    assert_int_equal(dma(SELECT(0x20) | FW_CFG_DMA_CTL_READ, 3, 0x1000), 0);
    assert_int_equal(dma(FW_CFG_DMA_CTL_SKIP, 2, 0), 0);
    assert_int_equal(dma(FW_CFG_DMA_CTL_READ, 2, 0x1003), 0);
    assert_int_equal(inb(f, DATA_PORT), 'h');
    assert_int_equal(dma(FW_CFG_DMA_CTL_READ, 4, 0x1005), 0); /* to beyond the end */
    assert_memory_equal(host() + 0x1000, "abcfgij\0\0\x55", 10);
    assert_int_equal(dma(SELECT(0x777) | FW_CFG_DMA_CTL_READ, 2, 0x1000), 0); /* no such item */
    assert_memory_equal(host() + 0x1000, "\0\0c", 3);
}

static void descriptors_that_reach_too_far(void **state)
{
    AddressSpace *io = memory_system_io(f->m.ms);

    (void)state;
    MAKE(fw_cfg_add_file(f->m.fw_cfg, "file", "abcdefghij", 10));
    assert_int_equal(dma(SELECT(0x20) | FW_CFG_DMA_CTL_READ, 10, 0x100000), 1); /* a device */
    assert_int_equal(dma(SELECT(0x20) | FW_CFG_DMA_CTL_READ, 10, RAM_SIZE), 1); /* nothing */
    assert_int_equal(dma(SELECT(0x20) | FW_CFG_DMA_CTL_READ, 10, UINT64_MAX - 4), 1);
    assert_int_equal(dma(SELECT(0x20) | FW_CFG_DMA_CTL_READ, UINT32_MAX, 0), 1);
    assert_int_equal(dma(FW_CFG_DMA_CTL_SKIP, UINT32_MAX, 0), 0);
    assert_int_equal(dma(FW_CFG_DMA_CTL_READ, 1, 0x1000), 0);
    assert_int_equal(host()[0x1000], 0);
    /* Descriptors where there is a device, nothing, the end of all addresses. */
    address_space_stl_be(io, DMA_PORT + 4, 0x100000, ATTRS, NULL);
    address_space_stl_be(io, DMA_PORT + 4, RAM_SIZE - 8, ATTRS, NULL);
    address_space_stq_be(io, DMA_PORT, UINT64_MAX - 3, ATTRS, NULL);
    assert_int_equal(device_accesses, 0);
}

/* What the guest sees of one item and RAM, byte by byte. */
typedef struct Model {
    uint8_t ram[RAM_SIZE], item[5000];
    uint64_t offset;
} Model;

static uint32_t model_dma(Model *model, uint32_t control, uint32_t length, uint64_t addr)
{
    struct fw_cfg_dma_access access = {htobe32(control), htobe32(length), htobe64(addr)};
    uint64_t left = model->offset < 5000 ? 5000 - model->offset : 0;
    uint32_t result = 0;

    memcpy(model->ram + DESCRIPTOR, &access, sizeof(access));
    if (control & FW_CFG_DMA_CTL_SELECT) {
        model->offset = 0;
        left = 5000;
    }
    if (control & FW_CFG_DMA_CTL_READ) {
        if (length > left + 65536 || addr > UINT64_MAX - length) {
            result = 1;
        } else {
            for (uint64_t i = 0; i < length; i++) {
                uint8_t byte = model->offset < 5000 ? model->item[model->offset] : 0;
                model->offset++;
                if (addr + i < RAM_SIZE) {
                    model->ram[addr + i] = byte;
                } else {
                    result = 1;
                }
            }
        }
    } else if (control & FW_CFG_DMA_CTL_WRITE) {
        result = 1;
    } else if (control & FW_CFG_DMA_CTL_SKIP) {
        model->offset += length;
    }
    model->ram[DESCRIPTOR] = model->ram[DESCRIPTOR + 1] = model->ram[DESCRIPTOR + 2] = 0;
    model->ram[DESCRIPTOR + 3] = (uint8_t)result;
    return result;
}

static void as_the_model_has_it(void **state)
{
    static Model model;

    (void)state;
    srandom(7);
    memset(model.ram, 0, sizeof(model.ram));
    for (size_t i = 0; i < sizeof(model.item); i++) {
        model.item[i] = (uint8_t)random();
    }
    MAKE(fw_cfg_add_file(f->m.fw_cfg, "file", model.item, sizeof(model.item)));
    select_key(f, 0x20);
    for (unsigned i = 0; i < 3000; i++) {
        uint32_t control = (uint32_t)random() & 0x16;
        uint32_t length = (uint32_t)random() % (i % 10 ? 2000 : 100000);
        uint64_t addr = (uint64_t)random() % (RAM_SIZE + 3000);
        if (random() % 8 == 0) {
            control |= SELECT(0x20);
        }
        if (random() % 50 == 0) {
            addr = UINT64_MAX - (uint64_t)random() % 3000;
        }
        uint32_t expected = model_dma(&model, control, length, addr);
        dma(control, length, addr);
        if (memcmp(host(), model.ram, RAM_SIZE) != 0) {
            fail_msg("step %u: control %x, length %u, addr %llx: expected %u", i, control, length,
                     (unsigned long long)addr, expected);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_every_guest_asks_first, setup, teardown),
        cmocka_unit_test_setup_teardown(files_are_listed_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(items_that_cannot_be, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(descriptors_read_and_skip, setup, teardown),
        cmocka_unit_test_setup_teardown(descriptors_that_reach_too_far, setup, teardown),
        cmocka_unit_test_setup_teardown(as_the_model_has_it, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
