#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scripts/lab ends, says why and leaves nothing running, whatever goes wrong: with a shell script in QEMU's place.

usage: test_lab.py LAB
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LAB = sys.argv.pop(1)
os.environ.pop("LAB_KERNEL", None)
GOOD = "echo 'lab: run /test'; echo '1..1'; echo 'ok 1'; echo 'lab: end /test: exit status 0'"
HANG = "echo 'lab: run /test'; echo $$ >\"$PLACE/pid\"; exec sleep 1000"


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Lab(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = pathlib.Path(place.name)
        self.directory = self.place / "lab"
        kernel = self.directory / "kernel"
        kernel.mkdir(parents=True)
        (kernel / "vmlinuz").touch()
        for name in ("init", "test"):
            (self.place / name).touch()

    def start(self, machine, *options, init="init", **env):
        qemu = self.place / "qemu"
        qemu.write_text(f"#!/bin/sh\n{machine}\n")
        qemu.chmod(0o755)
        return subprocess.Popen(
            [LAB, "--build", self.place, *options, self.place / init, self.place / "test"], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "QEMU": str(qemu), "PLACE": str(self.place), **env})

    def lab(self, *args, **named):
        run = self.start(*args, **named)
        out, _ = run.communicate()
        return run.returncode, out

    def left(self):
        return {path.name for path in self.directory.iterdir()} - {"kernel", "lock"}

    def machine_is_gone(self):
        pid = int((self.place / "pid").read_text())
        while alive(pid):  # meson ends us if it stays
            time.sleep(0.01)
        return True

    def test_results(self):
        self.assertEqual(self.lab(GOOD), (0, "1..1\nok 1\n"))
        status, out = self.lab(GOOD.replace("status 0", "status 3"))
        self.assertEqual((status, "# lab: /test: exit status 3" in out), (1, True))
        self.assertFalse(self.left())

    def test_what_is_missing_is_a_skip(self):
        for named in ({"QEMU": "no-such-qemu"}, {"init": "no-such-init"}):
            status, out = self.lab(GOOD, **named)
            self.assertEqual((status, out[:13], "no-such" in out), (0, "1..0 # SKIP n", True))

    @unittest.skipUnless(shutil.which("dpkg-deb"), "no dpkg-deb")
    def test_broken_package(self):
        package = self.place / "broken.deb"
        package.write_text("no package")
        status, out = self.lab(GOOD, LAB_KERNEL=str(package))
        self.assertEqual((status, out[:12]), (0, "1..0 # SKIP "))
        self.assertFalse(self.left())

    def test_machine_that_breaks_down(self):
        (self.directory / "console.log").write_text("of an earlier machine")
        status, out = self.lab("exit 3")
        self.assertEqual((status, out.count("QEMU's status 3"), "earlier" in out), (1, 2, False))

    def test_second_chance(self):
        status, out = self.lab("echo 1..2; echo ok 1\n[ -e \"$PLACE/again\" ] || { touch \"$PLACE/again\"; exit 3; }\n"
                               "echo not ok 2; echo 'lab: end /test: exit status 0'")
        results = [line for line in out.splitlines() if not line.startswith("#")]
        self.assertEqual((status, results), (0, ["1..2", "ok 1", "not ok 2"]))

    def test_machine_that_hangs(self):
        status, out = self.lab(HANG, "--timeout", "1")
        self.assertEqual((status, "/test was running" in out), (1, True))
        self.assertTrue(self.machine_is_gone())

    def test_signals(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
            run = self.start(HANG)
            pid = self.place / "pid"
            while not (pid.exists() and pid.read_text().endswith("\n")):
                time.sleep(0.01)
            run.send_signal(number)
            out, _ = run.communicate()
            self.assertEqual((run.returncode, "Traceback" in out),
                             (-number if number == signal.SIGKILL else 128 + number, False))
            self.assertTrue(self.machine_is_gone())
            self.assertFalse(self.left() and number != signal.SIGKILL)
            pid.unlink()


if __name__ == "__main__":
    unittest.main()
