/* SPDX-License-Identifier: MIT */
/*
 * test_io.c - strings to and from ports, coalesced writes, ioeventfds: once with all that the
 * kernel can do without an exit, once without, and a device that gets the same writes.
 */
#include "live.h"
#include "tests.h"
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DEVICE_AT 0x200000
#define PORTS_AT 0x400
#define TEXT_AT 0x8000
#define BUFFER_AT 0x9000

typedef struct Card {
    MemoryRegion mr, ports;
    uint16_t next;   /* word of the input */
    char story[512]; /* "w4 0=11111111 " is memory, "o2 ..." a port */
    EventNotifier any, seven, five;
} Card;

static void tell(Card *card, char what, unsigned size, hwaddr addr, uint64_t data)
{
    size_t length = strlen(card->story);

    snprintf(card->story + length, sizeof card->story - length, "%c%u %llx=%llx ", what, size,
             (unsigned long long)addr, (unsigned long long)data);
}

static uint64_t card_read(void *opaque, hwaddr addr, unsigned size)
{
    tell(opaque, 'r', size, addr, 0);
    return 0;
}

static void card_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    tell(opaque, 'w', size, addr, data);
}

static uint64_t ports_read(void *opaque, hwaddr addr, unsigned size)
{
    Card *card = opaque;

    (void)addr, (void)size;
    return ++card->next * 0x101U;
}

static void ports_write(void *opaque, hwaddr addr, uint64_t data, unsigned size)
{
    tell(opaque, 'o', size, addr, data);
}

static const MemoryRegionOps card_ops = {
    .read = card_read,
    .write = card_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};
static const MemoryRegionOps ports_ops = {
    .read = ports_read,
    .write = ports_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
};

static void plug(Live *live, Card *card)
{
    OK(memory_region_init_io(&card->mr, live->board, &card_ops, card, "card", 0x1000));
    OK(memory_region_init_io(&card->ports, live->board, &ports_ops, card, "card ports", 16));
    OK(memory_region_add_subregion(live->memory, DEVICE_AT, &card->mr));
    OK(memory_region_add_subregion(get_system_io(live->ms), PORTS_AT, &card->ports));
}

static EventNotifier open_notifier(void)
{
    return (EventNotifier){(int)CALL(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC))};
}

static void spare_exits(Card *card)
{
    card->any = open_notifier();
    card->seven = open_notifier();
    card->five = open_notifier();
    OK(memory_region_add_coalescing(&card->mr, 0, 8));
    OK(memory_region_add_coalescing(&card->ports, 8, 2));
    OK(memory_region_add_eventfd(&card->mr, 16, 4, false, 0, &card->any));
    OK(memory_region_add_eventfd(&card->mr, 20, 4, true, 7, &card->seven));
    OK(memory_region_add_eventfd(&card->ports, 12, 2, true, 5, &card->five));
}

static void signalled_once(const EventNotifier *e, const char *name)
{
    uint64_t count = 0;
    ssize_t size = read(e->fd, &count, sizeof count);

    CHECK(size == sizeof count && count == 1, "%s: %llu", name, (unsigned long long)count);
}

/* Run the guest; returns how many exits of memory it made. */
static unsigned long run_io(Live *live)
{
    uint16_t words[5];

    live_put(live, TEXT_AT, "abcdefghij", 10);
    LiveCpu *cpu = live_cpu(
        live, &code_io, 0x1000,
        (struct kvm_regs){.rbx = DEVICE_AT, .rbp = PORTS_AT, .rsi = TEXT_AT, .rdi = BUFFER_AT});
    live_start(cpu);
    live_join(cpu);
    address_space_read(memory_system_memory(live->ms), BUFFER_AT, ATTRS, words, sizeof words);
    for (unsigned i = 0; i < 5; i++) {
        CHECK(words[i] == (i + 1) * 0x101, "word %u read from the port: %x", i, words[i]);
    }
    return cpu->mmio_exits;
}

#define STRING "o2 0=6261 o2 0=6463 o2 0=6665 o2 0=6867 o2 0=6a69 "
#define WRITES "w4 0=11111111 w2 4=2222 o2 8=2222 w4 0=33333333 r4 8=0 "

void test_io(void)
{
    static Live live;
    static Card card;

    live_open(&live, NULL, NULL, NULL);
    const KVMCapabilities *caps = kvm_capabilities(live.kvm);
    if (!caps->coalesced_mmio || !caps->coalesced_pio || !caps->ioeventfd) {
        skip("no coalesced writes, or no ioeventfds");
    }
    plug(&live, &card);
    spare_exits(&card);
    unsigned long exits = run_io(&live);
    CHECK(strcmp(card.story, STRING WRITES "w4 14=8 o2 c=6 ") == 0, "%s", card.story);
    CHECK(exits == 2, "%lu", exits); /* the read, and the data that does not match */
    kvm_flush_coalesced_mmio_buffer(live.kvm);
    CHECK(strcmp(card.story, STRING WRITES "w4 14=8 o2 c=6 w4 0=44444444 ") == 0, "%s", card.story);
    signalled_once(&card.any, "any data");
    signalled_once(&card.seven, "7");
    signalled_once(&card.five, "5 to the port");
    live_close(&live);
}

void test_io_by_exits(void)
{
    static Live live;
    static Card card;

    live_open(&live, NULL, NULL, NULL);
    plug(&live, &card);
    unsigned long exits = run_io(&live);
    CHECK(strcmp(card.story, STRING WRITES "w4 10=1 w4 14=7 w4 14=8 o2 c=5 o2 c=6 "
                                           "w4 0=44444444 ") == 0,
          "%s", card.story);
    CHECK(exits == 8, "%lu", exits);
    live_close(&live);
}
