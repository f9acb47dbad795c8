/* SPDX-License-Identifier: MIT */
/* The virtual machine: what is opened, what the kernel can do, and the end of it all. */
#include "kvm/state.h"

#include "base/error.h"
#include "kvm/coalesced.h"
#include "kvm/dirty.h"
#include "kvm/exit.h"
#include "kvm/gate.h"
#include "kvm/ioctl.h"
#include "kvm/uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Pages of one slot are counted in an int; kept to 1 GiB, so that huge pages stay whole. */
#define MAX_SLOT_SIZE ((((hwaddr)INT32_MAX * 4096) >> 30) << 30)
#define DEFAULT_REAP_MS 100
#define DEFAULT_CLEAR_SHIFT 18

void kvm_report(const KVMState *s, int result)
{
    Error *err = NULL;

    if (s->config.report) {
        error_pass(&err, result);
        s->config.report(s->config.opaque, err);
        error_free(err);
    }
}

/* ---- what there is ----------------------------------------------------------------------- */

int kvm_check_extension(KVMState *s, unsigned extension)
{
    int result = kvm_ioctl(s, s->kvm_fd, KVM_CHECK_EXTENSION, kvm_number(extension));

    return result < 0 ? 0 : result;
}

int kvm_vm_check_extension(KVMState *s, unsigned extension)
{
    int result = kvm_vm_ioctl(s, KVM_CHECK_EXTENSION, kvm_number(extension));

    return result < 0 ? kvm_check_extension(s, extension) : result;
}

static void probe(KVMState *s)
{
    int slots = kvm_vm_check_extension(s, KVM_CAP_NR_MEMSLOTS);
    int spaces = kvm_vm_check_extension(s, KVM_CAP_MULTI_ADDRESS_SPACE);
    int ring = kvm_vm_check_extension(s, KVM_CAP_DIRTY_LOG_RING_ACQ_REL);

    if (!ring) {
        ring = kvm_vm_check_extension(s, KVM_CAP_DIRTY_LOG_RING);
    }
    s->coalesced_page = (unsigned)kvm_vm_check_extension(s, KVM_CAP_COALESCED_MMIO);
    s->caps = (KVMCapabilities){
        .nr_memslots = slots ? (unsigned)slots : 32,
        .nr_address_spaces = spaces > KVM_MAX_SPACES ? KVM_MAX_SPACES
                             : spaces                ? (unsigned)spaces
                                                     : 1,
        .readonly_mem = kvm_vm_check_extension(s, KVM_CAP_READONLY_MEM),
        .manual_dirty_log = kvm_vm_check_extension(s, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) &
                            KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
        .dirty_ring_max = (uint32_t)ring / (uint32_t)sizeof(struct kvm_dirty_gfn),
        .coalesced_mmio = s->coalesced_page,
        .coalesced_pio = kvm_vm_check_extension(s, KVM_CAP_COALESCED_PIO),
        .ioeventfd = kvm_vm_check_extension(s, KVM_CAP_IOEVENTFD),
        .ioeventfd_any_length = kvm_vm_check_extension(s, KVM_CAP_IOEVENTFD_ANY_LENGTH),
        .immediate_exit = kvm_vm_check_extension(s, KVM_CAP_IMMEDIATE_EXIT),
        .user_memory2 = kvm_vm_check_extension(s, KVM_CAP_USER_MEMORY2),
        .guest_memfd = kvm_vm_check_extension(s, KVM_CAP_GUEST_MEMFD),
        .memory_attributes = kvm_vm_check_extension(s, KVM_CAP_MEMORY_ATTRIBUTES) &
                             (int)KVM_MEMORY_ATTRIBUTE_PRIVATE,
    };
}

static int check_config(const KVMConfig *config)
{
    uint32_t entries = config->dirty_ring_entries;
    hwaddr page_mask = (hwaddr)sysconf(_SC_PAGESIZE) - 1;

    if ((unsigned)config->dirty_log > KVM_DIRTY_LOG_RING) {
        return fail(EINVAL, "KVM: no dirty log of kind %d", (int)config->dirty_log);
    }
    if (entries & (entries - 1)) {
        return fail(EINVAL, "KVM: a dirty ring of %u entries is no power of two", entries);
    }
    if (config->clear_shift && (config->clear_shift < 6 || config->clear_shift > 40)) {
        return fail(EINVAL, "KVM: clear_shift %u is not 6 to 40", config->clear_shift);
    }
    if (config->max_slot_size & page_mask) {
        return fail(EINVAL, "KVM: a largest slot of 0x%" PRIx64 " bytes is not in whole host pages",
                    config->max_slot_size);
    }
    if (!config->pause_vcpus != !config->resume_vcpus) {
        return fail(EINVAL, "KVM: pause_vcpus and resume_vcpus go together");
    }
    return 0;
}

static void apply_config(KVMState *s, const KVMConfig *config)
{
    s->config = *config;
    if (!s->config.reap_interval_ms) {
        s->config.reap_interval_ms = DEFAULT_REAP_MS;
    }
    if (!s->config.clear_shift) {
        s->config.clear_shift = DEFAULT_CLEAR_SHIFT;
    }
    s->max_slot_size = MAX_SLOT_SIZE;
    if (config->max_slot_size && config->max_slot_size < MAX_SLOT_SIZE) {
        s->max_slot_size = config->max_slot_size;
    }
    s->page_size = (hwaddr)sysconf(_SC_PAGESIZE);
}

/* ---- making it --------------------------------------------------------------------------- */

static int open_kvm(KVMState *s)
{
    if (s->config.kvm_fd >= 0) {
        s->kvm_fd = s->config.kvm_fd;
    } else {
        s->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        if (s->kvm_fd < 0) {
            return fail(errno, "/dev/kvm cannot be opened: %s", strerror(errno));
        }
    }
    int version = kvm_ioctl(s, s->kvm_fd, KVM_GET_API_VERSION, NULL);
    if (version != KVM_API_VERSION) {
        return version < 0
                   ? fail(-version, "KVM does not tell its version: %s", strerror(-version))
                   : fail(ENOTSUP, "KVM has API version %d, not %d", version, KVM_API_VERSION);
    }
    return 0;
}

static int open_vm(KVMState *s)
{
    if (s->config.vm_fd >= 0) {
        s->vm_fd = s->config.vm_fd;
        return 0;
    }
    s->vm_fd = kvm_ioctl(s, s->kvm_fd, KVM_CREATE_VM, kvm_number(s->config.vm_type));
    return s->vm_fd >= 0 ? 0
                         : fail(-s->vm_fd, "KVM cannot create a VM of type %lu: %s",
                                s->config.vm_type, strerror(-s->vm_fd));
}

static int measure_run_area(KVMState *s)
{
    int size = kvm_ioctl(s, s->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);

    if (size < (int)sizeof(struct kvm_run)) {
        return fail(size < 0 ? -size : EIO, "KVM does not tell the size of a vCPU's area: %s",
                    size < 0 ? strerror(-size) : "too small");
    }
    s->run_size = (size_t)size;
    return 0;
}

static int make(KVMState *s)
{
    int result = open_kvm(s);

    if (!result) {
        result = measure_run_area(s);
    }
    if (!result) {
        result = open_vm(s);
    }
    if (!result) {
        probe(s);
        s->max_slots = s->caps.nr_memslots;
        if (s->config.max_slots && s->config.max_slots < s->max_slots) {
            s->max_slots = s->config.max_slots;
        }
        result = dirty_log_init(s);
    }
    if (!result) {
        result = coalesced_init(s);
    }
    return result;
}

static void close_own(int fd, int given)
{
    if (fd >= 0 && given < 0) {
        close(fd);
    }
}

static void unmake(KVMState *s)
{
    coalesced_end(s);
    dirty_log_end(s);
    close_own(s->vm_fd, s->config.vm_fd);
    close_own(s->kvm_fd, s->config.kvm_fd);
    gate_end(s);
    free(s);
}

KVMState *kvm_create(MemorySystem *ms, const KVMConfig *config, Error **errp)
{
    static const KVMConfig plain = {.kvm_fd = -1, .vm_fd = -1};
    KVMState *s = NULL;
    int result = check_config(config ? config : &plain);

    if (!result) {
        s = calloc(1, sizeof *s);
        result = s ? 0 : fail_no_memory("a KVM machine");
    }
    if (!result) {
        s->ms = ms;
        s->kvm_fd = s->vm_fd = -1;
        apply_config(s, config ? config : &plain);
        exits_follow(s);
        result = gate_init(s);
        if (result) {
            free(s);
        }
    }
    if (!result) {
        result = make(s);
        if (result) {
            unmake(s);
        }
    }
    error_pass(errp, result);
    return result ? NULL : s;
}

int kvm_destroy(KVMState *s)
{
    if (!s) {
        return 0;
    }
    MemorySystem *ms = s->ms;
    machine_lock(ms);
    if (ms->notifying) {
        machine_unlock(ms);
        return fail(EBUSY, "KVM cannot be ended from a listener's callback");
    }
    while (s->listeners) {
        kvm_memory_listener_unregister(s->listeners);
    }
    while (s->vcpus) {
        kvm_vcpu_destroy(s->vcpus);
    }
    machine_unlock(ms);
    unmake(s);
    return 0;
}

/* ---- questions --------------------------------------------------------------------------- */

MemorySystem *kvm_memory_system(const KVMState *s)
{
    return s->ms;
}

int kvm_fd(const KVMState *s)
{
    return s->kvm_fd;
}

int kvm_vm_fd(const KVMState *s)
{
    return s->vm_fd;
}

const KVMCapabilities *kvm_capabilities(const KVMState *s)
{
    return &s->caps;
}

KVMDirtyLog kvm_dirty_log(const KVMState *s)
{
    return s->dirty_log;
}
