/* SPDX-License-Identifier: MIT */
/*
 * The virtio disk: requests of the guest, carried out on a file.
 *
 * A thread of its own does the file's part, so that no CPU and no timer waits for a disk:
 *
 *      notify (a CPU, machine lock)    take chains, map their buffers     -> todo
 *      worker (no machine lock)        preadv, pwritev, fdatasync         -> done, eventfd
 *      loop (machine lock)             status byte, unmap, give back, interrupt
 *
 * The worker never takes the machine lock, so whoever holds that may wait for the worker: a reset
 * does, since afterwards nothing may be written to the guest's memory any more.
 */
#include "virtio_blk.h"
#include "devices.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <membus/access.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SECTOR 512U

/* ---- Ending a request ------------------------------------------------------------------ */

static void unmap(VirtioBlk *blk, Request *request)
{
    uint64_t left = request->to_guest ? request->transferred : 0;

    for (unsigned i = 0; i < request->nr_pieces; i++) {
        const struct iovec *piece = &request->pieces[i];
        uint64_t written = left < piece->iov_len ? left : piece->iov_len;
        address_space_unmap(pci_dma(&blk->virtio.pci), piece->iov_base, piece->iov_len,
                            request->to_guest, written);
        left -= written;
    }
    request->nr_pieces = 0;
}

/* The status is the last byte that the device writes. */
static void finish(VirtioBlk *blk, VirtQueue *queue, Request *request)
{
    const VirtElement *element = &request->element;
    uint64_t written = request->to_guest ? element->in_len : 1;

    unmap(blk, request);
    if (virtio_is_live(&blk->virtio)) {
        virtio_write_in(&blk->virtio, element, element->in_len - 1, &request->status, 1);
        virtqueue_push(queue, element, written > UINT32_MAX ? UINT32_MAX : (uint32_t)written);
    }
    free(request);
}

static Request *take_done(VirtioBlk *blk)
{
    pthread_mutex_lock(&blk->lock);
    Request *request = list_take(&blk->done);
    pthread_mutex_unlock(&blk->lock);
    return request;
}

/* ---- Beginning a request --------------------------------------------------------------- */

/* Map the @len bytes behind @offset of the segments; what cannot be mapped is no memory. */
static bool map_pieces(VirtioBlk *blk, Request *request, const struct VirtSegment *segment,
                       uint64_t offset, uint64_t len)
{
    for (; len; segment++) {
        hwaddr addr = segment->addr + offset, left = segment->len;
        if (offset >= left) {
            offset -= left;
            continue;
        }
        left -= offset;
        left = left < len ? left : len;
        len -= left;
        offset = 0;
        while (left) {
            hwaddr part = left;
            void *bytes = request->nr_pieces < MAX_PIECES
                              ? address_space_map(pci_dma(&blk->virtio.pci), addr, &part,
                                                  request->to_guest, (MemTxAttrs){0})
                              : NULL;
            if (!bytes) {
                return false;
            }
            request->pieces[request->nr_pieces++] = (struct iovec){bytes, (size_t)part};
            addr += part;
            left -= part;
        }
    }
    return true;
}

/* Bytes of data. */
static uint64_t data_length(const Request *request)
{
    return request->to_guest ? request->element.in_len - 1
                             : request->element.out_len - sizeof(struct virtio_blk_outhdr);
}

static bool is_on_disk(const VirtioBlk *blk, const Request *request, uint64_t sector)
{
    uint64_t len = data_length(request);

    return len % SECTOR == 0 && sector <= blk->sectors && len / SECTOR <= blk->sectors - sector &&
           !(blk->readonly && !request->to_guest);
}

static bool map_request(VirtioBlk *blk, Request *request)
{
    const VirtElement *element = &request->element;
    uint64_t len = data_length(request);

    return request->to_guest
               ? map_pieces(blk, request, element->segments + element->nr_out, 0, len)
               : map_pieces(blk, request, element->segments, sizeof(struct virtio_blk_outhdr), len);
}

static uint8_t give_id(VirtioBlk *blk, const VirtElement *element)
{
    char id[VIRTIO_BLK_ID_BYTES] = "membus-disk";
    uint64_t room = element->in_len - 1;

    return virtio_write_in(&blk->virtio, element, 0, id, room < sizeof(id) ? room : sizeof(id))
               ? VIRTIO_BLK_S_OK
               : VIRTIO_BLK_S_IOERR;
}

static void submit(VirtioBlk *blk, Request *request)
{
    pthread_mutex_lock(&blk->lock);
    list_add(&blk->todo, request);
    pthread_cond_broadcast(&blk->changed);
    pthread_mutex_unlock(&blk->lock);
}

/*
 * Takes over @request. False: its buffers cannot be mapped while others in flight may have what
 * that takes (bounce buffers). It is in the queue again, which is looked at when one is finished.
 */
static bool begin(VirtioBlk *blk, VirtQueue *queue, Request *request)
{
    VirtElement *element = &request->element;
    uint8_t header[sizeof(struct virtio_blk_outhdr)];

    if (element->in_len == 0 ||
        !virtio_read_out(&blk->virtio, element, 0, header, sizeof(header))) {
        virtio_broken(&blk->virtio, "a request without a header, or without a status");
        free(request);
        return true;
    }
    request->type = pci_get_long(header);
    request->to_guest = request->type == VIRTIO_BLK_T_IN;
    request->status = VIRTIO_BLK_S_IOERR;
    uint64_t sector = pci_get_long(header + 8) | (uint64_t)pci_get_long(header + 12) << 32;
    bool cached = virtio_has(&blk->virtio, VIRTIO_BLK_F_FLUSH);
    switch (request->type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        request->sync = !cached && !request->to_guest;
        if (!is_on_disk(blk, request, sector)) {
            break;
        }
        request->offset = sector * SECTOR;
        if (map_request(blk, request)) {
            submit(blk, request);
            return true;
        }
        if (queue->in_flight > 1) {
            unmap(blk, request);
            free(request);
            virtqueue_unpop(queue);
            return false;
        }
        break;
    case VIRTIO_BLK_T_FLUSH:
        request->sync = true;
        submit(blk, request);
        return true;
    case VIRTIO_BLK_T_GET_ID:
        request->status = give_id(blk, element);
        break;
    default:
        request->status = VIRTIO_BLK_S_UNSUPP;
        break;
    }
    finish(blk, queue, request);
    return true;
}

static void notified(VirtioDevice *device, VirtQueue *queue)
{
    VirtioBlk *blk = (VirtioBlk *)device;
    unsigned count = 0;
    bool more = true;

    device->busy = true;
    /* Requests that are finished here could go on for ever: no more than a queue at a time. */
    for (; count <= queue->size && more && virtio_is_live(device); count++) {
        Request *request = calloc(1, sizeof(*request));
        if (!request) {
            virtio_broken(device, "memory is short");
            break;
        }
        more = virtqueue_pop(queue, &request->element) > 0;
        if (more) {
            more = begin(blk, queue, request);
        } else {
            free(request);
        }
    }
    device->busy = false;
    if (count > queue->size) {
        eventfd_write(blk->event, 1);
    }
}

/* From the worker, and to look again where the queue was left (see above). */
static void finish_done(void *opaque, short events)
{
    VirtioBlk *blk = opaque;
    VirtQueue *queue = &blk->virtio.queues[0];
    eventfd_t count;
    Request *request;

    (void)events;
    eventfd_read(blk->event, &count);
    blk->virtio.busy = true;
    while ((request = take_done(blk))) {
        finish(blk, queue, request);
    }
    blk->virtio.busy = false;
    if (queue->enabled && virtio_is_live(&blk->virtio)) {
        notified(&blk->virtio, queue);
    }
}

/* ---- Reset and configuration ----------------------------------------------------------- */

static void drop(VirtioBlk *blk, RequestList *list)
{
    Request *request;

    while ((request = list_take(list))) {
        unmap(blk, request);
        free(request);
    }
}

static void reset(VirtioDevice *device)
{
    VirtioBlk *blk = (VirtioBlk *)device;
    RequestList todo, done;

    pthread_mutex_lock(&blk->lock);
    todo = blk->todo;
    blk->todo.first = NULL;
    atomic_store(&blk->cancel, true); /* or it could take as long as the disk is large */
    while (blk->working) {
        pthread_cond_wait(&blk->changed, &blk->lock);
    }
    atomic_store(&blk->cancel, false);
    done = blk->done;
    blk->done.first = NULL;
    pthread_mutex_unlock(&blk->lock);
    bool busy = device->busy;
    device->busy = true;
    drop(blk, &todo);
    drop(blk, &done);
    device->busy = busy;
}

static uint8_t read_config(VirtioDevice *device, unsigned offset)
{
    const VirtioBlk *blk = (VirtioBlk *)device;
    uint8_t config[24] = {0}; /* of struct virtio_blk_config, which goes on */

    for (unsigned i = 0; i < 8; i++) {
        config[i] = (uint8_t)(blk->sectors >> 8 * i);
    }
    pci_set_long(config + 12, VIRTQUEUE_MAX_SIZE - 2); /* seg_max: beside header and status */
    pci_set_long(config + 20, SECTOR);                 /* blk_size */
    return offset < sizeof(config) ? config[offset] : 0;
}

static const VirtioKind blk_kind = {
    .name = "virtio-blk-pci",
    .msix_name = "virtio-blk-pci-msix",
    .part_names = {"virtio-pci-common-virtio-blk", "virtio-pci-isr-virtio-blk",
                   "virtio-pci-device-virtio-blk", "virtio-pci-notify-virtio-blk"},
    .id = 0x1042,
    .class_code = PCI_CLASS_SCSI,
    .nr_queues = 1,
    .read_config = read_config,
    .notified = notified,
    .reset = reset,
};

/* ---- Making it ------------------------------------------------------------------------- */

static void unrealize(Device *device)
{
    VirtioBlk *blk = (VirtioBlk *)device;

    if (blk->has_thread) {
        reset(&blk->virtio);
        pthread_mutex_lock(&blk->lock);
        blk->quit = true;
        pthread_cond_broadcast(&blk->changed);
        pthread_mutex_unlock(&blk->lock);
        pthread_join(blk->thread, NULL);
        loop_remove(device->machine->loop, blk->event);
    }
    pci_unrealize(device);
}

static void finalize(Device *device)
{
    VirtioBlk *blk = (VirtioBlk *)device;

    if (blk->fd >= 0) {
        close(blk->fd);
    }
    if (blk->event >= 0) {
        close(blk->event);
    }
    pthread_cond_destroy(&blk->changed);
    pthread_mutex_destroy(&blk->lock);
}

static int open_file(VirtioBlk *blk, const char *file, bool readonly)
{
    blk->readonly = readonly;
    blk->fd = open(file, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    off_t size = blk->fd < 0 ? -1 : lseek(blk->fd, 0, SEEK_END);
    if (size < 0) {
        return error_set(NULL, errno, "%s: %m", file);
    }
    blk->sectors = (uint64_t)size / SECTOR;
    blk->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return blk->event < 0 ? error_set(NULL, errno, "%s: no eventfd: %m", file) : 0;
}

static int start(VirtioBlk *blk)
{
    Machine *m = blk->virtio.pci.device.machine;
    int result = loop_watch(m->loop, blk->event, POLLIN, finish_done, blk);

    if (result < 0) {
        return error_set(NULL, -result, "%s: it cannot be waited for", blk_kind.name);
    }
    result = pthread_create(&blk->thread, NULL, virtio_blk_work, blk);
    if (result) {
        loop_remove(m->loop, blk->event);
        return error_set(NULL, result, "%s: no thread: %s", blk_kind.name, strerror(result));
    }
    blk->has_thread = true;
    return 0;
}

/* The first slot behind the board's own devices that is free. */
static uint8_t free_slot(const PciBus *bus)
{
    unsigned slot = 3;

    while (slot < 31 && bus->devices[PCI_DEVFN(slot, 0)]) {
        slot++;
    }
    return PCI_DEVFN(slot, 0);
}

int virtio_blk_create(Machine *m, const char *file, bool readonly)
{
    uint64_t features = UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX | UINT64_C(1) << VIRTIO_BLK_F_BLK_SIZE |
                        UINT64_C(1) << VIRTIO_BLK_F_FLUSH |
                        (readonly ? UINT64_C(1) << VIRTIO_BLK_F_RO : 0);
    int result;

    if (!file) {
        return 0;
    }
    PciBus *bus = m->options->bridge ? pci_bridge_create(m, free_slot(m->pci)) : m->pci;
    VirtioBlk *blk =
        bus ? virtio_create(bus, sizeof(*blk), &blk_kind, free_slot(bus), features) : NULL;
    if (!blk) {
        return -ENOMEM;
    }
    pthread_mutex_init(&blk->lock, NULL);
    pthread_cond_init(&blk->changed, NULL);
    blk->fd = blk->event = -1;
    blk->virtio.pci.device.finalize = finalize;
    blk->virtio.pci.device.unrealize = unrealize;
    if ((result = open_file(blk, file, readonly)) < 0 || (result = start(blk)) < 0 ||
        (result = pci_realize(&blk->virtio.pci)) < 0) {
        return result;
    }
    blk->virtio.pci.reset(&blk->virtio.pci.device);
    return 0;
}
