/* SPDX-License-Identifier: MIT */
/* Memory devices from text: one table says which keys there are, and where they go. */
#include "base/error.h"
#include "base/text.h"
#include "dimm/device.h"
#include "ram/option_values.h"

#include <errno.h>
#include <limits.h>

#define BIT(kind) (1U << (kind))
#define VIRTIO_MEM BIT(MEMORY_DEVICE_VIRTIO_MEM)
#define NVDIMM BIT(MEMORY_DEVICE_NVDIMM)
#define DIMMS (BIT(MEMORY_DEVICE_DIMM) | NVDIMM)
#define ALL (DIMMS | VIRTIO_MEM)

typedef enum ValueType { TEXT, SIZE, SWITCH, SLOT, NODE } ValueType;

typedef struct Parsed {
    MemoryDeviceConfig config;
    const char *memdev;
} Parsed;

typedef struct Key {
    const char *name;
    ValueType type;
    size_t field; /* in Parsed */
    unsigned kinds;
} Key;

static const Key keys[] = {
    {"id", TEXT, offsetof(Parsed, config.id), ALL},
    {"memdev", TEXT, offsetof(Parsed, memdev), ALL},
    {"addr", SIZE, offsetof(Parsed, config.addr), DIMMS},
    {"memaddr", SIZE, offsetof(Parsed, config.addr), VIRTIO_MEM},
    {"slot", SLOT, offsetof(Parsed, config.slot), DIMMS},
    {"node", NODE, offsetof(Parsed, config.node), ALL},
    {"hotplugged", SWITCH, offsetof(Parsed, config.hotplugged), ALL},
    {"label-size", SIZE, offsetof(Parsed, config.label_size), NVDIMM},
    {"unarmed", SWITCH, offsetof(Parsed, config.unarmed), NVDIMM},
    {"block-size", SIZE, offsetof(Parsed, config.block_size), VIRTIO_MEM},
    {"requested-size", SIZE, offsetof(Parsed, config.requested_size), VIRTIO_MEM},
};
#define NR_KEYS (sizeof keys / sizeof *keys)

static const struct {
    const char *name;
    MemoryDeviceKind kind;
} types[] = {
    {"pc-dimm", MEMORY_DEVICE_DIMM},
    {"nvdimm", MEMORY_DEVICE_NVDIMM},
    {"virtio-mem-pci", MEMORY_DEVICE_VIRTIO_MEM},
    {"virtio-mem", MEMORY_DEVICE_VIRTIO_MEM},
};

static const char *whole_number(const char *text, long min, long max, long *value)
{
    char *end;

    errno = 0;
    *value = strtol(text, &end, 10);
    if (end == text || *end || errno || *value < min || *value > max) {
        return "is not a whole number in its range";
    }
    return NULL;
}

static const char *set_value(void *field, ValueType type, const char *text)
{
    const char *wrong = NULL;
    long value;

    switch (type) {
    case TEXT:
        *(const char **)field = text;
        return *text ? NULL : "is empty";
    case SIZE:
        return option_size(text, field);
    case SWITCH:
        return option_switch(text, field);
    case SLOT:
        wrong = whole_number(text, INT_MIN, INT_MAX, &value);
        *(int *)field = (int)value;
        return wrong;
    case NODE:
        wrong = whole_number(text, 0, INT_MAX, &value);
        *(unsigned *)field = (unsigned)value;
        return wrong;
    }
    return wrong;
}

static int parse_type(const char *type, MemoryDeviceKind *kind)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].name) == 0) {
            *kind = types[i].kind;
            return 0;
        }
    }
    return fail(EINVAL,
                "'%.40s' is no kind of memory device: options begin with pc-dimm, nvdimm or "
                "virtio-mem-pci",
                type);
}

static int parse_item(Parsed *parsed, const char *type, char *item, unsigned *seen)
{
    char *value = strchr(item, '=');

    if (!value) {
        return fail(EINVAL, "%s: '%.40s' has no value: write KEY=VALUE", type, item);
    }
    *value++ = '\0';
    for (unsigned i = 0; i < NR_KEYS; i++) {
        if (strcmp(keys[i].name, item) != 0) {
            continue;
        }
        const char *wrong = !(keys[i].kinds & BIT(parsed->config.kind)) ? "is for another kind"
                            : *seen & BIT(i)
                                ? "is given twice"
                                : set_value((char *)parsed + keys[i].field, keys[i].type, value);
        *seen |= BIT(i);
        return wrong ? fail(EINVAL, "%s: %s=%.40s %s", type, item, value, wrong) : 0;
    }
    return fail(EINVAL, "%s: there is no key '%.40s'", type, item);
}

/* Strings of @parsed point into @text. */
static int parse(char *text, Parsed *parsed)
{
    char *save, *type = strtok_r(text, ",", &save), *item;
    unsigned seen = 0;
    int result = parse_type(type ? type : "", &parsed->config.kind);

    while (!result && (item = strtok_r(NULL, ",", &save))) {
        result = parse_item(parsed, type, item, &seen);
    }
    return result;
}

static int find_backend(MemorySystem *ms, Parsed *parsed)
{
    if (parsed->memdev) {
        parsed->config.memdev = host_memory_backend_find(ms, parsed->memdev);
        if (!parsed->config.memdev) {
            return fail(ENODEV, "memory device '%s': there is no memory backend '%.40s'",
                        parsed->config.id ? parsed->config.id : "", parsed->memdev);
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
