#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest that means the PC no good, with a user who plugs, unplugs, stops and resets meanwhile; and what reset makes of it all.

usage: test_hostile.py SOURCE BUILD soft|kvm [SECONDS [SEED]]
"""
import os
import pathlib
import random
import socket
import sys
import tempfile
import time

import hostile
from machines import Membus, need_accel, run_tests
from rom import Rom

BUILD, ACCEL = pathlib.Path(sys.argv[2]), sys.argv[3]
SECONDS = float(sys.argv[4]) if len(sys.argv) > 4 else 5
SEED = int(sys.argv[5]) if len(sys.argv) > 5 else 1
MEMORY = "64M,slots=4,maxmem=1G"
ROUND = 5  # seconds of one guest
LAST_BYTE = 0xfff0 - 0x80
os.environ.setdefault("ASAN_OPTIONS", "exitcode=99")
os.environ.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1:exitcode=99")


def start(place, rom, *options):
    image, disk = pathlib.Path(place, "rom"), pathlib.Path(place, "disk")
    image.write_bytes(rom.image())
    disk.write_bytes(bytes(1 << 20))
    return Membus(BUILD / "membus", ACCEL, MEMORY, disk, "--bios", str(image), *options)


# ---- Abuse -------------------------------------------------------------------


def abuser(seed):
    rom, choice = Rom(flat=ACCEL == "soft"), random.Random(seed)
    hostile.count_reset(rom)
    loop = rom.here()
    hostile.abuse(rom, choice, LAST_BYTE - 0x40)
    rom.add("6669ed0d661900 6681c55ff36e3c")  # ebp = ebp * 1664525 + 1013904223
    rom.jump(loop)
    return rom


def disturb(machine, choice, number):
    commands = [f"object_add memory-backend-ram,id=m{number},size=16M", f"device_add pc-dimm,id=d{number},memdev=m{number}",
                f"device_del d{choice.randrange(number + 1)}", f"object_del m{choice.randrange(number + 1)}", "stop", "cont",
                "system_reset", "info mtree -f", "info pci", "info registers", "screen", "info ramblock", "xp /4x 0xfee00000",
                "dirty on", "info dirty", "dirty off"]
    machine.monitor(choice.choice(commands))
    machine.monitor("cont")
    time.sleep(choice.random() / 50)


def ends_well(machine):
    """Its exit status, once it is asked to end."""
    try:
        machine.monitor("quit")
    except (RuntimeError, OSError):
        pass  # gone while it was asked
    return machine.process.wait(20)


def check_abuse():
    need_accel(ACCEL)
    seed, end = SEED, time.monotonic() + SECONDS
    with tempfile.TemporaryDirectory() as place:
        while time.monotonic() < end:
            choice, number = random.Random(seed), 0
            with start(place, abuser(seed), "--timeout", str(ROUND + 60)) as machine:
                until = min(end, time.monotonic() + ROUND)
                try:
                    while time.monotonic() < until and machine.process.poll() is None:
                        disturb(machine, choice, number % 8)
                        number += 1
                except (RuntimeError, BrokenPipeError, ConnectionError) as error:
                    if machine.process.wait(20):  # not by the guest's own wish
                        return f"seed {seed}: {error}"
                except (TimeoutError, socket.timeout):
                    return f"seed {seed}: the monitor does not answer"
                status = ends_well(machine)
                said = machine.said()
                if status or "ERROR: " in said or "runtime error" in said:
                    return f"seed {seed}: exit status {status}: {said[-6000:]}"
            seed += 1
    print(f"# {seed - SEED} guests")
    return None


# ---- Reset -------------------------------------------------------------------

BOOTS = 4
DUMP, DONE = b"\n== dump\n", b"== done\n"
# Not what the battery keeps (RTC), nor what time shows (PIT's counters, the refresh bit).
VISIBLE = [0xcf8, 0xcf9, 0x64, 0x60, 0x92, 0xb2, 0xb3, 0x4d0, 0x4d1, 0x20, 0xa0, *range(0x3f8, 0x400), *range(0xafe0, 0xafe4),
           *range(0xb100, 0xb108), *range(0x510, 0x516), *range(0xa00, 0xa18), 0x3c2, 0x3c4, 0x3c6, 0x3c8, 0x3ca, 0x3cc, 0x3ce, 0x3d4, 0x1ce]
INDEXED = [(0x70, 0x71, [0xd]), (0x3c4, 0x3c5, range(5)), (0x3ce, 0x3cf, range(9)), (0x3d4, 0x3d5, range(0x19))]


def dump(rom):
    """Say what can be seen; a list of what each byte was."""
    names = []
    rom.say_text(DUMP)
    for port in VISIBLE:
        rom.port_in(port, 4 if port == 0xcf8 else 1)
        rom.say(4 if port == 0xcf8 else 1)
        names += [f"port {port:#x}"] * (4 if port == 0xcf8 else 1)
    for index, data, registers in INDEXED:
        for register in registers:
            rom.set_eax(register)
            rom.port_out(index, 1)
            rom.port_in(data, 1)
            rom.say(1)
            names.append(f"port {data:#x}, register {register:#x}")
    for number in range(11):  # VBE's
        rom.set_eax(number)
        rom.port_out(0x1ce, 2)
        rom.port_in(0x1cf, 2)
        rom.say(2)
        names += [f"port 0x1cf, register {number}"] * 2
    for counter in range(3):
        rom.set_eax(0xe0 | 2 << counter)  # read back: status
        rom.port_out(0x43, 1)
        rom.port_in(0x40 + counter, 1)
        rom.say(1)
        names.append(f"counter {counter}")
    for function in hostile.FUNCTIONS:
        for register in range(0, 256, 4):
            rom.config(function, register)
            rom.port_in(0xcfc, 4)
            rom.say(4)
            names += [f"function {function:#x}, register {register:#x}"] * 4
    rom.set_eax(0x601)  # the PIIX4's registers, then their base again
    rom.config(0x0b00, 0x40)
    rom.port_out(0xcfc, 4)
    rom.set_eax(1)
    rom.config(0x0b00, 0x80)
    rom.port_out(0xcfc, 1)
    for port in range(0x602, 0x606):  # status bits of 0x600 come with time
        rom.port_in(port, 1)
        rom.say(1)
        names.append(f"PM register {port - 0x600}")
    return names


def resetter(seed):
    rom, choice = Rom(flat=ACCEL == "soft"), random.Random(seed)
    names = dump(rom)
    hostile.count_reset(rom)
    again = rom.if_eax_below(BOOTS)
    hostile.abuse(rom, choice, LAST_BYTE - 0x100, gentle=True)
    rom.set_eax(6)
    rom.port_out(0xcf9, 1)
    rom.jump(rom.here())
    rom.end_if(again)
    rom.say_text(DONE)
    rom.jump(rom.here())
    return rom, names


def mtree(machine):
    """What is there does not depend on what has been: IDs of views do."""
    return machine.monitor("info mtree").splitlines() + [
        line for line in machine.monitor("info mtree -f").splitlines() if not line.startswith("FlatView #")]


def check_reset():
    need_accel(ACCEL)
    with tempfile.TemporaryDirectory() as place:
        for seed in range(SEED, SEED + max(2, int(SECONDS / 4))):
            rom, names = resetter(seed)
            with start(place, rom) as machine:
                said = machine.place / "debugcon"
                machine.wait(lambda: said.exists() and said.read_bytes().endswith(DONE), "last word", 60)
                dumps = said.read_bytes()
                machine.monitor("stop")
                machine.monitor("system_reset")
                trees = mtree(machine)
            fresh = Rom()
            fresh.jump(fresh.here())
            with start(place, fresh) as machine:
                machine.monitor("stop")
                expected = mtree(machine)
            if trees != expected:
                return f"seed {seed}: the map after reset:\n" + "\n".join(sorted(set(trees) ^ set(expected)))
            boots = [boot[:len(names)] for boot in dumps.split(DUMP)[1:]]
            wrong = [f"boot {number}: {name}: {was:02x}, now {now:02x}" for number, boot in enumerate(boots)
                     for name, was, now in zip(names, boots[0], boot) if was != now]
            if wrong or len(boots) < BOOTS:
                return f"seed {seed}: {len(boots)} boots\n" + "\n".join(wrong)
    return None


sys.exit(run_tests([("nothing breaks", check_abuse), ("reset brings back the power-on state", check_reset)]))
