/* SPDX-License-Identifier: MIT */
/*
 * vhost-user-blk.c - guest RAM shared with another process, which serves a disk from it.
 *
 * A machine has 16 MiB of RAM in a memfd, the lower half at 0 and the upper half at 4 GiB. The
 * program tells a vhost-user-blk back-end such as qemu-storage-daemon where that RAM is
 * (membus/share.h gives the list), lays a virtqueue into it as a guest's driver would, and moves
 * disk blocks: the daemon reads and writes the very pages that the accesses here reach.
 *
 *      vhost-user-blk [--daemon PROGRAM]    start PROGRAM (qemu-storage-daemon) on a new image
 *      vhost-user-blk SOCKET                use the back-end that listens there
 *
 * The disk's first 768 KiB are overwritten: each sector with its number, 32 times.
 */
#include "vhost-user.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <membus/membus.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024ULL * 1024)
#define RAM_SIZE (16 * MIB)
#define HIGH (4096 * MIB) /* where the upper half of RAM is */
#define SECTOR 512U
#define ANY MEMTXATTRS_UNSPECIFIED

static char work_dir[] = "/tmp/vhost-user-blk.XXXXXX";
static char image[64], socket_path[64]; /* in it; "" if not ours */
static pid_t daemon_pid;

static void clean_up(void)
{
    if (daemon_pid > 0) {
        kill(daemon_pid, SIGTERM);
        waitpid(daemon_pid, NULL, 0);
    }
    if (*image) {
        unlink(image);
        unlink(socket_path);
        rmdir(work_dir);
    }
}

/* ---- the machine ------------------------------------------------------------------------- */

static MemorySystem *ms;
static AddressSpace *as;
static HostMemoryBackend *memory;
static MemoryRegion low, high;

static void make_machine(void)
{
    ms = memory_system_create();
    NEED(ms, "%s", membus_last_error());
    as = memory_system_memory(ms);
    memory = host_memory_backend_create(ms, "memory-backend-memfd,id=ram,size=16M,share=on", NULL);
    NEED(memory, "%s", membus_last_error());

    MemoryOwner *board = memory_system_owner(ms);
    MemoryRegion *ram = host_memory_backend_get_memory(memory), *root = get_system_memory(ms);
    NEED(memory_region_init_alias(&low, board, "ram-low", ram, 0, RAM_SIZE / 2) == 0 &&
             memory_region_init_alias(&high, board, "ram-high", ram, RAM_SIZE / 2, RAM_SIZE / 2) ==
                 0 &&
             memory_region_add_subregion(root, 0, &low) == 0 &&
             memory_region_add_subregion(root, HIGH, &high) == 0,
         "%s", membus_last_error());
}

static void end_machine(void)
{
    NEED(memory_region_del_subregion(get_system_memory(ms), &low) == 0 &&
             memory_region_del_subregion(get_system_memory(ms), &high) == 0 &&
             (memory_system_drain(ms), memory_region_finalize(&low)) == 0 &&
             memory_region_finalize(&high) == 0 && host_memory_backend_destroy(memory, NULL) == 0 &&
             memory_system_destroy(ms) == 0,
         "%s", membus_last_error());
}

/* ---- the virtqueue: a split ring in guest memory ------------------------------------------ */

#define RING_SIZE 16U
/* Where things are in the guest. */
#define DESC_AT 0x1000U
#define AVAIL_AT 0x2000U
#define USED_AT 0x3000U
#define REQUEST_AT 0x4000U
#define STATUS_AT 0x5000U
#define DATA_AT HIGH

static MemoryRegionCache desc, avail, used;
static uint16_t next_avail, next_used;
static int kick_fd, call_fd;

static void map_ring(MemoryRegionCache *cache, hwaddr addr, hwaddr size)
{
    NEED(address_space_cache_init(cache, as, addr, size, true) == (int64_t)size, "%s",
         membus_last_error());
}

static void start_ring(const MemoryShareList *list)
{
    map_ring(&desc, DESC_AT, RING_SIZE * sizeof(struct vring_desc));
    map_ring(&avail, AVAIL_AT, sizeof(struct vring_avail) + RING_SIZE * sizeof(__virtio16));
    map_ring(&used, USED_AT,
             sizeof(struct vring_used) + RING_SIZE * sizeof(struct vring_used_elem));
    kick_fd = eventfd(0, EFD_CLOEXEC);
    call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    NEED(kick_fd >= 0 && call_fd >= 0, "eventfd: %s", strerror(errno));

    tell_ring(SET_VRING_NUM, RING_SIZE);
    tell_ring(SET_VRING_BASE, 0);
    tell_addresses(user_address(list, DESC_AT), user_address(list, AVAIL_AT),
                   user_address(list, USED_AT));
    tell_ring_fd(SET_VRING_CALL, call_fd);
    tell_ring_fd(SET_VRING_KICK, kick_fd);
    tell_ring(SET_VRING_ENABLE, 1);
}

static void stop_ring(void)
{
    uint32_t stopped_at = ask_ring(GET_VRING_BASE);
    NEED(stopped_at == next_avail, "the back-end stopped at %u, not %u", stopped_at, next_avail);
    address_space_cache_destroy(&desc);
    address_space_cache_destroy(&avail);
    address_space_cache_destroy(&used);
    close(kick_fd);
    close(call_fd);
}

typedef struct Segment {
    hwaddr addr;
    uint32_t size;
} Segment;

static void put_desc(uint16_t i, Segment segment, uint16_t flags)
{
    hwaddr at = i * sizeof(struct vring_desc);

    address_space_stq_le_cached(&desc, at, segment.addr, ANY, NULL);
    address_space_stl_le_cached(&desc, at + 8, segment.size, ANY, NULL);
    address_space_stw_le_cached(&desc, at + 12, flags, ANY, NULL);
    address_space_stw_le_cached(&desc, at + 14, (uint16_t)(i + 1), ANY, NULL);
}

static uint16_t used_index(void)
{
    uint16_t index = address_space_lduw_le_cached(&used, 2, ANY, NULL);
    atomic_thread_fence(memory_order_acquire); /* the entries are read after the index */
    return index;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Wait until the back-end has used what is available; if it dies or is too slow, give up. */
static void wait_used(void)
{
    struct pollfd fds[] = {{.fd = call_fd, .events = POLLIN}, {.fd = backend}};
    int64_t end = now_ms() + TIMEOUT_MS;

    while (used_index() != next_avail) {
        int64_t left = end - now_ms();
        NEED(left > 0, "no answer within %d ms", TIMEOUT_MS);
        int n = poll(fds, 2, (int)left);
        NEED(n >= 0 || errno == EINTR, "poll: %s", strerror(errno));
        NEED(!(fds[1].revents & (POLLHUP | POLLERR)), "the back-end went away");
        uint64_t count;
        if (n > 0 && fds[0].revents && read(call_fd, &count, sizeof count) < 0) {
            NEED(errno == EAGAIN, "eventfd: %s", strerror(errno));
        }
    }
    hwaddr at = 4 + next_used++ % RING_SIZE * sizeof(struct vring_used_elem);
    NEED(address_space_ldl_le_cached(&used, at, ANY, NULL) == 0, "an unknown chain came back");
}

/* One request: its header, data in @count segments, a status byte, which is returned. */
static uint8_t submit(uint32_t type, uint64_t sector, const Segment *data, uint16_t count)
{
    uint16_t to_device = VRING_DESC_F_NEXT, from_device = VRING_DESC_F_NEXT | VRING_DESC_F_WRITE;
    Segment header = {REQUEST_AT, sizeof(struct virtio_blk_outhdr)}, status = {STATUS_AT, 1};

    address_space_stl_le(as, REQUEST_AT, type, ANY, NULL);
    address_space_stl_le(as, REQUEST_AT + 4, 0, ANY, NULL);
    address_space_stq_le(as, REQUEST_AT + 8, sector, ANY, NULL);
    address_space_stb(as, STATUS_AT, 0xff, ANY, NULL);
    put_desc(0, header, to_device);
    for (uint16_t i = 0; i < count; i++) {
        put_desc((uint16_t)(1 + i), data[i], type == VIRTIO_BLK_T_IN ? from_device : to_device);
    }
    put_desc((uint16_t)(1 + count), status, VRING_DESC_F_WRITE);

    address_space_stw_le_cached(&avail, 4 + next_avail % RING_SIZE * 2U, 0, ANY, NULL);
    atomic_thread_fence(memory_order_release); /* the chain is there before the index says so */
    address_space_stw_le_cached(&avail, 2, ++next_avail, ANY, NULL);
    NEED(write(kick_fd, &(uint64_t){1}, sizeof(uint64_t)) > 0, "kick: %s", strerror(errno));
    wait_used();
    return address_space_ldub(as, STATUS_AT, ANY, NULL);
}

/* ---- the disk ------------------------------------------------------------------------------ */

#define SECTORS 1536U /* that are written */
#define CHUNK 8U      /* sectors in a request */

/* What sector @number holds. */
static void sector_text(uint64_t number, char text[SECTOR])
{
    for (unsigned i = 0; i < SECTOR; i += 16) {
        char word[17];
        snprintf(word, sizeof word, "sector %08u\n", (unsigned)number);
        memcpy(text + i, word, 16);
    }
}

static void fill_guest(hwaddr addr, uint64_t sector, unsigned count)
{
    char text[SECTOR];

    for (unsigned i = 0; i < count; i++) {
        sector_text(sector + i, text);
        NEED(address_space_write(as, addr + i * SECTOR, ANY, text, SECTOR) == MEMTX_OK, "no RAM");
    }
}

static bool guest_has(hwaddr addr, uint64_t sector, unsigned count)
{
    char text[SECTOR], found[SECTOR];

    for (unsigned i = 0; i < count; i++) {
        sector_text(sector + i, text);
        NEED(address_space_read(as, addr + i * SECTOR, ANY, found, SECTOR) == MEMTX_OK, "no RAM");
        if (memcmp(text, found, SECTOR) != 0) {
            return false;
        }
    }
    return true;
}

static void write_disk(void)
{
    Segment whole = {DATA_AT, CHUNK * SECTOR};

    for (unsigned sector = 0; sector < SECTORS; sector += CHUNK) {
        fill_guest(DATA_AT, sector, CHUNK);
        NEED(submit(VIRTIO_BLK_T_OUT, sector, &whole, 1) == VIRTIO_BLK_S_OK,
             "sector %u could not be written", sector);
    }
    printf("wrote: %u sectors in %u requests\n", SECTORS, SECTORS / CHUNK);
}

/* Into three places, which are not in order. */
static void read_scattered(void)
{
    Segment parts[] = {
        {DATA_AT + 0x20000, 5 * SECTOR}, {DATA_AT + 0x10000, SECTOR}, {REQUEST_AT + 0x10000, 1024}};

    NEED(submit(VIRTIO_BLK_T_IN, 100, parts, 3) == VIRTIO_BLK_S_OK, "the read failed");
    NEED(guest_has(parts[0].addr, 100, 5) && guest_has(parts[1].addr, 105, 1) &&
             guest_has(parts[2].addr, 106, 2),
         "the read gave other bytes");
    puts("read: 8 sectors into 3 segments, as written");
}

static void go_too_far(uint64_t capacity)
{
    Segment whole = {DATA_AT, CHUNK * SECTOR};

    NEED(submit(VIRTIO_BLK_T_IN, capacity - 1, &whole, 1) == VIRTIO_BLK_S_IOERR &&
             submit(VIRTIO_BLK_T_OUT, capacity, &whole, 1) == VIRTIO_BLK_S_IOERR,
         "a request beyond the end of the disk was served");
    puts("refused: a read and a write beyond the end of the disk");
}

/* ---- the back-end --------------------------------------------------------------------------- */

static void start_daemon(const char *program)
{
    char blockdev[128], export[192];

    NEED(mkdtemp(work_dir), "%s: %s", work_dir, strerror(errno));
    snprintf(image, sizeof image, "%s/disk.img", work_dir);
    snprintf(socket_path, sizeof socket_path, "%s/socket", work_dir);
    int fd = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    NEED(fd >= 0 && ftruncate(fd, MIB) == 0, "%s: %s", image, strerror(errno));
    close(fd);
    snprintf(blockdev, sizeof blockdev, "driver=file,node-name=disk,filename=%s", image);
    snprintf(export, sizeof export,
             "type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path=%s",
             socket_path);
    daemon_pid = fork();
    NEED(daemon_pid >= 0, "fork: %s", strerror(errno));
    if (daemon_pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        execlp(program, program, "--blockdev", blockdev, "--export", export, (char *)NULL);
        fprintf(stderr, "vhost-user-blk: cannot start %s: %s\n", program, strerror(errno));
        _exit(127);
    }
}

/* A daemon of ours needs a moment to listen. */
static void connect_backend(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval timeout = {TIMEOUT_MS / 1000, 0};
    const struct timespec moment = {0, 10 * 1000 * 1000};

    NEED(strlen(path) < sizeof addr.sun_path, "%s: the name is too long for a socket", path);
    strcpy(addr.sun_path, path);
    backend = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    NEED(backend >= 0, "socket: %s", strerror(errno));
    setsockopt(backend, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(backend, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    for (int tries = TIMEOUT_MS / 10; connect(backend, (struct sockaddr *)&addr, sizeof addr);) {
        NEED(daemon_pid > 0 && tries-- > 0, "%s: %s", path, strerror(errno));
        if (waitpid(daemon_pid, NULL, WNOHANG) == daemon_pid) {
            daemon_pid = 0;
            NEED(false, "the daemon ended at once");
        }
        nanosleep(&moment, NULL);
    }
}

/* The daemon's file is where the blocks must have come to. */
static void look_into_image(void)
{
    char text[SECTOR], found[SECTOR];
    int fd = open(image, O_RDONLY | O_CLOEXEC);

    NEED(fd >= 0, "%s: %s", image, strerror(errno));
    for (unsigned sector = 0; sector < SECTORS; sector++) {
        sector_text(sector, text);
        NEED(pread(fd, found, SECTOR, sector * SECTOR) == SECTOR && !memcmp(text, found, SECTOR),
             "sector %u is not in the image", sector);
    }
    close(fd);
    puts("image: has every sector that was written");
}

int main(int argc, char **argv)
{
    bool start = argc == 1 || (argc == 3 && strcmp(argv[1], "--daemon") == 0);

    if (!start && (argc != 2 || argv[1][0] == '-')) {
        fputs("usage: vhost-user-blk [--daemon PROGRAM | SOCKET]\n", stderr);
        return 2;
    }
    atexit(clean_up);
    if (start) {
        start_daemon(argc == 3 ? argv[2] : "qemu-storage-daemon");
    }
    connect_backend(start ? socket_path : argv[1]);
    make_machine();

    uint64_t capacity = negotiate(1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_BLK_F_FLUSH);
    NEED(capacity >= SECTORS, "a disk of %" PRIu64 " sectors is too small", capacity);
    MemoryShareList *list = memory_share_list_create(as, NULL);
    NEED(list, "%s", membus_last_error());
    share_ram(list);
    start_ring(list);
    write_disk();
    read_scattered();
    NEED(submit(VIRTIO_BLK_T_FLUSH, 0, NULL, 0) == VIRTIO_BLK_S_OK, "the flush failed");
    puts("flushed");
    go_too_far(capacity);
    stop_ring();
    if (start) {
        look_into_image();
    }
    memory_share_list_free(list);
    close(backend);
    end_machine();
    return 0;
}
