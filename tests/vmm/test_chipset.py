#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The chipset does what a real QEMU's does: one disk (tests/vmm/guests/grub-chipset.cfg) turns its knobs in both.

usage: test_chipset.py SOURCE BUILD soft|kvm
"""
import difflib
import pathlib
import sys

from machines import Membus, Qemu, Skip, make_guests, need_accel, run_tests

SOURCE, BUILD, ACCEL = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
MEMORY = "256M"
DONE = "membus-guest: done"
TIMEOUT = 200  # where a kernel runs KVM's guests in software, each change of the map is slow
logs = {}


def log_of(machine):
    with machine:
        machine.wait_for(DONE, TIMEOUT)
        text = machine.console()
    lines = text.replace("\r", "").splitlines()
    first = next(number for number, line in enumerate(lines) if "== identity" in line)
    return [line for line in lines[first + 1:] if line.strip()]


def check_same():
    """All lines: what is not the same by nature is not in the script."""
    need_accel(ACCEL, patient=True)
    image = make_guests(SOURCE, BUILD, "grub-chipset.img") / "grub-chipset.img"
    logs["qemu"] = log_of(Qemu("tcg", MEMORY, image))
    logs["membus"] = log_of(Membus(BUILD / "membus", ACCEL, MEMORY, image))
    return "\n".join(difflib.unified_diff(logs["qemu"], logs["membus"], "QEMU", "membus", lineterm="", n=0))


def check_complete():
    """Each label of the script has its line."""
    if "membus" not in logs:
        raise Skip("no log")
    script = (SOURCE / "tests/vmm/guests/grub-chipset.cfg").read_text()
    wanted = {line.split('"')[1].split(":")[0] for line in script.splitlines() if line.startswith("echo")}
    seen = {line.split(":")[0].strip() for line in logs["membus"]} | {"== identity"}
    return "\n".join(sorted(wanted - seen))


sys.exit(run_tests([("the same as QEMU", check_same), ("nothing is left out", check_complete)]))
