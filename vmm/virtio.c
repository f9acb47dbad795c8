/* SPDX-License-Identifier: MIT */
/*
 * Split virtqueues: taking chains of descriptors from the available ring and giving them back
 * through the used ring (virtio 1.0, section 2.4). All of it is in the guest's memory, changes
 * under our eyes, and may be nonsense: everything is read once and checked before it is
 * used, and a chain has no more descriptors than a queue may have.
 */
#include "virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <membus/access.h>
#include <string.h>

#define RING_OFFSET 4U /* of both rings, behind flags and index */

static const MemTxAttrs plain;

/* ---- The rings ------------------------------------------------------------------------- */

static bool load(VirtQueue *queue, hwaddr addr, uint16_t *value)
{
    MemTxResult result;

    *value = address_space_lduw_le(pci_dma(&queue->device->pci), addr, plain, &result);
    return result == MEMTX_OK;
}

static bool store(VirtQueue *queue, hwaddr addr, uint16_t value)
{
    MemTxResult result;

    address_space_stw_le(pci_dma(&queue->device->pci), addr, value, plain, &result);
    return result == MEMTX_OK;
}

static bool has_event_index(const VirtQueue *queue)
{
    return virtio_has(queue->device, VIRTIO_RING_F_EVENT_IDX);
}

static hwaddr used_event(const VirtQueue *queue)
{
    return queue->avail + RING_OFFSET + 2U * queue->size;
}

static hwaddr avail_event(const VirtQueue *queue)
{
    return queue->used + RING_OFFSET + 8U * queue->size;
}

static int broken(VirtQueue *queue, const char *why)
{
    virtio_broken(queue->device, why);
    return -1;
}

/* How many chains are waiting; -1: broken. */
static int count_waiting(VirtQueue *queue)
{
    uint16_t index;

    if (!load(queue, queue->avail + 2, &index)) {
        return broken(queue, "the available ring is not in memory");
    }
    uint16_t waiting = (uint16_t)(index - queue->next_avail);
    if (waiting > queue->size) {
        return broken(queue, "more chains are available than the queue has room for");
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* the index before the ring and the descriptors */
    return waiting;
}

/* ---- Descriptors ----------------------------------------------------------------------- */

typedef struct Walk {
    VirtQueue *queue;
    VirtElement *element;
    hwaddr table;
    unsigned count; /* descriptors in the table */
    bool indirect;
} Walk;

static bool read_descriptor(const Walk *walk, unsigned index, struct vring_desc *desc)
{
    uint8_t raw[16];

    if (address_space_read(pci_dma(&walk->queue->device->pci), walk->table + 16 * (hwaddr)index,
                           plain, raw, sizeof(raw)) != MEMTX_OK) {
        return false;
    }
    desc->addr = pci_get_long(raw) | (uint64_t)pci_get_long(raw + 4) << 32;
    desc->len = pci_get_long(raw + 8);
    desc->flags = pci_get_word(raw + 12);
    desc->next = pci_get_word(raw + 14);
    return true;
}

/* NULL, or what is wrong with @desc. */
static const char *add_segment(VirtElement *element, const struct vring_desc *desc)
{
    unsigned count = element->nr_out + element->nr_in;

    if (desc->len == 0 || desc->addr + (desc->len - 1) < desc->addr) {
        return "a buffer is empty, or around the end of memory";
    }
    if (count == VIRTQUEUE_MAX_SIZE) {
        return "a chain is longer than a queue, or a loop";
    }
    if (desc->flags & VRING_DESC_F_WRITE) {
        element->nr_in++;
        element->in_len += desc->len;
    } else {
        if (element->nr_in) {
            return "a buffer to read is behind one to write";
        }
        element->nr_out++;
        element->out_len += desc->len;
    }
    element->segments[count] = (struct VirtSegment){desc->addr, desc->len};
    return NULL;
}

/* Go on in the table that @desc is. */
static const char *enter_indirect(Walk *walk, const struct vring_desc *desc)
{
    if (walk->indirect || !virtio_has(walk->queue->device, VIRTIO_RING_F_INDIRECT_DESC) ||
        (desc->flags & VRING_DESC_F_NEXT) || desc->len == 0 || desc->len % 16 ||
        desc->len / 16 > UINT16_MAX || desc->addr + (desc->len - 1) < desc->addr) {
        return "an indirect table is not where or what it may be";
    }
    walk->indirect = true;
    walk->table = desc->addr;
    walk->count = desc->len / 16;
    return NULL;
}

static const char *walk_chain(Walk *walk)
{
    unsigned index = walk->element->head;

    for (;;) { /* each turn adds a segment, but for one that enters a table */
        struct vring_desc desc;
        const char *fault;
        if (index >= walk->count) {
            return "a descriptor is outside of its table";
        }
        if (!read_descriptor(walk, index, &desc)) {
            return "a descriptor is not in memory";
        }
        if (desc.flags & VRING_DESC_F_INDIRECT) {
            fault = enter_indirect(walk, &desc);
            index = 0;
        } else {
            fault = add_segment(walk->element, &desc);
            if (!fault && !(desc.flags & VRING_DESC_F_NEXT)) {
                return NULL;
            }
            index = desc.next;
        }
        if (fault) {
            return fault;
        }
    }
}

/* ---- Taking and giving back ------------------------------------------------------------ */

int virtqueue_pop(VirtQueue *queue, VirtElement *element)
{
    int waiting = count_waiting(queue);

    if (waiting == 0 && has_event_index(queue)) {
        if (!store(queue, avail_event(queue), queue->next_avail)) {
            return broken(queue, "the used ring is not in memory");
        }
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the wish to be notified before the last look */
        waiting = count_waiting(queue);
    }
    if (waiting <= 0) {
        return waiting;
    }
    if (queue->in_flight == queue->size) {
        return broken(queue, "chains are made available again that are in use");
    }
    element->nr_out = element->nr_in = 0;
    element->out_len = element->in_len = 0;
    hwaddr slot = queue->avail + RING_OFFSET + 2U * (queue->next_avail & (queue->size - 1U));
    if (!load(queue, slot, &element->head)) {
        return broken(queue, "the available ring is not in memory");
    }
    Walk walk = {queue, element, queue->desc, queue->size, false};
    const char *fault = walk_chain(&walk);
    if (fault) {
        return broken(queue, fault);
    }
    queue->next_avail++;
    queue->in_flight++;
    return 1;
}

void virtqueue_unpop(VirtQueue *queue)
{
    queue->next_avail--;
    queue->in_flight--;
}

/* Whether the driver wants to hear that the used index went from @old to what it is. */
static bool wants_interrupt(VirtQueue *queue, uint16_t old)
{
    uint16_t value;

    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the used index before what the driver wishes */
    if (has_event_index(queue)) {
        return load(queue, used_event(queue), &value) &&
               (uint16_t)(queue->next_used - value - 1) < (uint16_t)(queue->next_used - old);
    }
    return load(queue, queue->avail, &value) && !(value & VRING_AVAIL_F_NO_INTERRUPT);
}

void virtqueue_push(VirtQueue *queue, const VirtElement *element, uint32_t len)
{
    hwaddr slot = queue->used + RING_OFFSET + 8U * (queue->next_used & (queue->size - 1U));
    uint16_t old = queue->next_used;
    uint8_t raw[8];

    queue->in_flight--;
    pci_set_long(raw, element->head);
    pci_set_long(raw + 4, len);
    if (address_space_write(pci_dma(&queue->device->pci), slot, plain, raw, sizeof(raw)) !=
        MEMTX_OK) {
        broken(queue, "the used ring is not in memory");
        return;
    }
    __atomic_thread_fence(__ATOMIC_RELEASE); /* the entry before the index */
    if (!store(queue, queue->used + 2, ++queue->next_used)) {
        broken(queue, "the used ring is not in memory");
    } else if (wants_interrupt(queue, old)) {
        virtio_interrupt(queue->device, queue);
    }
}

/* ---- Buffers --------------------------------------------------------------------------- */

static bool copy(VirtioDevice *device, const struct VirtSegment *segment, unsigned count,
                 uint64_t offset, uint8_t *buf, size_t len, bool is_write)
{
    for (; count && len; segment++, count--) {
        if (offset >= segment->len) {
            offset -= segment->len;
            continue;
        }
        size_t room = segment->len - (size_t)offset, part = len < room ? len : room;
        if (address_space_rw(pci_dma(&device->pci), segment->addr + offset, plain, buf, part,
                             is_write) != MEMTX_OK) {
            return false;
        }
        buf += part;
        len -= part;
        offset = 0;
    }
    return len == 0;
}

bool virtio_read_out(VirtioDevice *device, const VirtElement *element, uint64_t offset, void *buf,
                     size_t len)
{
    return copy(device, element->segments, element->nr_out, offset, buf, len, false);
}

bool virtio_write_in(VirtioDevice *device, const VirtElement *element, uint64_t offset, void *buf,
                     size_t len)
{
    return copy(device, element->segments + element->nr_out, element->nr_in, offset, buf, len,
                true);
}
