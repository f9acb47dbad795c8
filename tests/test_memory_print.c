/* SPDX-License-Identifier: MIT */
/*
 * The text of memory devices, backends and blocks, beside QEMU's own: what was captured of one
 * machine, and what the QEMU that is installed here says of it now.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/dimm.h"

/* The machine that both build, and the commands that add to it while it runs. */
#define QEMU "qemu-system-x86_64"
#define COMMAND_LINE                                                                               \
    "-S -display none -nodefaults -M pc,nvdimm=on -m 256M,slots=4,maxmem=4G "                      \
    "-object memory-backend-ram,id=m0,size=64M "                                                   \
    "-object memory-backend-memfd,id=m1,size=9M,merge=off,dump=off "                               \
    "-object memory-backend-ram,id=m2,size=16M,share=on "                                          \
    "-object memory-backend-ram,id=m3,size=32M,reserve=off,prealloc=off "                          \
    "-device pc-dimm,id=d0,memdev=m0,addr=0x110000000 "                                            \
    "-device nvdimm,id=n0,memdev=m2,label-size=128K -qmp stdio"
static const char *const commands[] = {
    "device_add pc-dimm,memdev=m1,slot=3",
    "device_add virtio-mem-pci,id=v0,memdev=m3,requested-size=16M,block-size=2M",
    "info memory-devices",
    "info memdev",
    "info ramblock",
    "info mtree",
};
enum { DEVICES = 2, BACKENDS, BLOCKS, TREE, COMMANDS };

/* ---- Captured: QEMU 7.2.22 (Debian 12), with that command line and those commands -------- */

static const char captured_devices[] = "Memory device [nvdimm]: \"n0\"\n"
                                       "  addr: 0x100000000\n"
                                       "  slot: 1\n"
                                       "  node: 0\n"
                                       "  size: 14680064\n"
                                       "  memdev: /objects/m2\n"
                                       "  hotplugged: false\n"
                                       "  hotpluggable: true\n"
                                       "Memory device [dimm]: \"\"\n"
                                       "  addr: 0x100e00000\n"
                                       "  slot: 3\n"
                                       "  node: 0\n"
                                       "  size: 9437184\n"
                                       "  memdev: /objects/m1\n"
                                       "  hotplugged: true\n"
                                       "  hotpluggable: true\n"
                                       "Memory device [virtio-mem]: \"v0\"\n"
                                       "  memaddr: 0x101800000\n"
                                       "  node: 0\n"
                                       "  requested-size: 16777216\n"
                                       "  size: 0\n"
                                       "  max-size: 33554432\n"
                                       "  block-size: 2097152\n"
                                       "  memdev: /objects/m3\n"
                                       "Memory device [dimm]: \"d0\"\n"
                                       "  addr: 0x110000000\n"
                                       "  slot: 0\n"
                                       "  node: 0\n"
                                       "  size: 67108864\n"
                                       "  memdev: /objects/m0\n"
                                       "  hotplugged: false\n"
                                       "  hotpluggable: true\n";

/* Its blocks in order: QEMU's own order is that of a hash table. */
static const char captured_backends[] = "memory backend: m0\n"
                                        "  size:  67108864\n"
                                        "  merge: true\n"
                                        "  dump: true\n"
                                        "  prealloc: false\n"
                                        "  share: false\n"
                                        "  reserve: true\n"
                                        "  policy: default\n"
                                        "  host nodes: \n"
                                        "memory backend: m1\n"
                                        "  size:  9437184\n"
                                        "  merge: false\n"
                                        "  dump: false\n"
                                        "  prealloc: false\n"
                                        "  share: true\n"
                                        "  reserve: true\n"
                                        "  policy: default\n"
                                        "  host nodes: \n"
                                        "memory backend: m2\n"
                                        "  size:  16777216\n"
                                        "  merge: true\n"
                                        "  dump: true\n"
                                        "  prealloc: false\n"
                                        "  share: true\n"
                                        "  reserve: true\n"
                                        "  policy: default\n"
                                        "  host nodes: \n"
                                        "memory backend: m3\n"
                                        "  size:  33554432\n"
                                        "  merge: true\n"
                                        "  dump: true\n"
                                        "  prealloc: false\n"
                                        "  share: false\n"
                                        "  reserve: false\n"
                                        "  policy: default\n"
                                        "  host nodes: \n"
                                        "memory backend: pc.ram\n"
                                        "  size:  268435456\n"
                                        "  merge: true\n"
                                        "  dump: true\n"
                                        "  prealloc: false\n"
                                        "  share: false\n"
                                        "  reserve: true\n"
                                        "  policy: default\n"
                                        "  host nodes: \n";

/* Of the blocks, those that both have; a plugged virtio-mem's has a PCI path in its name. */
static const char captured_blocks[] =
    "              Block Name    PSize              Offset               Used              Total\n"
    "                  pc.ram    4 KiB  0x0000000007900000 0x0000000010000000 0x0000000010000000\n"
    "                      m0    4 KiB  0x0000000000000000 0x0000000004000000 0x0000000004000000\n"
    "                      m2    4 KiB  0x0000000004900000 0x0000000001000000 0x0000000001000000\n"
    "                      m1    4 KiB  0x0000000004000000 0x0000000000900000 0x0000000000900000\n";

/* The subtree of device-memory. */
static const char captured_tree[] =
    "    0000000100000000-00000002efffffff (prio 0, i/o): device-memory\n"
    "      0000000100000000-0000000100dfffff (prio 0, nv-ram): alias nvdimm-memory @m2 "
    "0000000000000000-0000000000dfffff\n"
    "      0000000100e00000-00000001016fffff (prio 0, ram): m1\n"
    "      0000000101800000-00000001037fffff (prio 0, ram): m3\n"
    "      0000000110000000-0000000113ffffff (prio 0, ram): m0\n";

/* ---- Taking the parts that compare ---------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The blocks of `info memdev` in order; changes @text. */
static char *sorted(char *text)
{
    static const char head[] = "memory backend: ";
    char *blocks[32], *out = calloc(1, strlen(text) + 1);
    size_t count = 0;

    assert_non_null(out);
    for (char *at = strstr(text, head); at; at = strstr(at + 1, head)) {
        assert_true(count < 32);
        blocks[count++] = at;
    }
    for (size_t i = count; i-- > 0;) {
        char *copy = strdup(blocks[i]);
        assert_non_null(copy);
        *blocks[i] = '\0';
        blocks[i] = copy;
    }
    qsort(blocks, count, sizeof *blocks, by_text);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(blocks[i]);
        while (length > 1 && blocks[i][length - 1] == '\n' && blocks[i][length - 2] == '\n') {
            blocks[i][--length] = '\0'; /* the empty line at the end */
        }
        strcat(out, blocks[i]);
        free(blocks[i]);
    }
    return out;
}

/* The lines of `info ramblock` for blocks that both have, host addresses made 0; changes @text. */
static char *common_blocks(char *text)
{
    static const char *const names[] = {"Block", "pc.ram", "m0", "m1", "m2"};
    char *out = calloc(1, strlen(text) + 1), *save;

    assert_non_null(out);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char name[64] = "";
        sscanf(line, "%63s", name);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            if (strcmp(name, names[i]) == 0) {
                if (strlen(line) > 110 && i > 0) {
                    memset(line + 94, '0', 16); /* newer versions */
                }
                strcat(strcat(out, line), "\n");
            }
        }
    }
    return out;
}

/* The lines of device-memory in the first tree that has it. */
static char *device_memory(const char *text)
{
    char *out = calloc(1, strlen(text) + 1);
    const char *line = strstr(text, ": device-memory");

    assert_non_null(out);
    assert_non_null(line);
    while (line > text && line[-1] != '\n') {
        line--;
    }
    for (bool first = true; first || strncmp(line, "      ", 6) == 0; first = false) {
        size_t length = strcspn(line, "\n") + 1;
        strncat(out, line, length);
        line += length;
    }
    return out;
}

/* ---- The same machine here -------------------------------------------------------------- */

static char *ours(int what, unsigned flags)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    OK(what == DEVICES    ? memory_devices_print(ms, out)
       : what == BACKENDS ? memdev_print(ms, out)
       : what == BLOCKS   ? ramblock_print(ms, out, flags)
                          : mtree_print(ms, out, 0, NULL));
    fclose(out);
    return text;
}

static int build(void **state)
{
    (void)state;
    ms = machine_start();
    OK(memory_devices_init(ms, 4 * GiB, 4 * GiB - 256 * MiB, 4, NULL));
    backend("memory-backend-ram,id=m0,size=64M");
    backend("memory-backend-memfd,id=m1,size=9M,merge=off,dump=off");
    backend("memory-backend-ram,id=m2,size=16M,share=on");
    backend("memory-backend-ram,id=m3,size=32M,reserve=off,prealloc=off");
    backend("memory-backend-ram,id=pc.ram,size=256M");
    add("pc-dimm,id=d0,memdev=m0,addr=0x110000000,hotplugged=off");
    add("nvdimm,id=n0,memdev=m2,label-size=128K,hotplugged=off");
    for (int i = 0; i < DEVICES; i++) {
        add(commands[i] + strlen("device_add "));
    }
    return 0;
}

/* ---- QEMU -------------------------------------------------------------------------------- */

/* What JSON says in quotes at *@at, to be freed; moves behind it. */
static char *unquoted(const char **at)
{
    char *text = malloc(strlen(*at) + 1), *out = text;

    assert_non_null(text);
    for ((*at)++; **at && **at != '"'; (*at)++) {
        char c = **at;
        if (c == '\\') {
            c = *++*at;
            c = (char)(c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c);
        }
        if (c != '\r') {
            *out++ = c;
        }
    }
    *out = '\0';
    return text;
}

/* Ask all commands of a QEMU; false, with a reason printed, if it cannot be had. */
static bool ask_qemu(char *answers[COMMANDS])
{
    char command[8192] = "printf '%s\\n' '{\"execute\":\"qmp_capabilities\"}'";
    int count = 0;

    if (system("command -v " QEMU " >/dev/null 2>&1") != 0) {
        print_message("skipped: " QEMU " is not installed\n");
        return false;
    }
    for (int i = 0; i < COMMANDS; i++) {
        size_t used = strlen(command);
        snprintf(
            command + used, sizeof command - used,
            " '{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"%s\"}}'",
            commands[i]);
    }
    strcat(command, " '{\"execute\":\"quit\"}' | timeout 60 " QEMU " " COMMAND_LINE " 2>&1");
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    char *all = NULL, last[256] = "nothing";
    size_t room = 0;
    while (getline(&all, &room, pipe) > 0) {
        const char *found = strstr(all, "{\"return\": \"");
        if (found == all && count < COMMANDS) {
            found += strlen("{\"return\": ");
            answers[count++] = unquoted(&found);
        }
        snprintf(last, sizeof last, "%s", all);
    }
    free(all);
    pclose(pipe);
    if (count < COMMANDS) {
        print_message("skipped: " QEMU " cannot build the machine: %s\n", last);
        for (int i = 0; i < count; i++) {
            free(answers[i]);
        }
        return false;
    }
    return true;
}

/* ---- Cases -------------------------------------------------------------------------------- */

static void compare(char *text, char *(*part)(char *text), const char *expected)
{
    char *taken = part(text);

    assert_string_equal(taken, expected);
    free(taken);
    free(text);
}

static char *part_of_tree(char *text)
{
    return device_memory(text);
}

static char *whole(char *text)
{
    return strdup(text);
}

static void as_captured(void **state)
{
    (void)state;
    compare(ours(DEVICES, 0), whole, captured_devices);
    compare(ours(BACKENDS, 0), sorted, captured_backends);
    compare(ours(BLOCKS, 0), common_blocks, captured_blocks);
    compare(ours(TREE, 0), part_of_tree, captured_tree);
}

static void as_qemu_says_now(void **state)
{
    char *answers[COMMANDS];

    (void)state;
    if (!ask_qemu(answers)) {
        skip();
    }
    for (int i = 0; i < DEVICES; i++) {
        assert_string_equal(answers[i], "");
        free(answers[i]);
    }
    unsigned flags = strstr(answers[BLOCKS], "HVA") ? RAMBLOCK_PRINT_HOST : 0;
    static char *(*const parts[])(char *) = {
        [DEVICES] = whole, [BACKENDS] = sorted, [BLOCKS] = common_blocks, [TREE] = part_of_tree};
    for (int i = DEVICES; i < COMMANDS; i++) {
        char *theirs = parts[i](answers[i]);
        compare(ours(i, flags), parts[i], theirs);
        free(theirs);
        free(answers[i]);
    }
}

static void empty_and_nodes(void **state)
{
    (void)state;
    ms = machine_start();
    compare(ours(DEVICES, 0), whole, "");
    compare(ours(BACKENDS, 0), whole, "\n");
    compare(ours(BLOCKS, 0), whole,
            "              Block Name    PSize              Offset               Used              "
            "Total\n");
    HostMemoryBackend *b =
        host_memory_backend_create(ms,
                                   "memory-backend-ram,id=a,size=4K,policy=interleave,"
                                   "host-nodes=0",
                                   NULL);
    if (b) {
        compare(ours(BACKENDS, 0), whole,
                "memory backend: a\n  size:  4096\n  merge: true\n  dump: true\n"
                "  prealloc: false\n  share: false\n  reserve: true\n  policy: interleave\n"
                "  host nodes: 0\n\n");
        /* As QEMU shows more of them, which few hosts have. */
        HostMemoryConfig *config = (HostMemoryConfig *)host_memory_backend_config(b);
        config->host_nodes[0] = 1UL << 0 | 7UL << 2 | 1UL << 6;
        config->host_nodes[HOST_MEMORY_MAX_NODES / 64 - 1] = 3UL << 62;
        char *text = ours(BACKENDS, 0);
        assert_non_null(strstr(text, "host nodes: 0,2-4,6,126-127\n"));
        free(text);
        config->host_nodes[0] = 1;
        config->host_nodes[HOST_MEMORY_MAX_NODES / 64 - 1] = 0;
        OK(host_memory_backend_destroy(b, NULL));
    } else {
        print_message("no NUMA policies here: %s\n", membus_last_error());
    }
    memory_system_drain(ms);
    b = backend("memory-backend-ram,id=a,size=4K");
    char expected[256];
    RAMBlock *block = memory_region_get_ram_block(host_memory_backend_get_memory(b));
    snprintf(expected, sizeof expected,
             "              Block Name    PSize              Offset               Used            "
             "  Total                HVA  RO\n"
             "                       a    4 KiB  0x%016" PRIx64 " 0x0000000000001000 "
             "0x0000000000001000 0x%016" PRIxPTR "  rw\n",
             qemu_ram_get_offset(block), (uintptr_t)qemu_ram_get_host_addr(block));
    compare(ours(BLOCKS, RAMBLOCK_PRINT_HOST), whole, expected);
    OK(host_memory_backend_destroy(b, NULL));
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        setbuf(full, NULL);
        REFUSED(-EIO, memdev_print(ms, full));
        SAYS("memory backends: cannot write the text");
        fclose(full);
    }
    machine_end(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(as_captured, build, teardown),
        cmocka_unit_test_setup_teardown(as_qemu_says_now, build, teardown),
        cmocka_unit_test(empty_and_nodes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
