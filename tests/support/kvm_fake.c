/* SPDX-License-Identifier: MIT */
/* kvm_fake.c - the fake kernel's front: which request goes where, the log of calls, vCPUs. */
#include "kvm_fake.h"
#include "kvm_fake_state.h"
#include "shown.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool fake_file_open(FakeFile *file, int fd)
{
    struct stat st;

    if (fstat(fd, &st)) {
        return false;
    }
    *file = (FakeFile){fd, st.st_dev, st.st_ino};
    return true;
}

bool fake_file_same(const FakeFile *file, int fd)
{
    struct stat st;

    return file->fd == fd && !fstat(fd, &st) && st.st_dev == file->dev && st.st_ino == file->ino;
}

static int make_file(FakeFile *file, const char *name, size_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    if (ftruncate(fd, (off_t)size) || !fake_file_open(file, fd)) {
        int err = errno;
        close(fd);
        return -err;
    }
    return fd;
}

/* ---- Life ---------------------------------------------------------------------------------- */

KvmFake *kvm_fake_create(const KvmFakeCaps *caps)
{
    KvmFake *fake = calloc(1, sizeof *fake);

    if (!fake) {
        return NULL;
    }
    fake->caps = caps ? *caps : KVM_FAKE_CAPS_INIT;
    fake->kvm.fd = fake->vm.fd = -1;
    fake->slot =
        calloc((size_t)fake->caps.nr_address_spaces * fake->caps.nr_memslots, sizeof *fake->slot);
    pthread_mutex_init(&fake->lock, NULL);
    if (!fake->slot || make_file(&fake->kvm, "fake-kvm", 0) < 0) {
        kvm_fake_destroy(fake);
        return NULL;
    }
    return fake;
}

/* The VM and all that is in it. Its fds are the program's. */
static void end_vm(KvmFake *fake)
{
    for (unsigned i = 0; i < fake->caps.nr_address_spaces * fake->caps.nr_memslots; i++) {
        if (fake->slot) {
            fake_drop_slot(&fake->slot[i]);
        }
    }
    for (unsigned i = 0; i < fake->vcpus; i++) {
        munmap(fake->vcpu[i].area, fake->vcpu[i].area_size);
    }
    for (unsigned i = 0; i < fake->ioeventfds; i++) {
        close(fake->ioeventfd[i].signal);
    }
    fake->vcpus = fake->ioeventfds = fake->zones = fake->memfds = fake->privates = 0;
    fake->coalesced_first = fake->coalesced_last = fake->ring_entries = 0;
    fake->manual = fake->initially_set = false;
    fake->vm.fd = -1;
}

void kvm_fake_destroy(KvmFake *fake)
{
    if (!fake) {
        return;
    }
    end_vm(fake);
    if (fake->kvm.fd >= 0) {
        close(fake->kvm.fd);
    }
    pthread_mutex_destroy(&fake->lock);
    free(fake->slot);
    free(fake->call);
    free(fake);
}

KVMConfig kvm_fake_config(KvmFake *fake)
{
    KVMConfig config = KVM_CONFIG_INIT;

    config.kvm_fd = fake->kvm.fd;
    config.kernel = (KVMKernel){kvm_fake_ioctl, fake};
    return config;
}

int kvm_fake_fd(KvmFake *fake)
{
    return fake->kvm.fd;
}

int kvm_fake_vm_fd(KvmFake *fake)
{
    return fake->vm.fd;
}

/* ---- What there is -------------------------------------------------------------------------- */

static int check_extension(const KvmFake *fake, unsigned long extension)
{
    const KvmFakeCaps *caps = &fake->caps;

    switch (extension) {
    case KVM_CAP_USER_MEMORY:
    case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
    case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
    case KVM_CAP_SYNC_MMU:
        return 1;
    case KVM_CAP_NR_VCPUS:
    case KVM_CAP_MAX_VCPUS:
        return KVM_FAKE_VCPUS;
    case KVM_CAP_NR_MEMSLOTS:
        return (int)caps->nr_memslots;
    case KVM_CAP_MULTI_ADDRESS_SPACE:
        return caps->nr_address_spaces > 1 ? (int)caps->nr_address_spaces : 0;
    case KVM_CAP_READONLY_MEM:
        return caps->readonly_mem;
    case KVM_CAP_COALESCED_MMIO:
        return caps->coalesced_mmio ? (int)COALESCED_PAGE : 0;
    case KVM_CAP_COALESCED_PIO:
        return caps->coalesced_pio;
    case KVM_CAP_IOEVENTFD:
        return caps->ioeventfd;
    case KVM_CAP_IOEVENTFD_ANY_LENGTH:
    case KVM_CAP_IOEVENTFD_NO_LENGTH:
        return caps->ioeventfd_any_length;
    case KVM_CAP_IMMEDIATE_EXIT:
        return caps->immediate_exit;
    case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
        return caps->manual_log ? 3 : 0;
    case KVM_CAP_DIRTY_LOG_RING:
    case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
        return (int)caps->ring_bytes_max;
    case KVM_CAP_USER_MEMORY2:
        return caps->user_memory2;
    case KVM_CAP_GUEST_MEMFD:
        return caps->guest_memfd;
    case KVM_CAP_MEMORY_FAULT_INFO:
        return caps->memory_attributes != 0;
    case KVM_CAP_MEMORY_ATTRIBUTES:
        return (int)caps->memory_attributes;
    default:
        return 0;
    }
}

static int enable_cap(KvmFake *fake, const struct kvm_enable_cap *arg)
{
    if (arg->flags) {
        return -EINVAL;
    }
    switch (arg->cap) {
    case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
        if (!fake->caps.manual_log || arg->args[0] > 3 || arg->args[0] == 2) {
            return -EINVAL;
        }
        fake->manual = arg->args[0] & 1;
        fake->initially_set = arg->args[0] & 2;
        return 0;
    case KVM_CAP_DIRTY_LOG_RING:
    case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
        return fake_enable_ring(fake, (uint32_t)arg->args[0]);
    default:
        return -EINVAL;
    }
}

/* ---- The VM and its vCPUs ------------------------------------------------------------------ */

static int create_vm(KvmFake *fake)
{
    if (fake->vm.fd >= 0 && fake_file_same(&fake->vm, fake->vm.fd)) {
        return -EBUSY;
    }
    end_vm(fake);
    return make_file(&fake->vm, "fake-vm", 0);
}

static size_t area_size(const KvmFake *fake)
{
    return (size_t)KVM_DIRTY_LOG_PAGE_OFFSET * PAGE +
           fake->ring_entries * sizeof(struct kvm_dirty_gfn);
}

static int create_vcpu(KvmFake *fake, unsigned long id)
{
    for (unsigned i = 0; i < fake->vcpus; i++) {
        if (fake->vcpu[i].id == id) {
            return -EEXIST;
        }
    }
    if (fake->vcpus == KVM_FAKE_VCPUS) {
        return -EINVAL;
    }
    FakeVcpu *cpu = &fake->vcpu[fake->vcpus];
    *cpu = (FakeVcpu){.id = id, .area_size = area_size(fake)};
    int fd = make_file(&cpu->file, "fake-vcpu", cpu->area_size);
    if (fd < 0) {
        return fd;
    }
    cpu->area = mmap(NULL, cpu->area_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (cpu->area == MAP_FAILED) {
        close(fd);
        return -ENOMEM;
    }
    fake_sync_coalesced(fake);
    if (fake->vcpus++) {
        size_t at = (size_t)COALESCED_PAGE * PAGE;
        memcpy(cpu->area + at, fake->vcpu[0].area + at, PAGE);
    }
    return fd;
}

/* KVM_RUN, with the lock released meanwhile. */
static int run(KvmFake *fake, unsigned number)
{
    struct kvm_run *area = (struct kvm_run *)(void *)fake->vcpu[number].area;
    int result = 0;

    if (fake->caps.immediate_exit && __atomic_load_n(&area->immediate_exit, __ATOMIC_ACQUIRE)) {
        area->exit_reason = KVM_EXIT_INTR;
        return -EINTR;
    }
    __atomic_add_fetch(&fake->inside, 1, __ATOMIC_SEQ_CST);
    KvmFakeRun *hook = fake->run_hook;
    void *opaque = fake->run_opaque;
    pthread_mutex_unlock(&fake->lock);
    if (hook) {
        result = hook(opaque, number, area);
    } else {
        area->exit_reason = KVM_EXIT_HLT;
    }
    __atomic_sub_fetch(&fake->inside, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&fake->lock);
    return result;
}

/* ---- Which request goes where --------------------------------------------------------------- */

/* Size of the argument that @request points to; 0: it is a number. */
static size_t argument_size(unsigned long request)
{
    switch (request) {
    case KVM_SET_USER_MEMORY_REGION:
    case KVM_SET_USER_MEMORY_REGION2:
    case KVM_CLEAR_DIRTY_LOG:
    case KVM_GET_DIRTY_LOG:
    case KVM_IOEVENTFD:
    case KVM_REGISTER_COALESCED_MMIO:
    case KVM_UNREGISTER_COALESCED_MMIO:
    case KVM_ENABLE_CAP:
    case KVM_SET_MEMORY_ATTRIBUTES:
    case KVM_CREATE_GUEST_MEMFD:
        return _IOC_SIZE(request);
    default:
        return 0;
    }
}

static int kvm_request(KvmFake *fake, KvmFakeCall *call)
{
    switch (call->request) {
    case KVM_GET_API_VERSION:
        return KVM_API_VERSION;
    case KVM_CHECK_EXTENSION:
        return check_extension(fake, call->number);
    case KVM_GET_VCPU_MMAP_SIZE:
        return (int)(COALESCED_PAGE + 1) * (int)PAGE;
    case KVM_CREATE_VM:
        return create_vm(fake);
    default:
        return -EINVAL;
    }
}

static int vm_request(KvmFake *fake, KvmFakeCall *call, const void *arg)
{
    switch (call->request) {
    case KVM_CHECK_EXTENSION:
        return check_extension(fake, call->number);
    case KVM_ENABLE_CAP:
        return enable_cap(fake, &call->cap);
    case KVM_CREATE_VCPU:
        return create_vcpu(fake, call->number);
    case KVM_SET_USER_MEMORY_REGION:
    case KVM_SET_USER_MEMORY_REGION2:
        return fake_set_region(fake, &call->region, call->request == KVM_SET_USER_MEMORY_REGION2);
    case KVM_GET_DIRTY_LOG:
        return fake_get_dirty_log(fake, &call->get);
    case KVM_CLEAR_DIRTY_LOG:
        return fake_clear_dirty_log(fake, &call->clear);
    case KVM_RESET_DIRTY_RINGS:
        return fake_reset_dirty_rings(fake);
    case KVM_IOEVENTFD:
        return fake_ioeventfd(fake, &call->ioeventfd);
    case KVM_REGISTER_COALESCED_MMIO:
    case KVM_UNREGISTER_COALESCED_MMIO:
        return fake_zone(fake, &call->zone, call->request == KVM_REGISTER_COALESCED_MMIO);
    case KVM_SET_MEMORY_ATTRIBUTES:
        return fake_set_attributes(fake, &call->attributes);
    case KVM_CREATE_GUEST_MEMFD:
        return fake_create_guest_memfd(fake, arg);
    default:
        return -ENOTTY;
    }
}

/* -EBADF for a number that is nobody's, or another file's by now. */
static int dispatch(KvmFake *fake, int fd, KvmFakeCall *call, const void *arg)
{
    if (fake_file_same(&fake->kvm, fd)) {
        return kvm_request(fake, call);
    }
    if (fake_file_same(&fake->vm, fd)) {
        fake_sync_coalesced(fake);
        return vm_request(fake, call, arg);
    }
    for (unsigned i = 0; i < fake->vcpus; i++) {
        if (fake_file_same(&fake->vcpu[i].file, fd)) {
            return call->request == KVM_RUN ? run(fake, i) : -EINVAL;
        }
    }
    return -EBADF;
}

static bool is_sabotaged(KvmFake *fake, unsigned long request)
{
    unsigned long wanted = fake->sabotage.request;

    if (request == KVM_SET_USER_MEMORY_REGION2) {
        request = KVM_SET_USER_MEMORY_REGION;
    }
    if (!fake->sabotage.countdown || (wanted && wanted != request)) {
        return false;
    }
    if (fake->sabotage.countdown > 1) {
        fake->sabotage.countdown--;
        return false;
    }
    if (!fake->sabotage.for_good) {
        fake->sabotage.countdown = 0;
    }
    fake->sabotage.failed++;
    return true;
}

static void note(KvmFake *fake, const KvmFakeCall *call)
{
    if (fake->calls == fake->calls_size) {
        unsigned long size = fake->calls_size ? 2 * fake->calls_size : 256;
        KvmFakeCall *grown = realloc(fake->call, size * sizeof *grown);
        if (!grown) {
            return;
        }
        fake->call = grown;
        fake->calls_size = size;
    }
    fake->call[fake->calls++] = *call;
}

int kvm_fake_ioctl(void *opaque, int fd, unsigned long request, void *arg)
{
    KvmFake *fake = opaque;
    KvmFakeCall call = {.request = request, .number = (unsigned long)arg};
    size_t size = argument_size(request);
    bool logged = request != KVM_CHECK_EXTENSION && request != KVM_RUN;

    bool allocating = shown_is_allocating;
    shown_is_allocating = true; /* the kernel's memory is not the program's */
    pthread_mutex_lock(&fake->lock);
    if (size && size <= sizeof call - offsetof(KvmFakeCall, number) && arg) {
        memset(&call.region, 0, sizeof call.region);
        memcpy(&call.number, arg, size);
    }
    if (size && !arg) {
        call.result = -EFAULT;
    } else if (logged && is_sabotaged(fake, request)) {
        call.result = -fake->sabotage.err;
    } else {
        call.result = dispatch(fake, fd, &call, arg);
    }
    if (logged) {
        note(fake, &call);
    }
    pthread_mutex_unlock(&fake->lock);
    shown_is_allocating = allocating;
    return call.result;
}
