# SPDX-License-Identifier: MIT
"""What a guest that means the PC no good does, at random: ports, configuration space, memory, DMA requests."""
COUNTER, SCRATCH = 0x500, 0x600  # the guest's own: how often it was reset; DMA requests
FUNCTIONS = [0x0000, 0x0800, 0x0b00, 0x1000, 0x1800]
PORTS = [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, *range(0x40, 0x44), *range(0x60, 0x65), 0x70, 0x71, 0x80, 0x92, 0xb2, 0xb3,
         0xf0, *range(0x1ce, 0x1d1), *range(0x3b4, 0x3e0), *range(0x3f8, 0x400), *range(0x510, 0x51c), *range(0x600, 0x640),
         *range(0xa00, 0xa18), *range(0xafe0, 0xafe4), *range(0xb100, 0xb110), *range(0xcf8, 0xd00)]
ANCHORS = [0x1000, 0x7000, 0xa0000, 0xb8000, 0xc0000, 0xe0000, 0xec000, 0xf0000, 0xffffc, 0x100000, 0x3fffff0, 0x4000000, 0x80000000,
           0xe0000000, 0xe0001000, 0xe0002000, 0xe0003000, 0xfd000000, 0xfebf0000, 0xfec00000, 0xfee00000, 0xfffc0000]


def value(rom, random):
    kind = random.randrange(4)
    number = {0: random.getrandbits(32), 1: random.getrandbits(8), 2: random.choice(ANCHORS) + random.randrange(64)}.get(kind, 1 << random.randrange(32))
    rom.set_eax(number)
    if random.randrange(2):
        rom.add("6631e8")  # xor eax, ebp: another each time


def touch_memory(rom, random):
    rom.point(random.choice(ANCHORS) + random.choice((0, random.randrange(0x1000), -2)))
    size = random.choice((1, 2, 4))
    if random.randrange(3):
        value(rom, random)
        rom.store(size)
    else:
        rom.load(size)


def touch_port(rom, random, gentle):
    port = random.choice(PORTS) if random.randrange(10) else random.getrandbits(16)
    size = random.choice((1, 1, 1, 2, 4))
    if random.randrange(3) == 0:
        rom.port_in(port, size)
    elif not gentle or not {*range(port, port + size)} & {0x64, 0x92, 0xcf9, 0x604, 0x605}:
        value(rom, random)
        rom.port_out(port, size)


def touch_config(rom, random):
    register = random.choice((4, 0x10, 0x14, 0x20, 0x24, 0x30, 0x40, 0x58, 0x5c, 0x60, 0x70, 0x80, 0x88, 0x8c, 0x90, 0x94, 0x98, 0xd0,
                              random.randrange(256)))
    value(rom, random)
    if register == 4 and random.randrange(4):
        rom.set_eax(7)
    elif 0x10 <= register < 0x30 and random.randrange(2):
        rom.set_eax(random.choice(ANCHORS))
    rom.config(random.choice(FUNCTIONS), register)
    rom.port_out(0xcfc + random.choice((0, 0, register & 3)), random.choice((1, 2, 4)))


def put(rom, address, number):
    rom.point(address)
    rom.set_eax(int.from_bytes(number.to_bytes(4, "big"), "little"))
    rom.store(4)


def request_dma(rom, random):
    """Of fw_cfg: a descriptor, big-endian; not to where the guest keeps its own."""
    put(rom, SCRATCH, random.randrange(0x40) << 16 | random.randrange(32))
    put(rom, SCRATCH + 4, random.choice((0, 1, 4, 20, 0x1000, random.getrandbits(32))))
    put(rom, SCRATCH + 8, 0)
    put(rom, SCRATCH + 12, random.choice(ANCHORS))
    rom.set_eax(0)
    rom.port_out(0x514, 4)
    rom.set_eax(int.from_bytes(SCRATCH.to_bytes(4, "big"), "little"))
    rom.port_out(0x518, 4)


def abuse(rom, random, end, gentle=False):
    """Fill the code up to `end`. Gentle: what resets the machine or ends it only by chance."""
    while rom.here() < end:
        kind = random.randrange(20)
        if kind < 10:
            touch_port(rom, random, gentle)
        elif kind < 14:
            touch_config(rom, random)
        elif kind < 19:
            touch_memory(rom, random)
        else:
            request_dma(rom, random)


def count_reset(rom):
    """EAX and EBP: how often it began; the latter mixed."""
    rom.point(COUNTER)
    rom.load(4)
    rom.add("6640")  # inc eax
    rom.store(4)
    rom.add("6669e8b179379e")  # imul ebp, eax, 0x9e3779b1
