# SPDX-License-Identifier: MIT
"""The same machine twice, `membus boot` and a real QEMU, for tests that compare them; and TAP."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import traceback

QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
# What is left of QEMU's PC has the devices that ours has, on the same slots.
QEMU_BOARD = ["-M", "pc,vmport=off,hpet=off,usb=off", "-nodefaults",
              "-no-user-config", "-display", "none", "-global", "apic-common.vapic=off", "-device", "VGA,addr=2"]
PROMPT = "(membus) "


class Skip(Exception):
    pass


def need_accel(accel, patient=False):
    """Skip where the CPUs cannot be had, or not in reasonable time (@patient: a minute is)."""
    if accel != "kvm":
        return
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("no /dev/kvm to use")
    flags = set(pathlib.Path("/proc/cpuinfo").read_text().split())
    if not flags & {"svm", "vmx"} and not patient and "SLOW_TESTS" not in os.environ:
        raise Skip("KVM without hardware takes minutes here: SLOW_TESTS=1")


def make_guests(source, build, *names):
    run = subprocess.run([source / "scripts/guests", "--build", build, *names], capture_output=True, text=True)
    if run.returncode == 77:
        raise Skip(run.stderr.strip())
    if run.returncode:
        raise RuntimeError(f"scripts/guests: {run.stdout}{run.stderr}")
    return pathlib.Path(build) / "guests"


class Machine:
    """One that runs; ends with the `with`."""
    def __init__(self, memory, disk):
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="membus-"))
        self.serial = self.place / "serial"
        self.socket = self.place / "monitor"
        self.connection = None
        self.log = open(self.place / "log", "w+b")
        self.process = subprocess.Popen(self.command(memory, disk), stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()
        if self.connection:
            self.connection.close()
        shutil.rmtree(self.place)

    def said(self):
        """What it printed itself."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace").strip()

    def console(self):
        """What the guest's serial console has printed."""
        return self.serial.read_text(errors="replace") if self.serial.exists() else ""

    def wait(self, true, what, timeout):
        end = time.monotonic() + timeout
        while not true():
            if self.process.poll() is not None and not true():
                raise RuntimeError(f"{self.name} ended with status {self.process.returncode} before {what}: {self.said()}")
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name}: no {what} in {timeout} s; its console: ...{self.console()[-400:]!r}")
            time.sleep(0.05)

    def wait_for(self, text, timeout=60):
        self.wait(lambda: text in self.console(), repr(text), timeout)

    def is_connected(self):
        """A socket has its name a moment before anybody listens."""
        try:
            self.connection.connect(str(self.socket))
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def monitor(self, command):
        """The text that the monitor answers."""
        if not self.connection:
            self.connection = socket.socket(socket.AF_UNIX)
            self.connection.settimeout(30)
            self.wait(self.is_connected, "monitor", 30)
            self.lines = self.connection.makefile("rw", encoding="utf-8", errors="replace")
            self.greet()
        return self.ask(command).replace("\r", "")

    def send(self, message):
        self.lines.write(json.dumps(message) + "\n")
        self.lines.flush()


class Qemu(Machine):
    def __init__(self, accel, memory, disk, *options):
        self.name, self.accel, self.options = f"QEMU ({accel})", accel, options
        if not shutil.which(QEMU):
            raise Skip(f"no {QEMU} here")
        super().__init__(memory, disk)

    def command(self, memory, disk):
        smm = ["-M", "smm=off"] if self.accel == "tcg" else []  # our software CPU has none
        return [QEMU, *QEMU_BOARD, *smm, "-accel", self.accel, "-m", memory,
                "-drive", f"if=none,id=disk,file={disk},format=raw,readonly=on",
                "-device", "virtio-blk-pci,disable-legacy=on,drive=disk,addr=3", "-serial", f"file:{self.serial}",
                "-chardev", f"file,id=bios,path={self.place}/debugcon", "-device", "isa-debugcon,chardev=bios,iobase=0x402",
                "-chardev", "null,id=e9", "-device", "isa-debugcon,chardev=e9,iobase=0xe9",
                "-qmp", f"unix:{self.socket},server=on,wait=off", *self.options]

    def greet(self):
        self.lines.readline()
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        self.send({"execute": command, "arguments": arguments})
        while True:
            answer = json.loads(self.lines.readline())
            if "error" in answer:
                raise RuntimeError(f"{self.name}: {answer['error']}")
            if "return" in answer:  # not an event
                return answer["return"]

    def ask(self, command):
        return self.execute("human-monitor-command", **{"command-line": command})


class Membus(Machine):
    def __init__(self, program, accel, memory, disk, *options):
        self.name, self.accel, self.program, self.options = f"membus ({accel})", accel, program, options
        super().__init__(memory, disk)

    def command(self, memory, disk):
        return [self.program, "boot", "--accel", self.accel, "-m", memory, "--disk", f"{disk},readonly", "--serial",
                f"file:{self.serial}", "--debugcon", f"{self.place}/debugcon", "--monitor", f"unix:{self.socket}",
                *self.options]

    def until_prompt(self):
        text = ""
        while not text.endswith(PROMPT):
            piece = self.lines.read(1)
            if not piece:
                raise RuntimeError(f"{self.name}: the monitor has gone: {text!r} {self.said()}")
            text += piece
        return text.removesuffix(PROMPT)

    def greet(self):
        self.until_prompt()

    def ask(self, command):
        self.lines.write(command + "\n")
        self.lines.flush()
        return self.until_prompt()


def run_tests(tests):
    """TAP of (name, function): a function that returns something has found it wrong. If the first cannot be tried, none
    can."""
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        try:
            wrong = function()
        except Skip as reason:
            if number == 1:
                print(f"1..0 # SKIP {reason}")
                return 0
            print(f"ok {number} - {name} # SKIP {reason}", flush=True)
            continue
        except Exception:
            wrong = traceback.format_exc()
        failed += bool(wrong)
        for line in (wrong or "").splitlines():
            print("#", line)
        print(f"{'not ok' if wrong else 'ok'} {number} - {name}", flush=True)
    print(f"1..{len(tests)}")
    return 1 if failed else 0
