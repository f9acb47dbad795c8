/* SPDX-License-Identifier: MIT */
/*
 * nvdimms: the guest sees the backend but for the label area at its end, as non-volatile memory.
 *
 *      backend   |                                   |  |label|
 *      guest     |  "nvdimm-memory", an alias        |   (up to the alignment is lost)
 */
#include "base/error.h"
#include "base/range.h"
#include "dimm/device.h"
#include "ram/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define MIN_LABEL_SIZE (128ULL << 10)

static hwaddr memory_size(const MemoryDeviceState *md)
{
    return md->memory->state.size;
}

static int check_config(const MemoryDeviceState *md, const MemoryDeviceConfig *config)
{
    hwaddr size = memory_size(md);

    if (config->label_size && config->label_size < MIN_LABEL_SIZE) {
        return fail(EINVAL, "nvdimm '%s': a label area of 0x%" PRIx64 " bytes is below 0x%llx",
                    md->id, config->label_size, MIN_LABEL_SIZE);
    }
    if (config->label_size > size || size - config->label_size < md->align) {
        return fail(EINVAL,
                    "nvdimm '%s': the 0x%" PRIx64 " bytes of its backend are too few for a label "
                    "area of 0x%" PRIx64 " and memory in steps of 0x%" PRIx64,
                    md->id, size, config->label_size, md->align);
    }
    if (md->memory->state.readonly && !config->unarmed) {
        return fail(EINVAL, "nvdimm '%s' has to be unarmed: its backend is read-only", md->id);
    }
    return 0;
}

static int realize(MemoryDeviceState *md, const MemoryDeviceConfig *config)
{
    int result = check_config(md, config);

    if (result) {
        return result;
    }
    md->nvdimm.label_size = config->label_size;
    md->nvdimm.unarmed = config->unarmed;
    md->region = &md->nvdimm.alias;
    hwaddr size = (memory_size(md) - config->label_size) & ~(md->align - 1);
    result = memory_region_init_alias(md->region, md->owner, "nvdimm-memory", md->memory, 0, size);
    return result ? result : memory_region_set_nonvolatile(md->region, true);
}

static void query(const MemoryDeviceState *md, MemoryDeviceInfo *info)
{
    info->label_size = md->nvdimm.label_size;
    info->unarmed = md->nvdimm.unarmed;
}

const MemoryDeviceClass memory_device_nvdimm = {
    .type = "nvdimm", .has_slot = true, .realize = realize, .query = query};

/* ---- flush and labels --------------------------------------------------------------- */

static int check_armed(const MemoryDeviceState *md)
{
    return md->nvdimm.unarmed
               ? fail(EROFS, "nvdimm '%s' is unarmed: nothing is written to it for good", md->id)
               : 0;
}

static int check_range(const MemoryDeviceState *md, const char *where, hwaddr all, hwaddr offset,
                       hwaddr size)
{
    return offset > all || size > all - offset
               ? fail(EINVAL,
                      "nvdimm '%s': 0x%" PRIx64 " bytes at 0x%" PRIx64
                      " are not within the 0x%" PRIx64 " of its %s",
                      md->id, size, offset, all, where)
               : 0;
}

int nvdimm_flush(MemoryDeviceState *md, hwaddr offset, hwaddr size, Error **errp)
{
    int result = device_check_kind(md, MEMORY_DEVICE_NVDIMM);

    if (!result) {
        result = check_armed(md);
    }
    if (!result && size == 0) {
        offset = 0;
        size = memory_size(md);
    } else if (!result) {
        result = check_range(md, "memory", md->nvdimm.alias.state.size, offset, size);
    }
    if (!result) {
        result = ram_block_writeback(md->memory->ram_block, offset, size);
    }
    return error_pass(errp, result);
}

/* The label area's place in the backend, if [@offset, @offset + @size - 1] lies in it. */
static int find_labels(const MemoryDeviceState *md, hwaddr offset, hwaddr size, hwaddr *start)
{
    int result = device_check_kind(md, MEMORY_DEVICE_NVDIMM);

    if (!result) {
        result = check_range(md, "label area", md->nvdimm.label_size, offset, size);
    }
    if (!result) {
        *start = memory_size(md) - md->nvdimm.label_size + offset;
    }
    return result;
}

int nvdimm_read_label_data(MemoryDeviceState *md, void *buf, hwaddr size, hwaddr offset,
                           Error **errp)
{
    hwaddr start;
    int result = find_labels(md, offset, size, &start);

    if (!result) {
        memcpy(buf, md->memory->ram_block->host + start, (size_t)size);
    }
    return error_pass(errp, result);
}

int nvdimm_write_label_data(MemoryDeviceState *md, const void *buf, hwaddr size, hwaddr offset,
                            Error **errp)
{
    hwaddr start;
    int result = find_labels(md, offset, size, &start);

    if (!result) {
        result = check_armed(md);
    }
    if (!result) {
        RAMBlock *block = md->memory->ram_block;
        ram_before_write(block, start, size);
        memcpy(block->host + start, buf, (size_t)size);
        ram_after_write(block, start, size);
        if (block->flags & (RAM_SHARED | RAM_PMEM)) { /* other memory cannot be durable */
            result = ram_block_writeback(block, start, size);
        }
    }
    return error_pass(errp, result);
}
