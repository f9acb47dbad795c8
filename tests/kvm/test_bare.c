/* SPDX-License-Identifier: MIT */
/* test_bare.c - KVM and the guests' code by themselves: where these fail, others are no news. */
#include "check.h"
#include "code.h"
#include "tests.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define MEMORY 0x100000U
#define CODE_AT 0x1000U
#define PORT 0x100

typedef struct Bare {
    int kvm, vm, cpu;
    uint8_t *memory;
    struct kvm_run *run;
    char text[512]; /* its exits, in words */
} Bare;

static void open_bare(Bare *b, const Code *code, struct kvm_regs regs)
{
    struct kvm_userspace_memory_region slot = {.memory_size = 0xa0000};
    int size;

    *b = (Bare){.kvm = (int)CALL(open("/dev/kvm", O_RDWR | O_CLOEXEC))};
    b->vm = (int)CALL(ioctl(b->kvm, KVM_CREATE_VM, 0UL));
    b->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(b->memory != MAP_FAILED);
    slot.userspace_addr = (uintptr_t)b->memory;
    CALL(ioctl(b->vm, KVM_SET_USER_MEMORY_REGION, &slot));
    b->cpu = (int)CALL(ioctl(b->vm, KVM_CREATE_VCPU, 0UL));
    size = (int)CALL(ioctl(b->kvm, KVM_GET_VCPU_MMAP_SIZE, 0UL));
    b->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, b->cpu, 0);
    CHECK(b->run != MAP_FAILED);
    memcpy(b->memory + CODE_AT, code->begin, code_size(code));
    regs.rdx = PORT;
    code_enter(b->cpu, code, CODE_AT, &regs);
}

__attribute__((format(printf, 2, 3))) static void say(Bare *b, const char *format, ...)
{
    size_t length = strlen(b->text);
    va_list args;

    va_start(args, format);
    vsnprintf(b->text + length, sizeof b->text - length, format, args);
    va_end(args);
}

static void tell_mmio(Bare *b)
{
    uint64_t value = 0;

    if (b->run->mmio.is_write) {
        memcpy(&value, b->run->mmio.data, b->run->mmio.len);
        say(b, "w%u %llx=%llx ", b->run->mmio.len, b->run->mmio.phys_addr,
            (unsigned long long)value);
    } else {
        memcpy(b->run->mmio.data, &(uint32_t){0x41}, 4);
        say(b, "r%u %llx ", b->run->mmio.len, b->run->mmio.phys_addr);
    }
}

static void run_bare(Bare *b)
{
    for (;;) {
        const uint8_t *data;

        CALL(ioctl(b->cpu, KVM_RUN, 0UL));
        data = (const uint8_t *)b->run + b->run->io.data_offset;
        switch (b->run->exit_reason) {
        case KVM_EXIT_IO:
            if (b->run->io.size == 1) {
                say(b, "%c", *data);
            } else {
                uint32_t value;

                memcpy(&value, data, sizeof value);
                say(b, "o%x=%x ", b->run->io.port - PORT, value);
            }
            break;
        case KVM_EXIT_MMIO:
            tell_mmio(b);
            break;
        case KVM_EXIT_HLT:
            return;
        default:
            FAIL("exit reason %u after \"%s\"", b->run->exit_reason, b->text);
        }
    }
}

void test_bare_real_mode(void)
{
    Bare b;

    open_bare(&b, &code_hello, (struct kvm_regs){.rdi = 0x3000});
    run_bare(&b);
    CHECK(strcmp(b.text, "Hello from real mode\nr4 b0000 w4 b0004=42 w2 b0008=42 w1 b000a=42 ") ==
              0,
          "%s", b.text);
    CHECK(b.memory[0x3000] == 0x42, "%x", b.memory[0x3000]);
}

void test_bare_flat_mode(void)
{
    Bare b;

    open_bare(&b, &code_sums, (struct kvm_regs){.rsi = 0x20000, .rcx = 0x4000});
    for (uint32_t i = 0; i < 0x4000; i++) {
        memcpy(b.memory + 0x20000 + 4 * i, &i, sizeof i);
    }
    run_bare(&b);
    CHECK(strcmp(b.text, "o4=7ffe000 ") == 0, "%s", b.text);
}
