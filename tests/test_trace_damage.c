/* SPDX-License-Identifier: MIT */
/* What readers make of traces that are cut off, damaged or no traces at all. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/machine.h"

#define PAGE ((hwaddr)4096)
#define RECORDS 6

static bool where(void *opaque, uint64_t *value)
{
    (void)opaque;
    *value = 0xf0001;
    return true;
}

static unsigned char *slurp(const char *path, size_t *size)
{
    static unsigned char bytes[65536];
    FILE *in = fopen(path, "re");

    assert_non_null(in);
    *size = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    return bytes;
}

/* The bytes of a trace of a small machine. */
static unsigned char *make_trace(size_t *size)
{
    const MapTraceConfig config = {.where = where};
    MemorySystem *ms = machine_start();
    MemoryRegion ram, view, all;
    AddressSpace cpu;
    char path[64];

    snprintf(path, sizeof path, "/tmp/membus-trace-damage-%ld", (long)getpid());
    make_ram(ms, &ram, "pc.ram", 16 * PAGE);
    make_container(ms, &view, "cpu-view", UINT64_MAX);
    make_alias(ms, &all, get_system_memory(ms), 0, UINT64_MAX);
    OK(memory_region_add_subregion(&view, PAGE, &all));
    MapTrace *trace = map_trace_create(ms, path, &config, NULL);
    assert_non_null(trace);
    map_at(ms, 0x123000, &ram);                          /* 1 */
    OK(address_space_init(&cpu, &view, "cpu-memory-0")); /* 2 */
    OK(memory_region_set_readonly(&ram, true));          /* 3 */
    OK(memory_region_set_address(&all, 0));              /* 4 */
    OK(address_space_destroy(&cpu));                     /* 5 */
    OK(map_trace_stop(trace, NULL));
    unmap(ms, &ram);
    OK(memory_region_del_subregion(&view, &all));
    machine_end(ms);
    unsigned char *bytes = slurp(path, size);
    unlink(path);
    return bytes;
}

static void play_all(MapTraceFile *file)
{
    MapTraceState *s = map_trace_state(file, 0, NULL);

    assert_non_null(s);
    do {
        for (size_t i = 0; i < map_trace_state_spaces(s); i++) {
            size_t count;
            MapTraceChange change;
            assert_non_null(map_trace_state_ranges(s, i, &count));
            OK(map_trace_state_change(s, i, &change));
        }
    } while (map_trace_state_next(s, NULL) == 1);
    assert_int_equal(map_trace_state_record(s).number, map_trace_count(file) - 1);
    map_trace_state_free(s);
}

/* Open the bytes; what is refused names its place in them. Returns how many records, 0: refused. */
static size_t try_bytes(const unsigned char *bytes, size_t size, bool *truncated)
{
    Error *err = NULL;
    MapTraceFile *file = map_trace_open_bytes(bytes, size, "t", &err);
    size_t at, count = 0;

    if (file) {
        count = map_trace_count(file);
        *truncated = map_trace_truncated(file);
        play_all(file);
    } else {
        assert_int_equal(sscanf(error_get_pretty(err), "t: byte %zu: ", &at), 1);
        assert_true(at <= size);
    }
    error_free(err);
    map_trace_close(file);
    return count;
}

static void what_is_cut_off_is_read_up_to_there(void **state)
{
    size_t size, latest = 0, ends = 0;
    bool truncated = false;
    (void)state;

    unsigned char *bytes = make_trace(&size);
    for (size_t n = 0; n <= size; n++) {
        size_t count = try_bytes(bytes, n, &truncated);
        assert_true(count == latest || count == latest + 1);
        assert_true(!count || truncated == (count == latest)); /* a new one is just complete */
        ends += count > latest;
        latest = count;
    }
    assert_int_equal(latest, RECORDS);
    assert_int_equal(ends, RECORDS);
}

static void damage_is_found_or_does_no_harm(void **state)
{
    size_t size, refused = 0;
    bool truncated;
    (void)state;

    unsigned char *bytes = make_trace(&size);
    for (size_t i = 0; i < size; i++) {
        unsigned char was = bytes[i];
        for (unsigned value = 0; value < 256; value++) {
            bytes[i] = (unsigned char)value;
            refused += !try_bytes(bytes, size, &truncated);
        }
        bytes[i] = was;
    }
    assert_true(refused > 128 * size); /* most of what may be is not */
}

/* Records by hand after a good header and a first record: what is wrong, and where. */
static void each_fault_has_its_sentence(void **state)
{
    static const struct {
        const char *bytes; /* items, after time 0 and flags 0 */
        size_t size;
        size_t at; /* of the fault, from the items' beginning */
        const char *reason;
    } faults[] = {
        {"\x00", 1, 0, "no such kind of item"},
        {"\x08", 1, 0, "no such kind of item"},
        {"\x01\x05"
         "ab",
         4, 1, "a name beyond the record"},
        {"\x01\x02"
         "a\0",
         4, 1, "a name with a zero byte"},
        {"\x02\x09\x00\x00", 4, 1, "no such name"},
        {"\x02\x00\x08\x00", 4, 2, "no such kind of region"},
        {"\x02\x00\x00\x80\x80\x80\x80\x10", 8, 3, "no 32-bit priority"},
        {"\x03\x00\x00\x02", 4, 3, "no such name"},
        {"\x04\x01", 2, 1, "no such address space"},
        {"\x04\x00\x04\x00", 4, 3, "that address space has ended"},
        {"\x05\x01", 2, 1, "no such name"},
        {"\x06\x01\x00\x00", 4, 1, "no such view"},
        {"\x06\x00\x02\x00", 4, 2, "more ranges than the view has"},
        {"\x06\x00\x01\x01\x00", 5, 3, "the view has no range that begins there"},
        {"\x06\x00\x00\x01\x0f\x01\x00\x00", 8, 4, "a range over one that the view has"},
        {"\x06\x00\x00\x09", 4, 3, "more ranges than the record holds"},
        {"\x06\x00\x00\x01\x20\x00\x01\x00", 8, 6, "no such region"},
        {"\x06\x00\x00\x01\x20\x00\x00\x40", 8, 7, "unknown flags of a range"},
        {"\x06\x00\x00\x01\x20\x00\x00\x20\x80\x02", 10, 8, "no 8-bit dirty-log mask"},
        {"\x06\x00\x00\x01\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00", 17, 4,
         "a range beyond 2^64"},
        {"\x06\x00\x00\x00\x06\x00\x00\x00", 8, 5, "a view is edited twice in one record"},
        {"\x07\x00\x02", 3, 2, "no such view"},
        {"\x07\x00\x00\x07\x00\x01", 6, 4, "an address space is shown something twice"},
        {"\x07\x00\x80\x00", 4, 2, "a number that is too long"},
        {"\x07\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 12, 2, "a number that is too long"},
        {"\x07\x00\x81", 3, 2, "the record ends within a number"},
    };
    /* names "" and none other; region 0, space 0, view 0 with [16, 31] */
    static const char first[] = "\x01\x00"
                                "\x02\x00\x01\x00"
                                "\x03\x00\x00\x00"
                                "\x05\x00"
                                "\x06\x00\x00\x01\x10\x0f\x00\x00"
                                "\x07\x00\x01";
    unsigned char bytes[128] = "\x89MBTRC\r\n\x01";
    size_t start = 32;
    (void)state;

    bytes[start++] = 2 + sizeof first - 1;
    start += 2;
    memcpy(bytes + start, first, sizeof first - 1);
    start += sizeof first - 1;
    bool truncated;
    assert_int_equal(try_bytes(bytes, start, &truncated), 1);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        Error *err = NULL;
        char expected[128];
        bytes[start] = (unsigned char)(2 + faults[i].size);
        bytes[start + 1] = bytes[start + 2] = 0;
        memcpy(bytes + start + 3, faults[i].bytes, faults[i].size);
        assert_null(map_trace_open_bytes(bytes, start + 3 + faults[i].size, "t", &err));
        snprintf(expected, sizeof expected, "t: byte %zu: %s", start + 3 + faults[i].at,
                 faults[i].reason);
        if (strncmp(error_get_pretty(err), expected, strlen(expected)) != 0) {
            fail_msg("fault %zu: '%s' instead of '%s'", i, error_get_pretty(err), expected);
        }
        error_free(err);
    }
}

static void other_files_are_no_traces(void **state)
{
    static const char header[32] = "\x89MBTRC\r\n\x02";
    Error *err = NULL;
    (void)state;

    assert_false(map_trace_recognise("\x89MBTRC\r", 7));
    assert_true(map_trace_recognise(header, 8));
    assert_null(map_trace_open_bytes(header, 32, "t", &err));
    assert_int_equal(error_get_errno(err), -ENOTSUP);
    assert_string_equal(error_get_pretty(err), "t: byte 8: a trace of version 2, not 1");
    error_free(err);
    assert_null(map_trace_open("/no/such/file", &err));
    assert_int_equal(error_get_errno(err), -ENOENT);
    error_free(err);
    assert_null(map_trace_open("/", &err));
    assert_int_equal(error_get_errno(err), -EISDIR);
    error_free(err);
    assert_null(map_trace_open("/dev/null", NULL));
    assert_string_equal(membus_last_error(), "/dev/null: byte 0: not a trace of a memory map");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_cut_off_is_read_up_to_there),
        cmocka_unit_test(damage_is_found_or_does_no_harm),
        cmocka_unit_test(each_fault_has_its_sentence),
        cmocka_unit_test(other_files_are_no_traces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
