/* SPDX-License-Identifier: MIT */
/*
 * Every combination of what a device allows (valid) and implements (impl), byte orders, widths
 * and offsets, against a device that is bytes: a guest must see them in their order, however the
 * library cuts and joins.
 *
 * Where a narrow write meets a wide implementation, the one wide write carries zeros in the
 * other lanes; where an unaligned access meets an aligned implementation, it is cut into aligned
 * pieces.
 */
#include "support/device.h"
#include "support/guest.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define REGION_SIZE 16U
#define ATTRS MEMTXATTRS_UNSPECIFIED

typedef struct Config {
    unsigned valid_min, valid_max, impl_min, impl_max; /* as given, 0 is unset */
    bool valid_unaligned, impl_unaligned;
    enum device_endian endian, target;
    unsigned number;
} Config;

typedef struct Bench {
    Config config;
    unsigned vmin, vmax, imin, imax; /* with the defaults filled in */
    AddressSpace *as;
    MemorySystem *ms;
    Device *dev;
    hwaddr base;
} Bench;

static void fail_at(const Bench *b, const char *what, unsigned offset, unsigned size, bool is_write,
                    bool big)
{
    const Config *c = &b->config;

    fail_msg("%s: valid %u-%u%s impl %u-%u%s device %d target %d: %s%s of %u at %u; %u calls", what,
             c->valid_min, c->valid_max, c->valid_unaligned ? " unaligned" : "", c->impl_min,
             c->impl_max, c->impl_unaligned ? " unaligned" : "", (int)c->endian, (int)c->target,
             big ? "big-endian " : "", is_write ? "write" : "read", size, offset, b->dev->calls);
}

/* ---- What is to be expected ------------------------------------------------------- */

static bool access_is_valid(const Bench *b, unsigned offset, unsigned size)
{
    return (b->config.valid_unaligned || offset % size == 0) && size >= b->vmin && size <= b->vmax;
}

/*
 * The calls must be ones that the device implements, inside the region, ascending. In one access
 * none comes twice; in several, neighbours may be cut out of the same word.
 */
static bool calls_are_lawful(const Bench *b, bool is_write, bool one_access)
{
    const Device *d = b->dev;

    if (d->calls > DEVICE_CALLS) {
        return false;
    }
    for (unsigned i = 0; i < d->calls; i++) {
        const DeviceCall *call = &d->call[i];

        if (call->size < b->imin || call->size > b->imax || (call->size & (call->size - 1)) ||
            call->addr + call->size > REGION_SIZE || call->is_write != is_write || !call->locked ||
            (!b->config.impl_unaligned && call->addr % call->size) ||
            (i && call->addr < d->call[i - 1].addr + one_access)) {
            return false;
        }
    }
    return true;
}

/* How many calls an aligned access takes. */
static unsigned calls_of_aligned(const Bench *b, unsigned size)
{
    return size <= b->imax ? 1 : size / b->imax;
}

/*
 * After a write of @size bytes from @sent at @offset: the bytes are there, bytes that a wider
 * call covered are zero, and everything else is as it was. Wider calls stay within the words
 * that are touched.
 */
static bool write_is_right(const Bench *b, const uint8_t *before, const uint8_t *sent,
                           unsigned offset, unsigned size)
{
    const Device *d = b->dev;
    unsigned word = b->imin > 1 ? b->imin : 1;
    unsigned low = offset / word * word, high = (offset + size + word - 1) / word * word;

    for (unsigned i = 0; i < REGION_SIZE; i++) {
        bool covered = false;

        for (unsigned k = 0; k < d->calls; k++) {
            covered |= i >= d->call[k].addr && i < d->call[k].addr + d->call[k].size;
        }
        if (i >= offset && i < offset + size) {
            if (d->bytes[i] != sent[i - offset]) {
                return false;
            }
        } else if (covered ? d->bytes[i] != 0 : d->bytes[i] != before[i]) {
            return false;
        } else if (covered && (i < low || i >= high)) {
            return false;
        }
    }
    return true;
}

/* ---- One access ----------------------------------------------------------------------- */

enum way { LOAD_STORE, DISPATCH };

static MemOp memop(unsigned size, bool big)
{
    MemOp width = size == 1 ? MO_8 : size == 2 ? MO_16 : size == 4 ? MO_32 : MO_64;

    return (MemOp)(width | (big ? MO_BE : MO_LE));
}

static uint64_t do_read(const Bench *b, enum way way, unsigned offset, unsigned size, bool big,
                        MemTxResult *result)
{
    uint64_t value = 0x5555555555555555;

    if (way == LOAD_STORE) {
        return guest_load(b->as, b->base + offset, size, big, ATTRS, result);
    }
    memory_system_lock(b->ms);
    *result = memory_region_dispatch_read(&b->dev->mr, offset, &value, memop(size, big), ATTRS);
    memory_system_unlock(b->ms);
    return value;
}

static MemTxResult do_write(const Bench *b, enum way way, unsigned offset, uint64_t value,
                            unsigned size, bool big)
{
    MemTxResult result = 0x80;

    if (way == LOAD_STORE) {
        guest_store(b->as, b->base + offset, value, size, big, ATTRS, &result);
        return result;
    }
    memory_system_lock(b->ms);
    result = memory_region_dispatch_write(&b->dev->mr, offset, value, memop(size, big), ATTRS);
    memory_system_unlock(b->ms);
    return result;
}

static void check_read(const Bench *b, enum way way, unsigned offset, unsigned size, bool big)
{
    bool valid = access_is_valid(b, offset, size);
    MemTxResult result = 0x80;
    uint64_t expected, value;

    device_reset(b->dev);
    expected = valid ? bytes_to_value(b->dev->bytes + offset, size, big) : 0;
    value = do_read(b, way, offset, size, big, &result);
    if (value != expected || result != (valid ? MEMTX_OK : MEMTX_DECODE_ERROR)) {
        fail_at(b, "value or result", offset, size, false, big);
    }
    if (!calls_are_lawful(b, false, true) || (!valid && b->dev->calls) ||
        (valid && offset % size == 0 && b->dev->calls != calls_of_aligned(b, size))) {
        fail_at(b, "calls", offset, size, false, big);
    }
}

static void check_write(const Bench *b, enum way way, unsigned offset, unsigned size, bool big)
{
    static const uint8_t pattern[8] = {0xa1, 0xb2, 0xc3, 0xd4, 0xe5, 0xf6, 0x97, 0x88};
    bool valid = access_is_valid(b, offset, size);
    uint8_t before[DEVICE_BYTES];
    MemTxResult result;

    device_reset(b->dev);
    memcpy(before, b->dev->bytes, sizeof(before));
    result = do_write(b, way, offset, bytes_to_value(pattern, size, big), size, big);
    if (result != (valid ? MEMTX_OK : MEMTX_DECODE_ERROR)) {
        fail_at(b, "result", offset, size, true, big);
    }
    if (!calls_are_lawful(b, true, true) || (!valid && b->dev->calls) ||
        (valid && offset % size == 0 && b->dev->calls != calls_of_aligned(b, size))) {
        fail_at(b, "calls", offset, size, true, big);
    }
    if (valid ? !write_is_right(b, before, pattern, offset, size)
              : memcmp(before, b->dev->bytes, sizeof(before)) != 0) {
        fail_at(b, "bytes", offset, size, true, big);
    }
}

/*
 * An access that hangs over the region's end: the part inside is lawful, the rest is not there.
 */
static void check_over_the_end(const Bench *b, unsigned offset, unsigned size, bool big)
{
    MemTxResult result = 0;

    device_reset(b->dev);
    guest_load(b->as, b->base + offset, size, big, ATTRS, &result);
    if (!(result & MEMTX_DECODE_ERROR) || !calls_are_lawful(b, false, false)) {
        fail_at(b, "over the end", offset, size, false, big);
    }
    device_reset(b->dev);
    guest_store(b->as, b->base + offset, 0, size, big, ATTRS, &result);
    if (!(result & MEMTX_DECODE_ERROR) || !calls_are_lawful(b, true, false)) {
        fail_at(b, "over the end", offset, size, true, big);
    }
}

/* ---- Blocks ---------------------------------------------------------------------------- */

/* The next chunk of a block transfer: a power of two, by what is left, allowed and aligned. */
static unsigned chunk_of(const Bench *b, unsigned offset, unsigned left)
{
    unsigned most = b->config.valid_max ? b->config.valid_max : 4;
    unsigned chunk = 1;

    while (chunk * 2 <= left && chunk * 2 <= most &&
           (b->config.valid_unaligned || offset % (chunk * 2) == 0)) {
        chunk *= 2;
    }
    return chunk;
}

static void check_block(const Bench *b, unsigned offset, unsigned len)
{
    uint8_t expected[REGION_SIZE], got[REGION_SIZE];
    MemTxResult result = MEMTX_OK, answer;

    device_reset(b->dev);
    for (unsigned at = 0, chunk; at < len; at += chunk) {
        chunk = chunk_of(b, offset + at, len - at);
        if (access_is_valid(b, offset + at, chunk)) {
            memcpy(expected + at, b->dev->bytes + offset + at, chunk);
        } else {
            memset(expected + at, 0, chunk);
            result |= MEMTX_DECODE_ERROR;
        }
    }
    memset(got, 0x77, sizeof(got));
    answer = address_space_read(b->as, b->base + offset, ATTRS, got, len);
    if (answer != result || memcmp(got, expected, len) != 0) {
        fail_at(b, "block", offset, len, false, false);
    }
    if (!calls_are_lawful(b, false, false)) {
        fail_at(b, "block calls", offset, len, false, false);
    }
    if (address_space_access_valid(b->as, b->base + offset, len, false, ATTRS) !=
        (result == MEMTX_OK)) {
        fail_at(b, "address_space_access_valid", offset, len, false, false);
    }
    device_reset(b->dev);
    memset(got, 0xee, sizeof(got));
    answer = address_space_write(b->as, b->base + offset, ATTRS, got, len);
    if (answer != result || (!b->config.impl_min && result == MEMTX_OK &&
                             memcmp(b->dev->bytes + offset, got, len) != 0)) {
        fail_at(b, "block", offset, len, true, false);
    }
}

/*
 * ---- The table ------------------------------------------------------------------------------
 */

static void check_accesses(const Bench *b)
{
    for (unsigned offset = 0; offset < REGION_SIZE; offset++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            for (int big = 0; big < 2; big++) {
                if (offset + size > REGION_SIZE) {
                    check_over_the_end(b, offset, size, big);
                    continue;
                }
                check_read(b, LOAD_STORE, offset, size, big);
                check_read(b, DISPATCH, offset, size, big);
                check_write(b, LOAD_STORE, offset, size, big);
                check_write(b, DISPATCH, offset, size, big);
                if (memory_region_access_valid(&b->dev->mr, offset, size, big, ATTRS) !=
                    access_is_valid(b, offset, size)) {
                    fail_at(b, "memory_region_access_valid", offset, size, big, false);
                }
            }
        }
    }
    for (unsigned offset = 0; offset < 9; offset++) {
        for (unsigned len = 1; len + offset <= REGION_SIZE; len++) {
            check_block(b, offset, len);
        }
    }
}

static bool is_well_formed(const Config *c)
{
    unsigned vmax = c->valid_max ? c->valid_max : UINT32_MAX;
    unsigned imax = c->impl_max ? c->impl_max : 4;

    return c->valid_min <= vmax && c->impl_min <= imax &&
           (!c->impl_unaligned || c->valid_unaligned);
}

static void check_config(MemorySystem *ms, const Config *config)
{
    Bench b = {.config = *config, .ms = ms, .as = memory_system_memory(ms)};
    int rc;

    b.dev = device_new(ms, "table", config->number & 1);
    b.dev->ops.endianness = config->endian;
    b.dev->ops.valid.min_access_size = config->valid_min;
    b.dev->ops.valid.max_access_size = config->valid_max;
    b.dev->ops.valid.unaligned = config->valid_unaligned;
    b.dev->ops.impl.min_access_size = config->impl_min;
    b.dev->ops.impl.max_access_size = config->impl_max;
    b.dev->ops.impl.unaligned = config->impl_unaligned;
    b.vmin = config->valid_min ? config->valid_min : 1;
    b.vmax = config->valid_max ? config->valid_max : 8;
    b.imin = config->impl_min ? config->impl_min : 1;
    b.imax = config->impl_max ? config->impl_max : 4;
    /* alignment counts in the region, wherever it stands */
    b.base = config->number % 3 ? 0x1000 : 0x2003;
    rc = device_init(b.dev, REGION_SIZE, config->target);
    if (!is_well_formed(config)) {
        if (rc >= 0 || !*membus_last_error()) {
            fail_at(&b, "an ill-formed table was taken", 0, 0, false, false);
        }
        device_drop(b.dev);
        return;
    }
    if (rc) {
        fail_at(&b, membus_last_error(), 0, 0, false, false);
    }
    assert_int_equal(memory_region_add_subregion(get_system_memory(ms), b.base, &b.dev->mr), 0);
    check_accesses(&b);
    assert_int_equal(memory_region_del_subregion(get_system_memory(ms), &b.dev->mr), 0);
    device_drop(b.dev);
}

static void check_table(enum device_endian target, enum device_endian endian)
{
    static const unsigned sizes[] = {0, 1, 2, 4, 8};
    MemorySystem *ms = memory_system_create();
    unsigned number = 0;

    assert_non_null(ms);
    assert_int_equal(memory_system_set_target_endian(ms, target), 0);
    for (unsigned i = 0; i < 5 * 5 * 5 * 5 * 4; i++) {
        Config c = {.valid_min = sizes[i % 5],
                    .valid_max = sizes[i / 5 % 5],
                    .impl_min = sizes[i / 25 % 5],
                    .impl_max = sizes[i / 125 % 5],
                    .valid_unaligned = i / 625 & 1,
                    .impl_unaligned = i / 1250 & 1,
                    .endian = endian,
                    .target = target,
                    .number = number++};

        check_config(ms, &c);
    }
    memory_system_drain(ms);
    assert_int_equal(memory_system_destroy(ms), 0);
}

static void little_devices(void **state)
{
    (void)state;
    check_table(DEVICE_LITTLE_ENDIAN, DEVICE_LITTLE_ENDIAN);
}

static void big_devices(void **state)
{
    (void)state;
    check_table(DEVICE_LITTLE_ENDIAN, DEVICE_BIG_ENDIAN);
}

static void native_devices_on_little_machines(void **state)
{
    (void)state;
    check_table(DEVICE_LITTLE_ENDIAN, DEVICE_NATIVE_ENDIAN);
}

static void native_devices_on_big_machines(void **state)
{
    (void)state;
    check_table(DEVICE_BIG_ENDIAN, DEVICE_NATIVE_ENDIAN);
}

static void fixed_devices_on_big_machines(void **state)
{
    (void)state;
    check_table(DEVICE_BIG_ENDIAN, DEVICE_LITTLE_ENDIAN);
    check_table(DEVICE_BIG_ENDIAN, DEVICE_BIG_ENDIAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(little_devices),
        cmocka_unit_test(big_devices),
        cmocka_unit_test(native_devices_on_little_machines),
        cmocka_unit_test(native_devices_on_big_machines),
        cmocka_unit_test(fixed_devices_on_big_machines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
