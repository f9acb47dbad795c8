/* SPDX-License-Identifier: MIT */
/*
 * unicorn.c - Unicorn's memory as a peer, through its documented C interface.
 *
 * It is looked for at run time, so that the benchmark builds and runs without it. The declarations
 * here are those of the interface's manual, as far as they are used.
 */
#include "peers.h"
#include "world.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define ARCH_X86 4
#define MODE_64 (1 << 3)
#define PROT_EVERYTHING 7U

typedef struct uc_struct uc_engine;
typedef uint64_t ReadCallback(uc_engine *uc, uint64_t offset, unsigned size, void *user_data);
typedef void WriteCallback(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value,
                           void *user_data);

static struct {
    unsigned (*version)(unsigned *major, unsigned *minor);
    int (*open)(int arch, int mode, uc_engine **uc);
    int (*close)(uc_engine *uc);
    int (*mem_map_ptr)(uc_engine *uc, uint64_t address, size_t size, uint32_t perms, void *ptr);
    int (*mmio_map)(uc_engine *uc, uint64_t address, size_t size, ReadCallback *read,
                    void *read_data, WriteCallback *write, void *write_data);
    int (*mem_unmap)(uc_engine *uc, uint64_t address, size_t size);
    int (*mem_read)(uc_engine *uc, uint64_t address, void *bytes, size_t size);
} api;

struct Unicorn {
    uc_engine *uc;
};

static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    /* POSIX promises that a function's address survives the way through void *. */
    memcpy(function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

static bool load(void)
{
    void *library = dlopen("libunicorn.so.2", RTLD_NOW | RTLD_LOCAL);
    return library && find(library, "uc_version", &api.version) &&
           find(library, "uc_open", &api.open) && find(library, "uc_close", &api.close) &&
           find(library, "uc_mem_map_ptr", &api.mem_map_ptr) &&
           find(library, "uc_mmio_map", &api.mmio_map) &&
           find(library, "uc_mem_unmap", &api.mem_unmap) &&
           find(library, "uc_mem_read", &api.mem_read);
}

bool unicorn_available(void)
{
    static int loaded = -1;
    if (loaded < 0) {
        loaded = load();
    }
    return loaded;
}

const char *unicorn_name(void)
{
    static char name[32] = "Unicorn";
    if (unicorn_available()) {
        unsigned major, minor;
        unsigned version = api.version(&major, &minor);
        snprintf(name, sizeof(name), "Unicorn %u.%u.%u", major, minor, version >> 8 & 0xff);
    }
    return name;
}

static void check(int error, const char *call)
{
    if (error) {
        fprintf(stderr, "membus-bench: Unicorn's %s failed with error %d\n", call, error);
        exit(1);
    }
}

Unicorn *unicorn_create(void)
{
    if (!unicorn_available()) {
        return NULL;
    }
    Unicorn *unicorn = must_alloc(sizeof(Unicorn));
    check(api.open(ARCH_X86, MODE_64, &unicorn->uc), "uc_open");
    return unicorn;
}

void unicorn_destroy(Unicorn *unicorn)
{
    if (unicorn) {
        check(api.close(unicorn->uc), "uc_close");
        free(unicorn);
    }
}

void unicorn_map_ram(Unicorn *unicorn, uint64_t addr, size_t size, void *host)
{
    check(api.mem_map_ptr(unicorn->uc, addr, size, PROT_EVERYTHING, host), "uc_mem_map_ptr");
}

static uint64_t answer(uc_engine *uc, uint64_t offset, unsigned size, void *user_data)
{
    (void)uc;
    return device_read(user_data, offset, size);
}

static void take(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user_data)
{
    (void)uc;
    device_write(user_data, offset, value, size);
}

void unicorn_map_device(Unicorn *unicorn, uint64_t addr, size_t size)
{
    check(api.mmio_map(unicorn->uc, addr, size, answer, NULL, take, NULL), "uc_mmio_map");
}

void unicorn_unmap(Unicorn *unicorn, uint64_t addr, size_t size)
{
    check(api.mem_unmap(unicorn->uc, addr, size), "uc_mem_unmap");
}

void unicorn_read(Unicorn *unicorn, uint64_t addr, void *buf, size_t size)
{
    check(api.mem_read(unicorn->uc, addr, buf, size), "uc_mem_read");
}
