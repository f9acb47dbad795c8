/* SPDX-License-Identifier: MIT */
/* The text of QEMU's `info memory-devices`, `info memdev` and `info ramblock`. */
#include "base/error.h"
#include "ram/block.h"

#include <membus/hostmem.h>
#include <membus/inspect.h>
#include <membus/memory_device.h>

#include <errno.h>
#include <inttypes.h>

static int printed(FILE *out, const char *what)
{
    return ferror(out) ? fail(EIO, "%s: cannot write the text", what) : 0;
}

/* ---- info memory-devices ------------------------------------------------------------ */

static void print_virtio_mem(const MemoryDeviceInfo *info, FILE *out)
{
    fprintf(out, "Memory device [virtio-mem]: \"%s\"\n", info->id);
    fprintf(out, "  memaddr: 0x%" PRIx64 "\n", info->addr);
    fprintf(out, "  node: %u\n", info->node);
    fprintf(out, "  requested-size: %" PRIu64 "\n", info->requested_size);
    fprintf(out, "  size: %" PRIu64 "\n", info->size);
    fprintf(out, "  max-size: %" PRIu64 "\n", info->max_size);
    fprintf(out, "  block-size: %" PRIu64 "\n", info->block_size);
    fprintf(out, "  memdev: /objects/%s\n", info->memdev);
}

static void print_dimm(const MemoryDeviceInfo *info, FILE *out)
{
    fprintf(out, "Memory device [%s]: \"%s\"\n",
            info->kind == MEMORY_DEVICE_NVDIMM ? "nvdimm" : "dimm", info->id);
    fprintf(out, "  addr: 0x%" PRIx64 "\n", info->addr);
    fprintf(out, "  slot: %d\n", info->slot);
    fprintf(out, "  node: %u\n", info->node);
    fprintf(out, "  size: %" PRIu64 "\n", info->size);
    fprintf(out, "  memdev: /objects/%s\n", info->memdev);
    fprintf(out, "  hotplugged: %s\n", info->hotplugged ? "true" : "false");
    fprintf(out, "  hotpluggable: %s\n", info->hotpluggable ? "true" : "false");
}

static bool print_device(MemoryDeviceState *md, void *out)
{
    MemoryDeviceInfo info;

    memory_device_query(md, &info);
    if (info.kind == MEMORY_DEVICE_VIRTIO_MEM) {
        print_virtio_mem(&info, out);
    } else {
        print_dimm(&info, out);
    }
    return false;
}

int memory_devices_print(MemorySystem *ms, FILE *out)
{
    memory_devices_for_each(ms, print_device, out);
    return printed(out, "memory devices");
}

/* ---- info memdev -------------------------------------------------------------------- */

static const char *const policies[] = {
    [HOST_MEMORY_POLICY_DEFAULT] = "default",
    [HOST_MEMORY_POLICY_PREFERRED] = "preferred",
    [HOST_MEMORY_POLICY_BIND] = "bind",
    [HOST_MEMORY_POLICY_INTERLEAVE] = "interleave",
};

static const char *truth(bool value)
{
    return value ? "true" : "false";
}

static bool has_node(const HostMemoryConfig *config, unsigned node)
{
    const unsigned bits = 8 * sizeof *config->host_nodes;

    return node < HOST_MEMORY_MAX_NODES && config->host_nodes[node / bits] >> (node % bits) & 1;
}

/* 0,2-4 */
static void print_nodes(const HostMemoryConfig *config, FILE *out)
{
    const char *separator = "";

    for (unsigned first = 0; first < HOST_MEMORY_MAX_NODES; first++) {
        if (has_node(config, first)) {
            unsigned last = first;
            while (has_node(config, last + 1)) {
                last++;
            }
            fprintf(out, "%s%u", separator, first);
            if (last > first) {
                fprintf(out, "-%u", last);
            }
            separator = ",";
            first = last;
        }
    }
}

static bool print_backend(HostMemoryBackend *backend, void *opaque)
{
    const HostMemoryConfig *config = host_memory_backend_config(backend);
    FILE *out = opaque;

    fprintf(out, "memory backend: %s\n", config->id);
    fprintf(out, "  size:  %" PRIu64 "\n", config->size);
    fprintf(out, "  merge: %s\n", truth(config->merge));
    fprintf(out, "  dump: %s\n", truth(config->dump));
    fprintf(out, "  prealloc: %s\n", truth(config->prealloc));
    fprintf(out, "  share: %s\n", truth(config->share));
    fprintf(out, "  reserve: %s\n", truth(config->reserve));
    fprintf(out, "  policy: %s\n", policies[config->policy]);
    fprintf(out, "  host nodes: ");
    print_nodes(config, out);
    fprintf(out, "\n");
    return false;
}

int memdev_print(MemorySystem *ms, FILE *out)
{
    host_memory_backend_for_each(ms, print_backend, out);
    fprintf(out, "\n");
    return printed(out, "memory backends");
}

/* ---- info ramblock ------------------------------------------------------------------ */

typedef struct BlockPrinter {
    FILE *out;
    unsigned flags;
} BlockPrinter;

/* A page size, a power of two, as "4 KiB". */
static void format_page_size(char *buf, size_t size, size_t page_size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;

    while (page_size >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        page_size /= 1024;
        unit++;
    }
    snprintf(buf, size, "%zu %s", page_size, units[unit]);
}

static int print_block(RAMBlock *block, void *opaque)
{
    const BlockPrinter *printer = opaque;
    char page_size[32];

    format_page_size(page_size, sizeof page_size, qemu_ram_pagesize(block));
    fprintf(printer->out, "%24s %8s  0x%016" PRIx64 " 0x%016" PRIx64 " 0x%016" PRIx64,
            qemu_ram_get_idstr(block), page_size, qemu_ram_get_offset(block),
            qemu_ram_get_used_length(block), qemu_ram_get_max_length(block));
    if (printer->flags & RAMBLOCK_PRINT_HOST) {
        fprintf(printer->out, " 0x%016" PRIxPTR " %3s", (uintptr_t)qemu_ram_get_host_addr(block),
                block->flags & RAM_READONLY ? "ro" : "rw");
    }
    fprintf(printer->out, "\n");
    return 0;
}

int ramblock_print(MemorySystem *ms, FILE *out, unsigned flags)
{
    BlockPrinter printer = {out, flags};

    fprintf(out, "%24s %8s  %18s %18s %18s", "Block Name", "PSize", "Offset", "Used", "Total");
    if (flags & RAMBLOCK_PRINT_HOST) {
        fprintf(out, " %18s %3s", "HVA", "RO");
    }
    fprintf(out, "\n");
    int result = qemu_ram_foreach_block(ms, print_block, &printer);
    return result ? result : printed(out, "RAM blocks");
}
