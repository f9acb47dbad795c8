#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ports read at odd places and widths, right after reset, as a real QEMU has them.

usage: test_ports.py SOURCE BUILD soft|kvm
"""
import pathlib
import sys
import tempfile

from machines import Membus, Qemu, need_accel, run_tests
from rom import Rom

BUILD, ACCEL = pathlib.Path(sys.argv[2]), sys.argv[3]
# Around 0xcf9 in 0xcf8, and where devices begin and end; not where we have none, nor where time shows.
PLACES = [*range(0x1e, 0x22), *range(0x4ce, 0x4d3), *range(0xb1, 0xb5), *range(0xcf4, 0xd02), *range(0x513, 0x51d), 0x3f8, 0x3fa]
KNOWN = {
    # A device of QEMU's answers past the end of its region, too.
    (0x20, 4): 0xffff0000, (0x4d0, 4): 0xffff0000, (0x4d1, 2): 0xff00, (0x4d1, 4): 0xffffff00, (0xb2, 4): 0xffff0000,
    # CONFADD is a register of 32 bits and no others (82441FX, 3.1.1); 0xcf9 is not part of it.
    (0xcf5, 4): 0xffffffff, (0xcf6, 4): 0xffffffff, (0xcf7, 2): 0xffff, (0xcf7, 4): 0xffffffff, (0xcf8, 1): 0xff,
    (0xcf8, 2): 0xffff, (0xcf9, 2): 0xff00, (0xcf9, 4): 0xffffff00, (0xcfa, 1): 0xff, (0xcfa, 2): 0xffff,
    (0xcfa, 4): 0xffffffff, (0xcfb, 1): 0xff, (0xcfb, 2): 0xffff, (0xcfb, 4): 0xffffffff,
    # MCR is 0 after reset (16550D, table I); in QEMU it has OUT2.
    (0x3fa, 4): 0x60000001,
}
DONE = b"done\n"  # our debugcon writes lines


def guest():
    rom = Rom()
    for port in PLACES:
        for size in 1, 2, 4:
            rom.port_in(port, size)
            rom.say(size)
    rom.say_text(DONE)
    rom.halt()
    return rom.image()


def ours(rom, disk):
    with Membus(BUILD / "membus", ACCEL, "64M", disk, "--bios", str(rom)) as machine:
        said = machine.place / "debugcon"
        machine.wait(lambda: said.exists() and said.read_bytes().endswith(DONE), "last word", 60)
        text = said.read_bytes()
    at, table = 0, {}
    for port in PLACES:
        for size in 1, 2, 4:
            table[port, size] = int.from_bytes(text[at:at + size], "little")
            at += size
    return table


def theirs(disk):
    """By its monitor: its software CPU refuses what is unaligned, which is no matter of the devices."""
    with Qemu("tcg", "64M", disk, "-S") as machine:
        return {(port, size): int(machine.monitor(f"i/{letter} {port:#x}").split("=")[1], 16)
                for port in PLACES for letter, size in (("b", 1), ("h", 2), ("w", 4))}


def check():
    need_accel(ACCEL)
    with tempfile.TemporaryDirectory() as place:
        rom, disk = pathlib.Path(place, "rom"), pathlib.Path(place, "disk")
        rom.write_bytes(guest())
        disk.write_bytes(bytes(1 << 20))
        here, there = ours(rom, disk), theirs(disk)
    return "\n".join(f"port {port:#x}, {size} bytes: QEMU {there[port, size]:0{2 * size}x}, here {value:0{2 * size}x}"
                     for (port, size), value in here.items() if value != KNOWN.get((port, size), there[port, size]))


sys.exit(run_tests([("ports answer alike", check)]))
