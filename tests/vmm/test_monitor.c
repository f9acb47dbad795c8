/* SPDX-License-Identifier: MIT */
/* The monitor's commands, in text and in JSON, against a machine with 16 MiB and no CPU. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/vm.h"
#include "vmm/monitor.h"

static Vm *vm;
static MonitorSession session;
static MemoryRegion device;
static unsigned device_reads;

static uint64_t read_device(void *opaque, hwaddr addr, unsigned size)
{
    (void)opaque, (void)size;
    device_reads++;
    return addr;
}

static const MemoryRegionOps device_ops = {
    .read = read_device,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

static int setup(void **state)
{
    (void)state;
    vm = vm_create(NULL);
    session = (MonitorSession){.machine = &vm->machine};
    MemorySystem *ms = vm->machine.ms;
    assert_int_equal(0, memory_devices_init(ms, 1U << 30, 256U << 20, 2, NULL));
    assert_int_equal(0, memory_region_init_io(&device, memory_system_owner(ms), &device_ops, NULL,
                                              "device", 0x1000));
    memory_region_add_subregion(get_system_memory(ms), 0xfe000000, &device);
    return 0;
}

static int teardown(void **state)
{
    MemorySystem *ms = vm->machine.ms;

    (void)state;
    memory_region_del_subregion(get_system_memory(ms), &device);
    memory_system_drain(ms);
    memory_region_finalize(&device);
    assert_int_equal(0, memory_devices_finalize(ms, NULL));
    vm_destroy(vm);
    return 0;
}

/* What a line is answered with; valid until the next one. */
static const char *ask(const char *line)
{
    static char *text;
    size_t length;
    char *copy = strdup(line);

    free(text);
    FILE *out = open_memstream(&text, &length);
    monitor_execute_text(&session, copy, out);
    fclose(out);
    free(copy);
    return text;
}

static void answers(const char *line, const char *expected)
{
    assert_string_equal(ask(line), expected);
}

static void mentions(const char *line, const char *part)
{
    const char *text = ask(line);

    assert_non_null(text);
    if (!strstr(text, part)) {
        fail_msg("%s: no '%s' in '%s'", line, part, text);
    }
}

static void replies(const char *request, const char *expected)
{
    json_t *reply = monitor_execute_json(&session, request, strlen(request));
    json_t *wanted = json_loads(expected, 0, NULL);

    assert_non_null(wanted);
    if (!json_equal(reply, wanted)) {
        char *text = json_dumps(reply, 0);
        print_error("%s: %s, not %s\n", request, text, expected);
        free(text);
        fail();
    }
    json_decref(reply);
    json_decref(wanted);
}

static void is_refused(const char *request, size_t length, const char *class_name)
{
    json_t *reply = monitor_execute_json(&session, request, length);
    json_t *error = json_object_get(reply, "error");

    assert_true(json_string_length(json_object_get(error, "desc")) > 0);
    assert_string_equal(json_string_value(json_object_get(error, "class")), class_name);
    json_decref(reply);
}

/* ---- Text -------------------------------------------------------------------------------- */

static void memory_is_shown_as_qemu_does(void **state)
{
    static const uint8_t bytes[] = {0x43, 0x24, 0x83, 0xc4, 0x20, 0x5b, 0x5e, 0x5f, 'a',  '"',
                                    '\n', 0x00, 'b',  0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    (void)state;
    address_space_write(memory_system_memory(vm->machine.ms), 0x1000, MEMTXATTRS_UNSPECIFIED, bytes,
                        sizeof bytes);
    answers("xp /8xb 0x1000", "0000000000001000: 0x43 0x24 0x83 0xc4 0x20 0x5b 0x5e 0x5f\n");
    answers("xp/2xw 4096", "0000000000001000: 0xc4832443 0x5f5e5b20\n");
    answers("xp /gx 0x1000", "0000000000001000: 0x5f5e5b20c4832443\n");
    answers("xp /3xh 0x1000", "0000000000001000: 0x2443 0xc483 0x5b20\n");
    answers("xp 0x0ff0+0x10", "0000000000001000: 0xc4832443\n");
    answers("xp /5xw 0x1000-0", "0000000000001000: 0xc4832443 0x5f5e5b20 0x000a2261 0xffff0062\n"
                                "0000000000001010: 0xffffffff\n");
    answers("xp /uw 0x1000", "0000000000001000: 3296928835\n");
    answers("xp /4uh 0x1000", "0000000000001000:  9283 50307 23328 24414\n");
    answers("xp /2dh 0x1000", "0000000000001000:   9283 -15229\n");
    answers("xp /db 0x1010", "0000000000001010:   -1\n");
    answers("xp /2ob 0x1000", "0000000000001000: 0103 044\n");
    answers("xp /4c 0x1008", "0000000000001008: 'a' '\"' '\\n' '\\x00'\n");
    answers("xp /2s 0x1008", "0000000000001008: \"a\\\"\\x0a\"\n000000000000100c: \"b\"\n");
    answers("xp /2xw 0xfe000010", "00000000fe000010: 0x00000010 0x00000014\n");
    answers("xp 0x800000000", "0000000800000000: Cannot access memory\n");
    answers("xp /2xw 0xfffffffffffffffc", "fffffffffffffffc: Cannot access memory\n");
    answers("xp /0xw 0", "");
    mentions("xp /99999999999999xb 0", "Error: at most 65536");
    mentions("xp /1025s 0", "Error: at most 1024");
    mentions("xp /zz 0", "Error: invalid char in format: 'z'");
}

static void lines_that_are_wrong_are_refused(void **state)
{
    (void)state;
    answers("", "");
    answers("  # nothing", "");
    answers("nosuch", "Error: unknown command: 'nosuch'\n");
    answers("info", "Error: unknown command: 'info'\n");
    answers("info nosuch", "Error: unknown command: 'info nosuch'\n");
    answers("stopx", "Error: unknown command: 'stopx'\n");
    mentions("xp", "Error: xp: address is missing");
    mentions("xp 1 2", "Error: xp: extraneous characters at the end of line");
    mentions("xp here", "Error: not a number: here");
    mentions("xp 1+", "Error: unexpected end of expression");
    mentions("xp 1*2", "Error: invalid char '*' in expression");
    mentions("xp 0x10000000000000000", "Error: not a number");
    mentions("xp $rip", "Error: no CPU available");
    mentions("xp $nosuch", "Error: unknown register: $nosuch");
    mentions("x 0", "Error: no CPU available");
    mentions("gva2gpa 0", "Error: no CPU available");
    mentions("info registers", "Error: no CPU available");
    mentions("cpu 0", "Error: invalid CPU index");
    mentions("info mtree -z", "Error: info mtree: unsupported option -z");
    mentions("stop 1", "Error: stop: extraneous");
    mentions("screen", "Error: the machine has no display");
    mentions("info slots", "Error: no KVM");
    mentions("dirty maybe", "Error: dirty: on, off or take");
    mentions("object_add nosuch,id=x", "Error: ");
    mentions("object_del m0", "Error: object 'm0' not found");
    mentions("device_del d0", "Error: Device 'd0' not found");
    mentions("pmemsave 0 4096 /nonexistent/x", "Error: /nonexistent/x: No such file");
    mentions("pmemsave 1 0xffffffffffffffff x", "Error: ");
    mentions("pmemsave 0 4096", "Error: pmemsave: file is missing");
    mentions("help", "system_reset -- reset the machine\n");
    mentions("help info", "info mtree [-f]");
    assert_null(strstr(ask("help info"), "system_reset"));
}

static void addresses_are_explained(void **state)
{
    char expected[128];

    (void)state;
    snprintf(expected, sizeof expected, "Host virtual address for 0x1234 (pc.ram) is %p\n",
             (void *)((char *)memory_region_get_ram_ptr(&vm->ram) + 0x1234));
    answers("gpa2hva 0x1234", expected);
    answers("gpa2hva 0xfe000000", "Error: Memory at address 0xfe000000 is not RAM\n");
    answers("gpa2hva 0x800000000", "Error: No memory is mapped at address 0x800000000\n");
    mentions("gpa2hpa 0x800000", "Error: the page is not in the host's memory");
    memset((char *)memory_region_get_ram_ptr(&vm->ram) + 0x2000, 1, 1);
    if (!strstr(ask("gpa2hpa 0x2345"), "privileged")) {
        mentions("gpa2hpa 0x2345", "Host physical address for 0x2345 (pc.ram) is 0x");
        mentions("gpa2hpa 0x2345", "345\n");
    }
    mentions("find 0xfe000010", "in memory: device (i/o) at offset 0x10\n");
    mentions("find 0xfe001010", "in memory: unassigned\n");
    mentions("find 0x80 I/O", "in I/O: io (i/o) at offset 0x80\n");
    mentions("find 0 nosuch", "Error: no address space is called 'nosuch'");
    mentions("info mtree", "00000000fe000000-00000000fe000fff (prio 0, i/o): device\n");
    mentions("info mtree -f", "FlatView #0");
    mentions("info  mtree  -fd", "@00000000fe000000..00000000fe000fff device\n");
    mentions("info ramblock", "pc.ram");
    mentions("info memory-devices", "");
}

static void dimms_come_and_go(void **state)
{
    (void)state;
    answers("object_add memory-backend-ram,id=m0,size=64M", "");
    mentions("object_add memory-backend-ram,id=m0,size=64M", "Error: ");
    mentions("info memdev", "memory backend: m0");
    replies("{\"execute\": \"info memdev\"}",
            "{\"return\": [{\"id\": \"m0\", \"size\": \"0x0000000004000000\", \"share\": false, "
            "\"prealloc\": false, \"mapped\": false}]}");
    MemoryDeviceState *md =
        memory_device_add(vm->machine.ms, "pc-dimm,id=d0,memdev=m0", NULL); /* no ACPI here */
    assert_non_null(md);
    mentions("info memory-devices", "Memory device [dimm]: \"d0\"");
    replies("{\"execute\": \"info memory-devices\"}",
            "{\"return\": [{\"kind\": \"dimm\", \"id\": \"d0\", \"memdev\": \"m0\", \"address\": "
            "\"0x0000000040000000\", \"size\": \"0x0000000004000000\", \"slot\": 0, \"node\": 0, "
            "\"hotplugged\": true}]}");
    mentions("object_del m0", "Error: ");
    answers("device_del -f d0", "");
    answers("object_del m0", "");
    answers("info memdev", "\n");
}

static void written_pages_are_counted(void **state)
{
    AddressSpace *as = memory_system_memory(vm->machine.ms);

    (void)state;
    answers("info dirty", "dirty log: off\n");
    replies("{\"execute\": \"info dirty\"}", "{\"return\": {\"logging\": false}}");
    mentions("dirty take", "Error: the dirty log is off");
    answers("dirty off", "");
    answers("dirty on", "");
    answers("dirty on", "");
    answers("dirty take", ""); /* all may be dirty at first */
    answers("info dirty", "dirty log: on, 0 pages\n");
    address_space_set(as, 0x3000, 1, 0x1001, MEMTXATTRS_UNSPECIFIED);
    address_space_stb(as, 0x9000, 1, MEMTXATTRS_UNSPECIFIED, NULL);
    for (unsigned i = 0; i < 2; i++) { /* asking changes nothing */
        answers("info dirty", "dirty log: on, 3 pages\n  pc.ram: 3\n");
        replies(
            "{\"execute\": \"info dirty\"}",
            "{\"return\": {\"logging\": true, \"pages\": 3, \"runs\": [{\"block\": \"pc.ram\", "
            "\"offset\": \"0x0000000000003000\", \"size\": \"0x0000000000002000\"}, {\"block\": "
            "\"pc.ram\", \"offset\": \"0x0000000000009000\", \"size\": "
            "\"0x0000000000001000\"}]}}");
    }
    answers("dirty take", "");
    answers("info dirty", "dirty log: on, 0 pages\n");
    answers("dirty off", "");
    answers("info dirty", "dirty log: off\n");
}

static void memory_is_saved_with_holes(void **state)
{
    AddressSpace *as = memory_system_memory(vm->machine.ms);
    char name[] = "/tmp/membus-pmemsave-XXXXXX", line[128];
    uint8_t *bytes = malloc(VM_RAM_SIZE + 0x2000), *expected = calloc(1, VM_RAM_SIZE + 0x1000);
    int fd = mkstemp(name);

    (void)state;
    address_space_set(as, 0x123, 0xab, 5, MEMTXATTRS_UNSPECIFIED);
    address_space_set(as, VM_RAM_SIZE - 7, 0xcd, 7, MEMTXATTRS_UNSPECIFIED);
    memset(expected + 0x122, 0xab, 5);
    memset(expected + VM_RAM_SIZE - 8, 0xcd, 7);
    snprintf(line, sizeof line, "pmemsave 1 0x%x \"%s\"", VM_RAM_SIZE + 0x1000, name);
    answers(line, "");
    assert_int_equal(pread(fd, bytes, VM_RAM_SIZE + 0x2000, 0), VM_RAM_SIZE + 0x1000);
    assert_memory_equal(bytes, expected, VM_RAM_SIZE + 0x1000);
    free(bytes);
    free(expected);
    close(fd);
    unlink(name);
}

/* Devices are left alone; what is huge and mostly nothing takes no time. */
static void only_memory_is_saved(void **state)
{
    char name[] = "/tmp/membus-pmemsave-XXXXXX", line[128];
    int fd = mkstemp(name);
    struct stat st;

    (void)state;
    device_reads = 0;
    snprintf(line, sizeof line, "pmemsave 0 0x10000000000 \"%s\"", name);
    answers(line, "");
    assert_int_equal(device_reads, 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, INT64_C(0x10000000000));
    assert_true(st.st_blocks * 512 <= VM_RAM_SIZE);
    snprintf(line, sizeof line, "pmemsave 0 0x7fffffffffffffff \"%s\"", name);
    ask(line); /* too large, or a hole */
    snprintf(line, sizeof line, "pmemsave 0xffffffffffffffff 1 \"%s\"", name);
    answers(line, "");
    snprintf(line, sizeof line, "pmemsave 0 0 \"%s\"", name);
    answers(line, "");
    close(fd);
    unlink(name);
    assert_int_equal(mkfifo(name, 0600), 0);
    mentions(line, "Error: ");
    unlink(name);
}

static void running_is_controlled(void **state)
{
    (void)state;
    answers("info status", "VM status: running\n");
    answers("stop", "");
    answers("stop", "");
    answers("info status", "VM status: paused\n");
    replies("{\"execute\": \"info status\"}",
            "{\"return\": {\"running\": false, \"status\": \"paused\"}}");
    answers("cont", "");
    answers("info status", "VM status: running\n");
    answers("s", "");
    answers("c", "");
    vm_start(vm);
    char *text;
    size_t size;
    FILE *in = fmemopen((char[]){"quit\n"}, 5, "r"), *out = open_memstream(&text, &size);
    monitor_serve_text(&session, in, out, false);
    fclose(in);
    fclose(out);
    assert_string_equal(text, "(membus) (membus) ");
    free(text);
    assert_int_equal(vm_wait(vm), VMM_DONE);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void requests_are_answered(void **state)
{
    static const char flat[] = "{\"execute\": \"info mtree\", \"arguments\": {\"flat\": true}}";

    (void)state;
    replies("{\"command-line\": \"info status\", \"id\": [1]}",
            "{\"return\": \"VM status: running\\n\", \"id\": [1]}");
    replies("{\"execute\": \"stop\", \"arguments\": {}}", "{\"return\": \"\"}");
    replies("{\"execute\": \"cont\"}", "{\"return\": \"\"}");
    replies("{\"execute\": \"xp\", \"arguments\": {\"address\": 4096, \"format\": \"2xw\"}}",
            "{\"return\": {\"address\": \"0x0000000000001000\", \"size\": 4, \"values\": "
            "[\"0x00000000\", \"0x00000000\"]}}");
    replies("{\"execute\": \"xp\", \"arguments\": {\"address\": \"0xfe000000+8\"}}",
            "{\"return\": {\"address\": \"0x00000000fe000008\", \"size\": 4, \"values\": "
            "[\"0x00000008\"]}}");
    replies("{\"execute\": \"find\", \"arguments\": {\"address\": \"0xfe000010\"}}",
            "{\"return\": {\"address\": \"0x00000000fe000010\", \"space\": \"memory\", "
            "\"candidates\": [{\"region\": \"device\", \"type\": \"i/o\", \"offset\": "
            "\"0x0000000000000010\", \"path\": [{\"name\": \"system\", \"offset\": "
            "\"0x00000000fe000010\"}, {\"name\": \"device\", \"offset\": "
            "\"0x0000000000000010\"}]}]}}");
    replies("{\"execute\": \"info pci\"}", "{\"return\": []}");
    json_t *reply = monitor_execute_json(&session, flat, sizeof flat - 1);
    json_t *spaces = json_object_get(reply, "return");
    assert_int_equal(json_array_size(spaces), 2);
    assert_int_equal(json_array_size(json_object_get(json_array_get(spaces, 0), "ranges")), 2);
    json_decref(reply);
}

static void bad_requests_are_refused(void **state)
{
    static const struct {
        const char *request, *class_name;
    } cases[] = {
        {"", "GenericError"},
        {"{", "GenericError"},
        {"nonsense", "GenericError"},
        {"[]", "GenericError"},
        {"1", "GenericError"},
        {"{}", "GenericError"},
        {"{\"execute\": 1}", "GenericError"},
        {"{\"execute\": \"stop\", \"execute\": \"stop\"}", "GenericError"},
        {"{\"execute\": \"stop\", \"command-line\": \"stop\"}", "GenericError"},
        {"{\"execute\": \"stop\"} trailing", "GenericError"},
        {"{\"execute\": \"stop\", \"arguments\": []}", "GenericError"},
        {"{\"execute\": \"stop\", \"arguments\": {\"x\": 1}}", "GenericError"},
        {"{\"execute\": \"nosuch\"}", "CommandNotFound"},
        {"{\"execute\": \"stop now\"}", "CommandNotFound"},
        {"{\"execute\": \"xp/2xw\"}", "CommandNotFound"},
        {"{\"command-line\": \"nosuch\"}", "CommandNotFound"},
        {"{\"command-line\": \"xp\"}", "GenericError"},
        {"{\"execute\": \"xp\"}", "GenericError"},
        {"{\"execute\": \"xp\", \"arguments\": {\"address\": []}}", "GenericError"},
        {"{\"execute\": \"xp\", \"arguments\": {\"address\": \"\"}}", "GenericError"},
        {"{\"execute\": \"xp\", \"arguments\": {\"address\": 1.5}}", "GenericError"},
        {"{\"execute\": \"xp\", \"arguments\": {\"address\": 0, \"format\": 8}}", "GenericError"},
        {"{\"execute\": \"info mtree\", \"arguments\": {\"flat\": \"yes\"}}", "GenericError"},
        {"{\"execute\": \"xp\", \"arguments\": {\"address\": \"0x800000000\"}}", "GenericError"},
        {"\"\xff\xfe\"", "GenericError"},
    };
    char deep[10001];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        is_refused(cases[i].request, strlen(cases[i].request), cases[i].class_name);
    }
    memset(deep, '[', sizeof deep - 1);
    is_refused(deep, sizeof deep - 1, "GenericError");
    is_refused("{\"execute\": \"st\0op\"}", 20, "GenericError");
}

/* Random bytes and pieces of requests: an answer each time, and nothing else. */
static void noise_is_answered(void **state)
{
    static const char *const pieces[] = {
        "{",  "}",       "\"execute\"", ":",      "\"xp\"",
        ",",  "xp",      " /8xb",       "$rip",   " ",
        "-f", "info ",   "mtree",       "\"id\"", "0x",
        "\"", "\\u0000", "[",           "find ",  "99999999999999999999"};
    unsigned seed = 7;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        char line[256] = "";
        for (unsigned i = 0, n = (unsigned)rand_r(&seed) % 8; i < n; i++) {
            strcat(line, pieces[(size_t)rand_r(&seed) % (sizeof pieces / sizeof *pieces)]);
            if (rand_r(&seed) % 8 == 0) {
                size_t length = strlen(line);
                line[length] = (char)(1 + rand_r(&seed) % 255);
            }
        }
        json_t *reply = monitor_execute_json(&session, line, strlen(line));
        assert_true(json_object_get(reply, "return") || json_object_get(reply, "error"));
        json_decref(reply);
        ask(line);
    }
}

/* ---- Sessions -------------------------------------------------------------------------------- */

static char *serve(const char *input, size_t length, bool json)
{
    FILE *in = fmemopen((void *)(uintptr_t)input, length, "r");
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (json) {
        monitor_serve_json(&session, in, out);
    } else {
        monitor_serve_text(&session, in, out, false);
    }
    fclose(in);
    fclose(out);
    return text;
}

static void long_lines_are_refused_whole(void **state)
{
    size_t length = 200000;
    char *input = malloc(length + 32);

    (void)state;
    memset(input, 'x', length);
    strcpy(input + length, "\ninfo status\n");
    char *text = serve(input, strlen(input), false);
    assert_string_equal(text, "(membus) Error: the line is too long\n(membus) VM status: "
                              "running\n(membus) ");
    free(text);
    strcpy(input + length, "\n\n{\"execute\":\"stop\"}\n");
    text = serve(input, strlen(input), true);
    assert_non_null(strstr(text, "{\"error\":"));
    assert_non_null(strstr(text, "}\n{\"return\":\"\"}\n"));
    free(text);
    free(input);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(memory_is_shown_as_qemu_does, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_that_are_wrong_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses_are_explained, setup, teardown),
        cmocka_unit_test_setup_teardown(dimms_come_and_go, setup, teardown),
        cmocka_unit_test_setup_teardown(written_pages_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_is_saved_with_holes, setup, teardown),
        cmocka_unit_test_setup_teardown(only_memory_is_saved, setup, teardown),
        cmocka_unit_test_setup_teardown(running_is_controlled, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_are_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_requests_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(noise_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(long_lines_are_refused_whole, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
