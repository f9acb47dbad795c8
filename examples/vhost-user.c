/* SPDX-License-Identifier: MIT */
#include "vhost-user.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/vhost_types.h>
#include <membus/region.h>
#include <string.h>
#include <sys/socket.h>

#define F_PROTOCOL_FEATURES (1ULL << 30)
#define PROTOCOL_F_REPLY_ACK (1ULL << 3)
#define PROTOCOL_F_CONFIG (1ULL << 9)
#define FLAG_VERSION 1U
#define FLAG_REPLY 4U
#define FLAG_NEED_REPLY 8U
#define MAX_REGIONS 8 /* in one SET_MEM_TABLE */

typedef struct Message {
    uint32_t request, flags, size; /* of the payload, bytes */
    union {
        uint64_t u64;
        struct vhost_vring_state state;
        struct vhost_vring_addr addr;
        struct {
            uint32_t count, padding;
            struct {
                uint64_t guest_phys_addr, memory_size, userspace_addr, mmap_offset;
            } region[MAX_REGIONS];
        } memory;
        struct {
            uint32_t offset, size, flags;
            uint64_t capacity; /* the beginning of struct virtio_blk_config */
        } __attribute__((packed)) config;
    };
} __attribute__((packed)) Message;
#define HEADER_SIZE 12U

int backend;
static bool acks; /* the back-end answers every message that asks for it */

static void receive(Message *m, uint32_t request)
{
    ssize_t n = recv(backend, m, HEADER_SIZE, MSG_WAITALL);
    NEED(n == HEADER_SIZE, "no answer to request %u: %s", request, n < 0 ? strerror(errno) : "end");
    NEED(m->request == request && (m->flags & FLAG_REPLY) && m->size <= sizeof *m - HEADER_SIZE,
         "a bad answer to request %u", request);
    n = m->size ? recv(backend, &m->u64, m->size, MSG_WAITALL) : 0;
    NEED(n == (ssize_t)m->size, "the answer to request %u is cut short", request);
}

static void send_message(Message *m, uint32_t request, uint32_t flags, uint32_t size,
                         const int *fds, size_t nr_fds)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_REGIONS * sizeof(int))] = {0};
    struct iovec iov = {m, HEADER_SIZE + size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    m->request = request;
    m->flags = FLAG_VERSION | flags;
    m->size = size;
    if (nr_fds) {
        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
        *cmsg = (struct cmsghdr){CMSG_LEN(nr_fds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(cmsg), fds, nr_fds * sizeof(int));
    }
    ssize_t sent = sendmsg(backend, &msg, MSG_NOSIGNAL);
    NEED(sent == (ssize_t)iov.iov_len, "request %u: %s", request, strerror(errno));
}

/* A question, whose answer replaces @m. */
static void ask(Message *m, uint32_t request, uint32_t size)
{
    send_message(m, request, 0, size, NULL, 0);
    receive(m, request);
}

/* An order, acknowledged where the back-end can. */
static void tell(Message *m, uint32_t request, uint32_t size, const int *fds, size_t nr_fds)
{
    send_message(m, request, acks ? FLAG_NEED_REPLY : 0, size, fds, nr_fds);
    if (acks) {
        receive(m, request);
        NEED(m->u64 == 0, "the back-end refused request %u", request);
    }
}

static uint64_t ask_u64(uint32_t request)
{
    Message m;
    ask(&m, request, 0);
    return m.u64;
}

static void tell_u64(uint32_t request, uint64_t value)
{
    tell(&(Message){.u64 = value}, request, sizeof value, NULL, 0);
}

void tell_ring(uint32_t request, uint32_t value)
{
    tell(&(Message){.state = {0, value}}, request, sizeof(struct vhost_vring_state), NULL, 0);
}

void tell_ring_fd(uint32_t request, int fd)
{
    tell(&(Message){.u64 = 0}, request, sizeof(uint64_t), &fd, 1);
}

uint32_t ask_ring(uint32_t request)
{
    Message m = {.state = {0, 0}};

    ask(&m, request, sizeof m.state);
    return m.state.num;
}

void tell_addresses(uint64_t desc, uint64_t avail, uint64_t used)
{
    Message m = {
        .addr = {.desc_user_addr = desc, .avail_user_addr = avail, .used_user_addr = used}};

    tell(&m, SET_VRING_ADDR, sizeof m.addr, NULL, 0);
}

static uint64_t ask_capacity(void)
{
    Message m = {.config = {.size = sizeof m.config.capacity}};

    ask(&m, GET_CONFIG, sizeof m.config);
    NEED(m.size == sizeof m.config, "the back-end does not tell its capacity");
    return m.config.capacity; /* in sectors, little-endian as all of virtio 1 */
}

void share_ram(const MemoryShareList *list)
{
    int fds[MAX_REGIONS];
    Message m = {.memory = {.count = (uint32_t)list->count}};

    NEED(list->count <= MAX_REGIONS, "%zu pieces of RAM are too many", list->count);
    for (size_t i = 0; i < list->count; i++) {
        const MemoryShareRange *range = &list->ranges[i];
        m.memory.region[i].guest_phys_addr = range->guest_addr;
        m.memory.region[i].memory_size = range->size;
        m.memory.region[i].userspace_addr = (uintptr_t)range->host;
        m.memory.region[i].mmap_offset = range->fd_offset;
        fds[i] = range->fd;
        printf("shared: 0x%09" PRIx64 "-0x%09" PRIx64 " at offset 0x%06" PRIx64 " of '%s'\n",
               range->guest_addr, range->guest_addr + range->size - 1, range->fd_offset,
               memory_region_name(range->mr));
    }
    for (size_t i = 0; i < list->nr_left_out; i++) {
        printf("not shared: '%s' at 0x%" PRIx64 ": %s\n", memory_region_name(list->left_out[i].mr),
               list->left_out[i].guest_addr, memory_share_reason(list->left_out[i].reason));
    }
    tell(&m, SET_MEM_TABLE, (uint32_t)(8 + list->count * sizeof m.memory.region[0]), fds,
         list->count);
}

uint64_t user_address(const MemoryShareList *list, hwaddr addr)
{
    for (size_t i = 0; i < list->count; i++) {
        if (addr - list->ranges[i].guest_addr < list->ranges[i].size) {
            return (uintptr_t)list->ranges[i].host + (addr - list->ranges[i].guest_addr);
        }
    }
    NEED(false, "0x%" PRIx64 " is not shared", addr);
    return 0;
}

uint64_t negotiate(uint64_t device_features)
{
    uint64_t needed = device_features | F_PROTOCOL_FEATURES;

    tell(&(Message){0}, SET_OWNER, 0, NULL, 0);
    NEED((ask_u64(GET_FEATURES) & needed) == needed, "the back-end lacks features");
    uint64_t protocol = ask_u64(GET_PROTOCOL_FEATURES) & (PROTOCOL_F_REPLY_ACK | PROTOCOL_F_CONFIG);
    NEED(protocol & PROTOCOL_F_CONFIG, "the back-end has no config space");
    tell_u64(SET_PROTOCOL_FEATURES, protocol);
    acks = protocol & PROTOCOL_F_REPLY_ACK;
    uint64_t capacity = ask_capacity();
    tell_u64(SET_FEATURES, needed);
    return capacity;
}
