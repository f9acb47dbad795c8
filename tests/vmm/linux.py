#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run linux-live (tests/vmm/linux_live.c): here if this machine's processor runs guests, else in the lab.

usage: linux.py SOURCE_DIR BUILD_DIR CPUS
"""
import pathlib
import re
import subprocess
import sys

TIMEOUT = 300  # seconds, in the lab


def has_hardware_kvm():
    try:
        open("/dev/kvm", "r+b", buffering=0).close()
        return bool(re.search(r"^flags.*\b(svm|vmx)\b", pathlib.Path("/proc/cpuinfo").read_text(), re.M))
    except OSError:
        return False


def main():
    source, build, cpus = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    made = subprocess.run([source / "scripts/guests", "--build", build, "bios.bin", "linux"], capture_output=True, text=True)
    if made.returncode:
        reason = " ".join((made.stderr or made.stdout).split())
        print(f"1..0 # SKIP {reason}" if made.returncode == 77 else f"Bail out! {reason}")
        return made.returncode != 77
    guests = build / "guests"
    program = build / "tests/vmm/linux-live"
    files = {"bios.bin": guests / "bios.bin", "vmlinuz": guests / "linux/vmlinuz", "initramfs": guests / "linux/initramfs"}
    cmdline = (guests / "linux/cmdline").read_text().strip()
    if has_hardware_kvm():
        return subprocess.run([program, *files.values(), cmdline, cpus]).returncode
    extra = [word for name, file in files.items() for word in ("--file", f"{name}={file}")]
    return subprocess.run([source / "scripts/lab", "--build", build, "--timeout", str(TIMEOUT), *extra, build / "tests/lab-init",
                           program, *files, cmdline, cpus]).returncode


sys.exit(main())
