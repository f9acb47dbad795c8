/* SPDX-License-Identifier: MIT */
/*
 * linux.c - --kernel, --initrd and --append: a bzImage that the machine's own firmware starts, by
 * an option ROM (linux_rom.h), as Documentation/arch/x86/boot.rst of Linux says.
 *
 *      10000   real-mode part ("setup"), its heap and stack up to 1e000
 *      1e000   command line
 *      100000  the kernel proper
 *      ...     initrd, as high as the kernel allows, below what firmware keeps for itself
 *
 * Images are untrusted: sizes and addresses in them are checked against the file and the RAM.
 */
#include "devices.h"
#include "fw_cfg.h"
#include "linux_rom.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define SECTOR 512

#define SETUP_ADDR (LINUX_SETUP_SEGMENT * 16)
#define COMMAND_LINE_ADDR (SETUP_ADDR + LINUX_SETUP_ROOM)
#define COMMAND_LINE_ROOM 0x2000
#define KERNEL_ADDR MIB
#define FIRMWARE_ROOM (2 * MIB) /* SeaBIOS keeps tables at the end of RAM */

#define MAX_FILE (UINT64_C(3) << 30)

/* The fields of the setup header that matter here, at their offsets in the image. */
enum {
    SETUP_SECTS = 0x1f1,
    BOOT_FLAG = 0x1fe,
    HEADER = 0x202,
    VERSION = 0x206,
    TYPE_OF_LOADER = 0x210,
    LOADFLAGS = 0x211,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    HEAP_END_PTR = 0x224,
    CMD_LINE_PTR = 0x228,
    INITRD_ADDR_MAX = 0x22c,
    CMDLINE_SIZE = 0x238,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
    HEADER_END = 0x264,
};
#define MIN_VERSION 0x020a /* 2.6.31: has all of these */
#define LOADED_HIGH 0x01
#define CAN_USE_HEAP 0x80
#define LOADER_UNDEFINED 0xff

typedef struct File {
    const char *name;
    uint8_t *data;
    size_t size;
} File;

static uint64_t get(const File *file, size_t at, unsigned count)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < count; i++) {
        value |= (uint64_t)file->data[at + i] << 8 * i;
    }
    return value;
}

static void set(File *file, size_t at, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        file->data[at + i] = (uint8_t)(value >> 8 * i);
    }
}

/* ---- Files ------------------------------------------------------------------------------ */

static int read_all(int fd, File *file)
{
    size_t done = 0;
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return error_set(NULL, errno, "%s: %m", file->name);
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > MAX_FILE) {
        return error_set(NULL, EINVAL, "%s: not a file of 3 GiB at most", file->name);
    }
    file->size = (size_t)st.st_size;
    file->data = malloc(file->size ? file->size : 1);
    if (file->data == NULL) {
        return error_set(NULL, ENOMEM, "%s: no memory for %zu bytes", file->name, file->size);
    }
    while (done < file->size) {
        ssize_t count = read(fd, file->data + done, file->size - done);
        if (count <= 0) {
            return error_set(NULL, count < 0 ? errno : EIO, "%s: %s", file->name,
                             count < 0 ? strerror(errno) : "shorter than it was");
        }
        done += (size_t)count;
    }
    return 0;
}

static int read_file(File *file)
{
    int fd = open(file->name, O_RDONLY | O_CLOEXEC);
    int err;

    if (fd < 0) {
        return error_set(NULL, errno, "%s: %m", file->name);
    }
    err = read_all(fd, file);
    close(fd);
    return err;
}

/* ---- What goes where ------------------------------------------------------------------------ */

typedef struct Plan {
    const char *command_line;
    File kernel, initrd;
    size_t setup_size; /* of the kernel's file; the rest goes to KERNEL_ADDR */
    uint64_t initrd_addr;
} Plan;

static int check_header(Plan *plan)
{
    const File *kernel = &plan->kernel;
    uint64_t sectors;

    if (kernel->size < HEADER_END || get(kernel, BOOT_FLAG, 2) != 0xaa55 ||
        memcmp(kernel->data + HEADER, "HdrS", 4) != 0) {
        return error_set(NULL, ENOEXEC, "%s: not a Linux bzImage", kernel->name);
    }
    if (get(kernel, VERSION, 2) < MIN_VERSION || !(get(kernel, LOADFLAGS, 1) & LOADED_HIGH)) {
        return error_set(NULL, ENOEXEC, "%s: too old a Linux: boot protocol %llu.%02llu",
                         kernel->name, (unsigned long long)get(kernel, VERSION + 1, 1),
                         (unsigned long long)get(kernel, VERSION, 1));
    }
    sectors = get(kernel, SETUP_SECTS, 1);
    plan->setup_size = ((sectors ? sectors : 4) + 1) * SECTOR;
    if (kernel->size <= plan->setup_size || plan->setup_size > LINUX_SETUP_ROOM - SECTOR) {
        return error_set(NULL, ENOEXEC, "%s: %zu bytes with %llu sectors of setup", kernel->name,
                         kernel->size, (unsigned long long)sectors);
    }
    if (strlen(plan->command_line) > get(kernel, CMDLINE_SIZE, 4) ||
        strlen(plan->command_line) >= COMMAND_LINE_ROOM) {
        return error_set(NULL, E2BIG, "--append: %zu bytes, and %s takes %llu",
                         strlen(plan->command_line), kernel->name,
                         (unsigned long long)get(kernel, CMDLINE_SIZE, 4));
    }
    return 0;
}

/* Where RAM that the kernel needs before it looks around ends. */
static uint64_t kernel_end(const Plan *plan)
{
    uint64_t file_end = KERNEL_ADDR + plan->kernel.size - plan->setup_size;
    uint64_t run_end;

    if (__builtin_add_overflow(get(&plan->kernel, PREF_ADDRESS, 8),
                               get(&plan->kernel, INIT_SIZE, 4), &run_end)) {
        return UINT64_MAX;
    }
    return file_end > run_end ? file_end : run_end;
}

static int find_places(Machine *m, Plan *plan)
{
    uint64_t first = kernel_end(plan);
    uint64_t end = m->below_4g_size > FIRMWARE_ROOM ? m->below_4g_size - FIRMWARE_ROOM : 0;
    uint64_t limit = get(&plan->kernel, INITRD_ADDR_MAX, 4) + 1; /* of the initrd */

    if (first > end) {
        return error_set(NULL, ENOSPC, "%s: needs RAM up to 0x%llx, there is 0x%llx",
                         plan->kernel.name, (unsigned long long)first,
                         (unsigned long long)m->below_4g_size);
    }
    if (plan->initrd.size == 0) {
        return 0;
    }
    if (limit < end) {
        end = limit;
    }
    if (end < first || plan->initrd.size > end - first) {
        return error_set(NULL, ENOSPC, "%s: %zu bytes do not fit between 0x%llx and 0x%llx",
                         plan->initrd.name, plan->initrd.size, (unsigned long long)first,
                         (unsigned long long)end);
    }
    plan->initrd_addr = (end - plan->initrd.size) & ~UINT64_C(4095);
    if (plan->initrd_addr < first) {
        plan->initrd_addr = first;
    }
    return 0;
}

/* What a boot loader fills in. */
static void complete_header(Plan *plan)
{
    File *kernel = &plan->kernel;

    set(kernel, TYPE_OF_LOADER, LOADER_UNDEFINED, 1);
    set(kernel, LOADFLAGS, get(kernel, LOADFLAGS, 1) | CAN_USE_HEAP, 1);
    set(kernel, HEAP_END_PTR, LINUX_SETUP_ROOM - 0x200, 2);
    set(kernel, CMD_LINE_PTR, COMMAND_LINE_ADDR, 4);
    set(kernel, RAMDISK_IMAGE, plan->initrd_addr, 4);
    set(kernel, RAMDISK_SIZE, plan->initrd.size, 4);
}

/* ---- What the guest gets ------------------------------------------------------------- */

/* Add the item @key and, to the ROM, the descriptor number @at that copies it to @addr. */
static int add_item(FwCfg *fw, uint8_t *rom, unsigned at, uint16_t key, const void *data,
                    size_t size, uint64_t addr)
{
    struct fw_cfg_dma_access access = {
        .control = htobe32((uint32_t)key << 16 | FW_CFG_DMA_CTL_SELECT | FW_CFG_DMA_CTL_READ),
        .length = htobe32((uint32_t)size),
        .address = htobe64(addr),
    };

    memcpy(rom + LINUX_ROM_DESCRIPTORS + at * sizeof(access), &access, sizeof(access));
    return fw_cfg_add_bytes(fw, key, data, size);
}

/* Make @size bytes add up to 0 by means of the one at @at. */
static void seal(uint8_t *bytes, size_t size, uint8_t *at)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < size; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    *at = (uint8_t)(*at - sum);
}

static int add_rom(FwCfg *fw, uint8_t rom[LINUX_ROM_SIZE])
{
    static const char order[] = "/rom@genroms/linux.bin";
    int err;

    memcpy(rom, linux_rom_code, sizeof(linux_rom_code));
    seal(rom + LINUX_ROM_PNP, LINUX_ROM_PNP_SIZE, rom + LINUX_ROM_PNP_CHECKSUM);
    seal(rom, LINUX_ROM_SIZE, rom + LINUX_ROM_CHECKSUM);
    err = fw_cfg_add_file(fw, "genroms/linux.bin", rom, LINUX_ROM_SIZE);
    return err < 0 ? err : fw_cfg_add_file(fw, "bootorder", order, sizeof(order));
}

static int add_items(FwCfg *fw, const Plan *plan)
{
    uint8_t rom[LINUX_ROM_SIZE] = {0};
    const File *kernel = &plan->kernel, *initrd = &plan->initrd;
    const uint8_t *proper = kernel->data + plan->setup_size;
    int err;

    if ((err = add_item(fw, rom, 0, FW_CFG_SETUP_DATA, kernel->data, plan->setup_size,
                        SETUP_ADDR)) < 0 ||
        (err = add_item(fw, rom, 1, FW_CFG_CMDLINE_DATA, plan->command_line,
                        strlen(plan->command_line) + 1, COMMAND_LINE_ADDR)) < 0 ||
        (err = add_item(fw, rom, 2, FW_CFG_KERNEL_DATA, proper, kernel->size - plan->setup_size,
                        KERNEL_ADDR)) < 0) {
        return err;
    }
    if (initrd->size > 0 && (err = add_item(fw, rom, 3, FW_CFG_INITRD_DATA, initrd->data,
                                            initrd->size, plan->initrd_addr)) < 0) {
        return err;
    }
    return add_rom(fw, rom);
}

static int load(Machine *m, Plan *plan)
{
    int err = read_file(&plan->kernel);

    if (err == 0 && plan->initrd.name) {
        err = read_file(&plan->initrd);
    }
    if (err < 0 || (err = check_header(plan)) < 0 || (err = find_places(m, plan)) < 0) {
        return err;
    }
    complete_header(plan);
    return add_items(m->fw_cfg, plan);
}

int linux_create(Machine *m)
{
    const VmmOptions *o = m->options;
    Plan plan = {
        .command_line = o->append ? o->append : "",
        .kernel.name = o->kernel,
        .initrd.name = o->initrd,
    };
    int err;

    if (o->kernel == NULL) {
        return o->initrd || o->append
                   ? error_set(NULL, EINVAL, "--initrd and --append need --kernel")
                   : 0;
    }
    err = load(m, &plan);
    free(plan.kernel.data);
    free(plan.initrd.data);
    return err;
}
