/* SPDX-License-Identifier: MIT */
/*
 * soft.c - what an instruction of the PC's software CPU takes: soft_instruction.
 *
 * A loop in RAM of loads, stores, calls and arithmetic, nothing but memory, run by `membus boot`
 * and by the interpreter alone, which keeps its memory in pages of its own: the difference is what
 * it costs that every access goes through membus.
 */
#include "bench.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef HAVE_X86EMU
#include <x86emu.h>

#define ROUNDS UINT32_C(4000000)
#define INSTRUCTIONS (13.0 * ROUNDS) /* those outside of the loop do not count */

#define ROM_SIZE 0x10000
#define CODE_AT 0x8000
#define RESET_AT 0xfff0

static const uint8_t code[] = {
    0xfa,                               /*     cli                  */
    0x31, 0xc0,                         /*     xor   ax, ax         */
    0x8e, 0xd8,                         /*     mov   ds, ax         */
    0x8e, 0xd0,                         /*     mov   ss, ax         */
    0xbc, 0x00, 0x70,                   /*     mov   sp, 0x7000     */
    0x66, 0xbd, 0x00, 0x00, 0x00, 0x00, /*     mov   ebp, ROUNDS    */
    0x8b, 0x87, 0x00, 0x90,             /* 1:  mov   ax, [bx + 0x9000] */
    0x01, 0xe8,                         /*     add   ax, bp         */
    0x89, 0x87, 0x00, 0x91,             /*     mov   [bx + 0x9100], ax */
    0x50,                               /*     push  ax             */
    0x43,                               /*     inc   bx             */
    0x83, 0xe3, 0x7e,                   /*     and   bx, 0x7e       */
    0x5a,                               /*     pop   dx             */
    0x85, 0xd0,                         /*     test  ax, dx         */
    0xe8, 0x0b, 0x00,                   /*     call  2f             */
    0x66, 0x4d,                         /*     dec   ebp            */
    0x75, 0xe7,                         /*     jnz   1b             */
    0xba, 0xf8, 0x03,                   /*     mov   dx, 0x3f8      */
    0xb0, 0x21,                         /*     mov   al, '!'        */
    0xee,                               /*     out   dx, al         */
    0xf4,                               /*     hlt                  */
    0x31, 0xd6,                         /* 2:  xor   si, dx         */
    0xc3,                               /*     ret                  */
};
#define ROUNDS_AT 12

/* At power-on: copy the code to RAM and go there. */
static const uint8_t boot_code[] = {
    0xfa,                         /*     cli                  */
    0x31, 0xc0,                   /*     xor   ax, ax         */
    0x8e, 0xc0,                   /*     mov   es, ax         */
    0xb8, 0x00, 0xf0,             /*     mov   ax, 0xf000     */
    0x8e, 0xd8,                   /*     mov   ds, ax         */
    0xbe, 0x00, 0x01,             /*     mov   si, 0x100      */
    0xbf, 0x00, 0x80,             /*     mov   di, CODE_AT    */
    0xb9, 0x00, 0x01,             /*     mov   cx, 0x100      */
    0xf3, 0xa4,                   /*     rep movsb            */
    0xea, 0x00, 0x80, 0x00, 0x00, /*     jmp   0:CODE_AT      */
};
static const uint8_t reset_code[] = {0xea, 0x00, 0x00, 0x00, 0xf0}; /* jmp 0xf000:0 */

static void put_code(uint8_t *at, uint32_t rounds)
{
    memcpy(at, code, sizeof code);
    for (unsigned i = 0; i < 4; i++) {
        at[ROUNDS_AT + i] = (uint8_t)(rounds >> 8 * i);
    }
}

/* ---- membus boot --------------------------------------------------------------------- */

typedef struct Boot {
    char command[PATH_MAX], rom[64];
} Boot;

static bool boot_init(Boot *boot)
{
    ssize_t length = readlink("/proc/self/exe", boot->command, sizeof boot->command - 32);
    uint8_t *rom = calloc(1, ROM_SIZE);
    bool good = false;

    if (length > 0 && rom) {
        boot->command[length] = '\0';
        strcpy(strrchr(boot->command, '/'), "/../membus"); /* of the same build */
        strcpy(boot->rom, "/tmp/membus-bench-XXXXXX");
        memcpy(rom, boot_code, sizeof boot_code);
        put_code(rom + 0x100, ROUNDS);
        memcpy(rom + RESET_AT, reset_code, sizeof reset_code);
        int fd = mkstemp(boot->rom);
        good = fd >= 0 && write(fd, rom, ROM_SIZE) == ROM_SIZE && close(fd) == 0 &&
               access(boot->command, X_OK) == 0;
    }
    free(rom);
    return good;
}

static double sample_boot(void *opaque)
{
    const Boot *boot = opaque;
    double start = now_ns();
    pid_t child = fork();
    int status = -1;

    if (child == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDIN_FILENO);
        execl(boot->command, "membus", "boot", "--accel", "soft", "--bios", boot->rom, "--serial",
              "null", "--exit-on", "!", "--timeout", "60", (char *)NULL);
        _exit(127);
    }
    expect(child > 0 && waitpid(child, &status, 0) == child && status == 0, "membus boot");
    return (now_ns() - start) / INSTRUCTIONS;
}

/* ---- The interpreter alone ------------------------------------------------------------- */

static unsigned stop_at_port(x86emu_t *emu, u32 addr, u32 *value, unsigned type)
{
    x86emu_memio_handler_t memory = (x86emu_memio_handler_t)emu->_private;

    if ((type & ~0xffU) == X86EMU_MEMIO_O) {
        return 0;
    }
    return memory(emu, addr, value, type);
}

static double sample_alone(void *opaque)
{
    x86emu_t *emu = x86emu_new(X86EMU_PERM_RWX | X86EMU_PERM_VALID, 0);
    uint8_t bytes[sizeof code];

    (void)opaque;
    expect(emu, "x86emu_new");
    put_code(bytes, ROUNDS);
    for (unsigned i = 0; i < sizeof bytes; i++) {
        x86emu_write_byte(emu, CODE_AT + i, bytes[i]);
    }
    emu->_private = (void *)x86emu_set_memio_handler(emu, stop_at_port);
    x86emu_set_seg_register(emu, emu->x86.R_CS_SEL, 0);
    emu->x86.R_EIP = CODE_AT;
    double start = now_ns();
    x86emu_run(emu, 0);
    double elapsed = now_ns() - start;
    expect(emu->x86.R_EBP == 0, "the loop ends");
    x86emu_done(emu);
    return elapsed / INSTRUCTIONS;
}

void bench_soft(Bench *bench)
{
    Boot boot = {0};

    if (!bench_wants(bench, "soft_instruction")) {
        return;
    }
    bool ready = boot_init(&boot);
    Contender contenders[] = {
        {"membus", ready ? sample_boot : NULL, &boot, "no membus command in this build", {{0}, 0}},
        {"libx86emu alone", sample_alone, NULL, NULL, {{0}, 0}},
    };
    if (ready) {
        bench_compare(bench, "soft_instruction", "ns", (Goal){GOAL_AT_MOST, 40}, contenders, 2);
    }
    unlink(boot.rom);
}
#else
void bench_soft(Bench *bench)
{
    (void)bench;
}
#endif
