#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`info mtree` and `info mtree -f` of a booted machine are what a real QEMU prints, after reset and after SeaBIOS.

usage: test_mtree.py SOURCE BUILD soft|kvm

The devices that QEMU's machine has and ours has not are named, with a reason, in not-in-membus.txt: they are taken out of
QEMU's text (what is behind them, in a flat view). Nothing else may differ: not the lines, not their order; the order
of blocks is free.
"""
import difflib
import pathlib
import re
import sys

from machines import Membus, Qemu, Skip, make_guests, need_accel, run_tests

SOURCE, BUILD, ACCEL = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
QEMU_ACCEL = {"soft": "tcg", "kvm": "kvm"}[ACCEL]
MEMORY = "256M"
IN_GRUB = "Memory map"  # of its menu, which waits
TIMEOUT = 120
LINE = re.compile(r"( *)([0-9a-f]{16})-([0-9a-f]{16}) \(prio (-?\d+), ([^)]+)\): (.*)")
ALIAS = re.compile(r"alias (.*) @(.*) [0-9a-f]{16}-[0-9a-f]{16}(?: \[disabled\])?$")
OFFSET = re.compile(r"(.*?)(?: @([0-9a-f]{16}))?( KVM)?$")


def read_absent():
    absent = {}
    for line in (SOURCE / "tests/vmm/not-in-membus.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, accel, reason = re.match(r"(.*?)(?: \((soft|kvm)\))?: (.+)", line).groups()
            if accel in (None, ACCEL):
                absent[name] = reason
    return absent


ABSENT = read_absent()
used = set()  # of ABSENT


def is_absent(name):
    if name in ABSENT:
        used.add(name)
    return name in ABSENT


# ---- The tree ---------------------------------------------------------------------------------

def trees(text):
    """{address space or region: its lines}, the spaces that share a block each with a copy of it."""
    blocks, titles, fresh = {}, [], True
    for line in text.splitlines():
        if line.startswith(("address-space: ", "memory-region: ")):
            titles = [line] if fresh else [*titles, line]
            blocks[line] = []
            fresh = False
        elif line.strip():
            fresh = True
            for title in titles:
                blocks[title].append(line)
    return blocks


def without_absent(lines):
    """A device's lines and those of its children, which are deeper."""
    kept, inside = [], None
    for line in lines:
        indent, *_, name = LINE.match(line).groups()
        depth = len(indent)
        if inside is not None and depth > inside:
            continue
        inside = None
        alias = ALIAS.match(name)
        if is_absent(alias[1] if alias else name.removesuffix(" [disabled]")):
            inside = depth
        else:
            kept.append(line)
    return kept


def compare_trees(qemu, ours):
    qemu, ours = trees(qemu), trees(ours)
    qemu = {title: without_absent(lines) for title, lines in qemu.items() if not is_absent(title.split(": ", 1)[1])}
    return compare_blocks(qemu, ours)


# ---- Flat views -------------------------------------------------------------------------------

def flat_views(text):
    """{address space: (root region, lines)}"""
    views, names, lines = {}, [], []
    for line in text.splitlines():
        if line.startswith("FlatView #"):
            names, lines = [], []
        elif line.startswith(" AS "):
            name, root = re.match(r' AS "(.*)", root: (.*)$', line).groups()
            names.append(name)
            views[name] = [f"root: {root}"], lines
        elif line.strip():
            lines.append(line)
    return {name: head + lines for name, (head, lines) in views.items()}


def behind_absent(lines):
    """Ranges of absent devices show what is behind them: `io` among the ports, nothing in memory."""
    ports = any(line.endswith(": io") or ": io @" in line for line in lines)
    kept, last = [], None
    for line in lines:
        range_ = LINE.match(line)
        if not range_:
            kept.append(line)
            continue
        _, first, end, _, _, rest = range_.groups()
        name, offset, _ = OFFSET.match(rest).groups()
        if is_absent(name):
            if not ports:
                continue
            name, offset = "io", first
        if ports and name == "io":
            offset = int(offset or "0", 16)
            if last and last[0] + last[1] == offset:  # it goes on
                kept.pop()
                offset, first = last[0], f"{last[0]:016x}"
            last = offset, int(end, 16) + 1 - offset
            at = f" @{offset:016x}" if offset else ""
            line = f"  {first}-{end} (prio 0, i/o): io{at}"
        else:
            last = None
        kept.append(line)
    return kept


def compare_flat(qemu, ours):
    qemu, ours = flat_views(qemu), flat_views(ours)
    qemu = {name: behind_absent(lines) for name, lines in qemu.items() if not is_absent(name)}
    return compare_blocks(qemu, ours)


# ---- Both ---------------------------------------------------------------------------------------

def compare_blocks(qemu, ours):
    wrong = []
    for title in sorted(set(qemu) | set(ours)):
        if title not in ours or title not in qemu:
            wrong.append(f"{title}: only in {'QEMU' if title in qemu else 'membus'}")
        wrong += difflib.unified_diff(qemu.get(title, []), ours.get(title, []), f"QEMU: {title}", f"membus: {title}",
                                      lineterm="", n=0)
    return "\n".join(wrong)


texts = {}  # (moment, command): [QEMU's, ours]
COMMANDS = ("info mtree", "info mtree -f")


def look(machine, moment):
    for command in COMMANDS:
        texts.setdefault((moment, command), []).append(machine.monitor(command))


def look_at_both():
    """QEMU's power-on is our reset: a reset of QEMU 7.2 leaves PAM segments and bus master windows as they were."""
    need_accel(ACCEL)
    image = make_guests(SOURCE, BUILD, "grub-menu.img") / "grub-menu.img"
    with Qemu(QEMU_ACCEL, MEMORY, image, "-S") as qemu:
        look(qemu, "reset")
    with Qemu(QEMU_ACCEL, MEMORY, image) as qemu:
        qemu.wait_for(IN_GRUB, TIMEOUT)
        qemu.monitor("stop")
        look(qemu, "SeaBIOS")
    with Membus(BUILD / "membus", ACCEL, MEMORY, image) as ours:
        ours.wait_for(IN_GRUB, TIMEOUT)
        ours.monitor("stop")
        look(ours, "SeaBIOS")
        ours.monitor("system_reset")  # stays stopped
        look(ours, "reset")


def compare(moment, command, function):
    if len(texts.get((moment, command), [])) < 2:
        raise Skip("there are not two texts")
    qemu, ours = texts[moment, command]
    wrong = function(qemu, ours)
    if not ours.strip():
        return "nothing came"
    return wrong


def check_absent():
    """No reason is given for what is there, or is not in QEMU either."""
    if not used:
        raise Skip("nothing to compare")
    return "\n".join(f"not-in-membus.txt: {name}: is in both, or in neither" for name in sorted(set(ABSENT) - used))


def main():
    return run_tests([
        ("both boot", look_at_both),
        *((f"{command} after {moment}", lambda key=(moment, command), function=function: compare(*key, function))
          for moment in ("reset", "SeaBIOS")
          for command, function in (("info mtree", compare_trees), ("info mtree -f", compare_flat))),
        ("not-in-membus.txt", check_absent),
    ])


sys.exit(main())
