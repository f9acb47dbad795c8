/* SPDX-License-Identifier: MIT */
/* The monitor: where memory is, saving it, and the screen. */
#include "devices.h"
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <membus/access.h>
#include <membus/ram.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- The host's addresses ------------------------------------------------------------- */

typedef struct HostPlace {
    uint8_t *host;
    json_t *name; /* of the region */
} HostPlace;

/* The host memory behind a guest address. What is read there is not: it may end any time. */
static int find_host(MonitorCall *call, HostPlace *place)
{
    hwaddr addr = call->args[0].number, xlat, length = 1;
    int result = 0;

    memory_read_lock();
    MemoryRegion *mr = address_space_translate(memory_system_memory(call->machine->ms), addr, &xlat,
                                               &length, false, MEMTXATTRS_UNSPECIFIED);
    if (!mr) {
        result = error_set(&call->err, ENOENT, "No memory is mapped at address 0x%" PRIx64, addr);
    } else if (!mr->ram_block) {
        result = error_set(&call->err, EINVAL, "Memory at address 0x%" PRIx64 " is not RAM", addr);
    } else {
        place->host = (uint8_t *)memory_region_get_ram_ptr(mr) + xlat;
        place->name = monitor_json_text(memory_region_name(mr));
        result = place->name ? 0 : error_set(&call->err, ENOMEM, "memory is short");
    }
    memory_read_unlock();
    return result;
}

static int tell_place(MonitorCall *call, HostPlace *place, const char *what, const char *key,
                      uint64_t value)
{
    if (call->json) {
        return monitor_set_result(
            call, json_pack("{s:o, s:o}", "region", place->name, key, monitor_json_address(value)));
    }
    fprintf(call->out, "Host %s address for 0x%" PRIx64 " (%s) is 0x%" PRIx64 "\n", what,
            call->args[0].number, json_string_value(place->name), value);
    json_decref(place->name);
    return 0;
}

int monitor_gpa2hva(MonitorCall *call)
{
    HostPlace place;
    int result = find_host(call, &place);

    return result < 0 ? result : tell_place(call, &place, "virtual", "hva", (uintptr_t)place.host);
}

/* One entry a page: bit 63: it is present; bits 0 to 54: which (0 for the unprivileged). */
static int read_pagemap(uintptr_t host, uint64_t *hpa, Error **errp)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), entry, frame;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return error_set(errp, errno, "/proc/self/pagemap: %m");
    }
    ssize_t got = pread(fd, &entry, sizeof entry, (off_t)(host / page * sizeof entry));
    close(fd);
    if (got != sizeof entry) {
        return error_set(errp, EIO, "/proc/self/pagemap tells nothing of it");
    }
    frame = entry & ((UINT64_C(1) << 55) - 1);
    if (!(entry >> 63)) {
        return error_set(errp, ENOENT, "the page is not in the host's memory now%s",
                         entry >> 62 & 1 ? ": it is swapped out" : "");
    }
    if (frame == 0) {
        return error_set(errp, EPERM, "the kernel tells physical addresses to the privileged only");
    }
    *hpa = frame * page + host % page;
    return 0;
}

int monitor_gpa2hpa(MonitorCall *call)
{
    HostPlace place;
    uint64_t hpa = 0;
    int result = find_host(call, &place);

    if (result < 0) {
        return result;
    }
    result = read_pagemap((uintptr_t)place.host, &hpa, &call->err);
    if (result < 0) {
        json_decref(place.name);
        return result;
    }
    return tell_place(call, &place, "physical", "hpa", hpa);
}

/* ---- pmemsave, screen --------------------------------------------------------------------- */

#define CHUNK 65536U

static bool is_zero(const uint8_t *bytes, size_t count)
{
    return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

typedef struct Save {
    MonitorCall *call;
    hwaddr addr, size; /* what is saved */
    int fd;
    uint8_t *chunk;
} Save;

static int write_at(const Save *save, hwaddr addr, size_t count)
{
    for (size_t done = 0; done < count;) {
        ssize_t written =
            pwrite(save->fd, save->chunk + done, count - done, (off_t)(addr - save->addr + done));
        if (written <= 0) {
            return written < 0 ? -errno : -EIO;
        }
        done += (size_t)written;
    }
    return 0;
}

static int save_range(const Save *save, hwaddr first, hwaddr last)
{
    AddressSpace *as = memory_system_memory(save->call->machine->ms);
    const atomic_bool *ending = save->call->session->ending;
    int result = 0;

    for (hwaddr left = last - first + 1; left && !result;) {
        size_t count = left < CHUNK ? (size_t)left : CHUNK;
        /* Memory only, should the map have changed: a device's register could be changed by it. */
        if (!address_space_read(as, first, (MemTxAttrs){.debug = 1, .memory = 1}, save->chunk,
                                count) &&
            !is_zero(save->chunk, count)) {
            result = write_at(save, first, count);
        }
        if (ending && atomic_load(ending)) {
            result = -EINTR;
        }
        first += count;
        left -= count;
    }
    return result;
}

/* The file is as long as what was asked for; zeros, devices and where nothing is are holes. */
static int save_memory(const Save *save)
{
    FlatView *view = address_space_get_flatview(memory_system_memory(save->call->machine->ms));
    hwaddr last = save->addr + save->size - 1;
    MemoryRegionSection s;
    int result = ftruncate(save->fd, (off_t)save->size) < 0 ? -errno : 0;

    for (hwaddr at = save->addr; save->size && !result && flatview_next(view, at, &s) &&
                                 s.offset_within_address_space <= last;
         at = s.last_within_address_space + 1) {
        hwaddr first = at > s.offset_within_address_space ? at : s.offset_within_address_space;
        hwaddr end = s.last_within_address_space < last ? s.last_within_address_space : last;
        if (memory_region_is_ram(s.mr) || memory_region_is_romd(s.mr)) {
            result = save_range(save, first, end);
        }
        if (end == last) {
            break;
        }
    }
    flatview_unref(view);
    return result;
}

int monitor_pmemsave(MonitorCall *call)
{
    Save save = {.call = call, .addr = call->args[0].number, .size = call->args[1].number};
    const char *name = call->args[2].text;

    if (save.size > INT64_MAX || (save.size > 0 && save.addr > UINT64_MAX - (save.size - 1))) {
        return error_set(&call->err, EINVAL, "0x%" PRIx64 " bytes are too many", save.size);
    }
    /* A FIFO that nobody reads would have the machine's end wait for that. */
    save.fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0666);
    if (save.fd < 0) {
        return error_set(&call->err, errno, "%s: %m", name);
    }
    save.chunk = malloc(CHUNK);
    int result = save.chunk ? save_memory(&save) : -ENOMEM;
    free(save.chunk);
    if (close(save.fd) < 0 && result == 0) {
        result = -errno;
    }
    return result < 0 ? error_set(&call->err, -result, "%s: %s", name, strerror(-result)) : 0;
}

int monitor_screen(MonitorCall *call)
{
    Machine *m = call->machine;

    if (!m->vga) {
        return error_set(&call->err, ENODEV, "the machine has no display");
    }
    memory_system_lock(m->ms);
    int result = vga_text(m->vga, call->out);
    memory_system_unlock(m->ms);
    return result == -ENOTSUP ? error_set(&call->err, ENOTSUP, "the display shows no text")
           : result < 0       ? error_set(&call->err, -result, "%s", membus_last_error())
                              : 0;
}
