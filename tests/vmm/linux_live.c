/* SPDX-License-Identifier: MIT */
/*
 * linux_live.c - Linux on membus, on KVM, watched from outside: by the serial console, by the
 * monitor, and by looking at its RAM, which is a file.
 *
 * usage: linux-live BIOS KERNEL INITRD CMDLINE CPUS
 *
 * The guest (tests/vmm/guests/init) prints what it sees; tests its disk; waits for memory to be
 * plugged in, and uses it; and switches off. The dirty log is on from the first instruction
 * on. Stops cut the run into three: boot, disk, memory. In each the pages that differ between its
 * ends are among those that the log has.
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)
#define RAM (256 * MIB)
#define DIMM (128 * MIB)
#define DISK (80 * MIB)
#define PAGE 4096
#define NR_PAGES (RAM / PAGE)
#define PATIENCE 300 /* seconds */

typedef struct Guest {
    char dir[32];
    char *ram_file, *disk_file, *serial_file, *socket_file;
    char *memory_backend, *monitor, *serial, *append;
    VmmOptions options;
    pthread_t thread;
    atomic_bool ended;
    int status;
    FILE *to, *from; /* the monitor */
    const uint64_t *ram;
    uint64_t before[NR_PAGES]; /* a sum of each page */
    bool dirty[NR_PAGES];
} Guest;

static Guest guest;
static char **arguments;

/* ---- The serial console ------------------------------------------------------------ */

/* All that it has printed. */
static char *console(void)
{
    static char text[1 << 18];
    FILE *file = fopen(guest.serial_file, "re");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;

    if (file) {
        fclose(file);
    }
    for (size_t i = 0; i < length; i++) {
        text[i] = text[i] ? text[i] : ' ';
    }
    text[length] = 0;
    return text;
}

static void wait_for(const char *words)
{
    for (unsigned i = 0; i < PATIENCE * 20 && !guest.ended; i++) {
        if (strstr(console(), words)) {
            return;
        }
        usleep(50000);
    }
    fail_msg("the guest did not say '%s', but:\n%s", words, console());
}

/* ---- The monitor --------------------------------------------------------------------- */

static void connect_monitor(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), result = -1;

    strncpy(name.sun_path, guest.socket_file, sizeof name.sun_path - 1);
    for (unsigned i = 0; i < 2000 && result != 0 && !guest.ended; i++) {
        result = connect(fd, (struct sockaddr *)&name, sizeof name);
        usleep(5000);
    }
    assert_int_equal(result, 0);
    guest.to = fdopen(fd, "w");
    guest.from = fdopen(dup(fd), "r");
}

/* What @command answers, to be freed. */
static json_t *ask(const char *command, json_t *members)
{
    static char line[1 << 24];
    json_t *request = json_pack("{s:s, s:o}", "execute", command, "arguments", members), *reply;

    json_dumpf(request, guest.to, JSON_COMPACT);
    json_decref(request);
    fputc('\n', guest.to);
    fflush(guest.to);
    if (!fgets(line, sizeof line, guest.from) || !(reply = json_loads(line, 0, NULL))) {
        fail_msg("%s: the monitor said nothing", command);
        return NULL;
    }
    if (!json_object_get(reply, "return")) {
        fail_msg("%s: %s", command, line);
    }
    return reply;
}

static void tell(const char *command)
{
    json_decref(ask(command, json_object()));
}

static void tell_with(const char *command, const char *member, const char *text)
{
    json_decref(ask(command, json_pack("{s:s}", member, text)));
}

/* ---- Dirty pages ------------------------------------------------------------------------ */

static uint64_t page_sum(uint64_t page)
{
    const uint64_t *word = guest.ram + page * (PAGE / 8);
    uint64_t sum = 0;

    for (unsigned i = 0; i < PAGE / 8; i++) {
        sum = (sum ^ word[i]) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
    }
    return sum;
}

static void take_sums(void)
{
    for (uint64_t page = 0; page < NR_PAGES; page++) {
        guest.before[page] = page_sum(page);
    }
}

static uint64_t number(const json_t *run, const char *name)
{
    const json_t *value = json_object_get(run, name);

    return json_is_string(value) ? strtoull(json_string_value(value), NULL, 0)
                                 : (uint64_t)json_integer_value(value);
}

static void read_dirty(void)
{
    json_t *reply = ask("info dirty", json_object()), *run;
    size_t index;

    memset(guest.dirty, 0, sizeof guest.dirty);
    json_array_foreach(json_object_get(json_object_get(reply, "return"), "runs"), index, run)
    {
        const char *block = json_string_value(json_object_get(run, "block"));
        uint64_t first = number(run, "offset") / PAGE, count = number(run, "size") / PAGE;

        assert_non_null(block);
        for (uint64_t i = 0; strstr(block, "pc.ram") && i < count; i++) {
            assert_true(first + i < NR_PAGES);
            guest.dirty[first + i] = true;
        }
    }
    json_decref(reply);
}

/* The guest stands still: what differs from the last time is in the log. */
static void check_dirty(const char *what)
{
    unsigned differing = 0, logged = 0, missing = 0;

    read_dirty();
    for (uint64_t page = 0; page < NR_PAGES; page++) {
        bool differs = page_sum(page) != guest.before[page];

        differing += differs;
        logged += guest.dirty[page];
        missing += differs && !guest.dirty[page];
    }
    print_message("# %s: %u pages differ, %u are logged\n", what, differing, logged);
    assert_int_equal(missing, 0);
    assert_true(differing > 100);
    assert_true(logged < NR_PAGES);
    take_sums();
    tell_with("dirty", "what", "take");
}

/* ---- The machine --------------------------------------------------------------------------- */

static void *run_machine(void *opaque)
{
    (void)opaque;
    guest.status = vmm_run(&guest.options);
    guest.ended = true;
    return NULL;
}

static char *text(const char *format, ...) MEMBUS_PRINTF(1, 2);
static char *text(const char *format, ...)
{
    char *result = NULL;
    va_list args;

    va_start(args, format);
    assert_true(vasprintf(&result, format, args) >= 0);
    va_end(args);
    return result;
}

static char *make_file(const char *base, off_t length)
{
    char *name = text("%s/%s", guest.dir, base);
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, length), 0);
    if (length == (off_t)RAM) {
        guest.ram = mmap(NULL, RAM, PROT_READ, MAP_SHARED, fd, 0);
        assert_true(guest.ram != MAP_FAILED);
    }
    close(fd);
    return name;
}

static int begin(void **state)
{
    Guest *g = &guest;

    (void)state;
    strcpy(g->dir, "/tmp/linux-live-XXXXXX");
    assert_non_null(mkdtemp(g->dir));
    g->ram_file = make_file("ram", (off_t)RAM);
    g->disk_file = make_file("disk", (off_t)DISK);
    g->serial_file = make_file("serial", 0);
    g->socket_file = text("%s/monitor", g->dir);
    g->memory_backend =
        text("memory-backend-file,id=pc.ram,size=256M,share=on,mem-path=%s", g->ram_file);
    g->monitor = text("unix:%s,json", g->socket_file);
    g->serial = text("file:%s", g->serial_file);
    g->append = text("%s membus=disk,dimm,off", arguments[4]);
    g->options = (VmmOptions){.accel = "kvm",
                              .memory = "256M,slots=2,maxmem=1G",
                              .smp = (unsigned)atoi(arguments[5]),
                              .memory_backend = g->memory_backend,
                              .bios = arguments[1],
                              .kernel = arguments[2],
                              .initrd = arguments[3],
                              .append = g->append,
                              .disk = g->disk_file,
                              .serial = g->serial,
                              .monitor = g->monitor,
                              .timeout = PATIENCE};
    assert_int_equal(pthread_create(&g->thread, NULL, run_machine, NULL), 0);
    connect_monitor();
    tell("stop");
    tell_with("dirty", "what", "on");
    take_sums();
    tell("cont");
    return 0;
}

static int end(void **state)
{
    (void)state;
    char *names[] = {guest.ram_file, guest.disk_file, guest.serial_file, guest.socket_file};
    char *texts[] = {guest.memory_backend, guest.monitor, guest.serial, guest.append};

    for (unsigned i = 0; i < 4; i++) {
        unlink(names[i]);
        free(names[i]);
        free(texts[i]);
    }
    rmdir(guest.dir);
    return 0;
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void test_boot(void **state)
{
    char cpus[32];
    unsigned long long first = 0, last = 0, total = 0;

    (void)state;
    wait_for("disk: ");
    tell("stop");
    const char *said = console();
    snprintf(cpus, sizeof cpus, "cpus: %s", arguments[5]);
    assert_non_null(strstr(said, cpus));
    assert_non_null(strstr(said, "e820: [mem 0x0000000000100000-0x000000000ff"));
    assert_non_null(strstr(said, "iomem: fec00000-fec003ff : IOAPIC 0"));
    assert_non_null(strstr(said, "iomem: fee00000-fee00fff : Local APIC"));
    const char *ram = strstr(said, "iomem: 00100000-");
    assert_non_null(ram);
    assert_int_equal(sscanf(ram, "iomem: %llx-%llx : System RAM", &first, &last), 2);
    assert_in_range(last, RAM - 256 * 1024 - 1, RAM - 1);
    const char *memory = strstr(said, "MemTotal:");
    assert_non_null(memory);
    assert_int_equal(sscanf(memory, "MemTotal: %llu", &total), 1);
    assert_in_range(total * 1024, RAM - 64 * MIB, RAM);
    check_dirty("boot");
    tell("cont");
}

static void test_disk(void **state)
{
    (void)state;
    wait_for("dimm: waiting");
    tell("stop");
    assert_non_null(strstr(console(), "disk: good"));
    check_dirty("disk");
    tell("cont");
}

static void test_dimm(void **state)
{
    char backend[80];

    (void)state;
    snprintf(backend, sizeof backend, "memory-backend-ram,id=more,size=%lluM",
             (unsigned long long)(DIMM / MIB));
    tell_with("object_add", "options", backend);
    tell_with("device_add", "options", "pc-dimm,id=dimm0,memdev=more");
    wait_for("dimm: good");
    assert_null(strstr(console(), "dimm: bad"));
}

static void test_off(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PATIENCE * 20 && !guest.ended; i++) {
        usleep(50000);
    }
    assert_true(guest.ended);
    pthread_join(guest.thread, NULL);
    assert_int_equal(guest.status, VMM_DONE);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boot),
        cmocka_unit_test(test_disk),
        cmocka_unit_test(test_dimm),
        cmocka_unit_test(test_off),
    };

    if (argc != 6) {
        fprintf(stderr, "usage: linux-live BIOS KERNEL INITRD CMDLINE CPUS\n");
        return 2;
    }
    arguments = argv;
    cmocka_set_message_output(CM_OUTPUT_TAP); /* no environment says so in the lab */
    return cmocka_run_group_tests_name("linux", tests, begin, end);
}
