/* SPDX-License-Identifier: MIT */
/* Memory devices from text: one table says which keys there are, and where they go. */
#include "ram/options.h"
#include "base/error.h"
#include "base/text.h"
#include "dimm/device.h"

#include <errno.h>
#include <limits.h>

#define BIT(kind) (1U << (kind))
#define VIRTIO_MEM BIT(MEMORY_DEVICE_VIRTIO_MEM)
#define NVDIMM BIT(MEMORY_DEVICE_NVDIMM)
#define DIMMS (BIT(MEMORY_DEVICE_DIMM) | NVDIMM)
#define ALL (DIMMS | VIRTIO_MEM)

typedef struct Parsed {
    MemoryDeviceConfig config;
    const char *memdev;
} Parsed;

#define KEY(key, option_type, member, of_kinds, ...)                                               \
    {                                                                                              \
        .name = (key), .type = (option_type), .field = offsetof(Parsed, member),                   \
        .kinds = (of_kinds), __VA_ARGS__                                                           \
    }

static const OptionKey keys[] = {
    KEY("id", OPTION_TEXT, config.id, ALL),
    KEY("memdev", OPTION_TEXT, memdev, ALL),
    KEY("addr", OPTION_SIZE, config.addr, DIMMS),
    KEY("memaddr", OPTION_SIZE, config.addr, VIRTIO_MEM),
    KEY("slot", OPTION_NUMBER, config.slot, DIMMS, .min = -1, .max = INT_MAX),
    KEY("node", OPTION_NUMBER, config.node, ALL, .max = INT_MAX),
    KEY("hotplugged", OPTION_SWITCH, config.hotplugged, ALL),
    KEY("label-size", OPTION_SIZE, config.label_size, NVDIMM),
    KEY("unarmed", OPTION_SWITCH, config.unarmed, NVDIMM),
    KEY("block-size", OPTION_SIZE, config.block_size, VIRTIO_MEM),
    KEY("requested-size", OPTION_SIZE, config.requested_size, VIRTIO_MEM),
};

static const OptionKind kinds[] = {
    {"pc-dimm", MEMORY_DEVICE_DIMM},
    {"nvdimm", MEMORY_DEVICE_NVDIMM},
    {"virtio-mem-pci", MEMORY_DEVICE_VIRTIO_MEM},
    {"virtio-mem", MEMORY_DEVICE_VIRTIO_MEM},
};

static const OptionSet device_options = {
    .what = "memory device",
    .prefix = "driver=",
    .kinds = kinds,
    .nr_kinds = sizeof kinds / sizeof *kinds,
    .kinds_shown = "pc-dimm, nvdimm or virtio-mem-pci",
    .keys = keys,
    .nr_keys = sizeof keys / sizeof *keys,
};

/* Strings of @parsed point into @text. */
static int parse(char *text, Parsed *parsed)
{
    unsigned kind;
    int result = options_parse(&device_options, text, &kind, parsed);

    if (!result) {
        parsed->config.kind = (MemoryDeviceKind)kind;
    }
    return result;
}

static int find_backend(MemorySystem *ms, Parsed *parsed)
{
    if (parsed->memdev) {
        parsed->config.memdev = host_memory_backend_find(ms, parsed->memdev);
        if (!parsed->config.memdev) {
            return fail(ENODEV, "memory device '%s': there is no memory backend '%s'",
                        parsed->config.id ? option_show(parsed->config.id).text : "",
                        option_show(parsed->memdev).text);
        }
    }
    return 0;
}

MemoryDeviceState *memory_device_add(MemorySystem *ms, const char *options, Error **errp)
{
    Parsed parsed = {.config = MEMORY_DEVICE_CONFIG_INIT};
    MemoryDeviceState *md = NULL;
    char *text = text_copy(options);
    int result = text ? parse(text, &parsed) : fail_no_memory("options of a memory device");

    if (result) {
        error_pass(errp, result);
    } else {
        machine_lock(ms);
        result = find_backend(ms, &parsed);
        if (result) {
            error_pass(errp, result);
        } else {
            md = memory_device_add_config(ms, &parsed.config, errp);
        }
        machine_unlock(ms);
    }
    free(text);
    return md;
}
