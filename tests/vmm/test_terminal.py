#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`membus boot` on a terminal: its mode comes back on every way out; keys, monitor, signals, sockets.

usage: test_terminal.py BUILD
"""
import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import termios
import time

from machines import run_tests

MEMBUS = pathlib.Path(sys.argv[1]) / "membus"
BIOS_SAYS = b"SeaBIOS"
TIMEOUT = 60
os.environ["LSAN_OPTIONS"] = f"suppressions={pathlib.Path(__file__).resolve().parent.parent / 'lsan.supp'}:print_suppressions=0"


class Terminal:
    """membus boot as the foreground job of a terminal."""

    def __init__(self, *options, accel="soft"):
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(slave)
        self.text = b""

        def take_terminal():
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)  # a shell's background jobs ignore some, and so would the machine
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.slave = slave
        self.process = subprocess.Popen([MEMBUS, "boot", "--accel", accel, *options], stdin=slave, stdout=slave,
                                        stderr=slave, preexec_fn=take_terminal)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def read_some(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        self.text += os.read(self.master, 65536)
        return True

    def wait_for(self, what, seconds=TIMEOUT):
        end = time.monotonic() + seconds
        while what not in self.text:
            if not self.read_some(max(0, end - time.monotonic())):
                raise RuntimeError(f"{what!r} did not come, but {self.text[-2000:]!r}")
        at = self.text.index(what) + len(what)
        before, self.text = self.text[:at], self.text[at:]
        return before

    def type(self, what):
        os.write(self.master, what)

    def end(self):
        """The exit status; what is still printed is read."""
        end = time.monotonic() + TIMEOUT
        while self.process.poll() is None and time.monotonic() < end:
            self.read_some(0.05)
        return self.process.wait(1)

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def is_as_before(self):
        return termios.tcgetattr(self.slave) == self.before


def leave(way, status, *options):
    """Boot, see that the terminal is raw, leave, see that it is not."""
    with Terminal(*options) as t:
        if way:
            t.wait_for(BIOS_SAYS)
            if not t.is_raw():
                return "the terminal is not raw"
            way(t)
        got = t.end()
        # A sanitizer makes its own end of a crash.
        if got != status and b"Sanitizer" not in t.text:
            return f"exit status {got}, not {status}: {t.text!r}"
        if not t.is_as_before():
            return "the terminal is not as it was before"
    return None


def send(number):
    return lambda t: t.process.send_signal(number)


def stop_and_continue():
    with Terminal() as t:
        t.wait_for(BIOS_SAYS)
        for number in (signal.SIGTSTP, signal.SIGTSTP):
            t.process.send_signal(number)
            os.waitpid(t.process.pid, os.WUNTRACED)
            if not t.is_as_before():
                return "stopped, and the terminal is raw still"
            t.process.send_signal(signal.SIGCONT)
            end = time.monotonic() + 5
            while not t.is_raw():
                if time.monotonic() > end:
                    return "continued, and the terminal is not raw"
                time.sleep(0.01)
        t.type(b"\x01x")
        return None if t.end() == 0 and t.is_as_before() else "the end was wrong"


def two_signals():
    """The second one does not wait for the machine: here it does not come to the first one."""
    with Terminal() as t:
        t.wait_for(BIOS_SAYS)
        t.process.send_signal(signal.SIGSTOP)
        os.waitpid(t.process.pid, os.WUNTRACED)
        t.process.send_signal(signal.SIGTERM)
        t.process.send_signal(signal.SIGINT)
        t.process.send_signal(signal.SIGCONT)
        status = t.end()
        return None if -status in (signal.SIGTERM, signal.SIGINT) and t.is_as_before() else f"exit status {status}"


def monitor_is_edited():
    with Terminal() as t:
        t.wait_for(BIOS_SAYS)
        t.type(b"\x01c")
        t.wait_for(b"(membus) ")
        t.type(b"info stax\x7ftus\r")  # a letter is taken back
        t.wait_for(b"VM status: running")
        t.wait_for(b"(membus) ")
        t.type(b"\x1b[A\r")  # the line before
        t.wait_for(b"VM status: running")
        t.wait_for(b"(membus) ")
        t.type(b"sto\t\r")  # completed
        t.wait_for(b"(membus) ")
        t.type(b"\x1b[A\x1b[A\r")
        t.wait_for(b"VM status: paused")
        t.type(b"\x04")  # Ctrl-d: it stays
        t.type(b"help xp\r")
        t.wait_for(b"guest physical memory")
        t.type(b"\x01c\x01c")  # away and back: the prompt comes again
        t.wait_for(b"(membus) ")
        t.type(b"gpa2hva 0x1000\r")
        t.wait_for(b"(pc.ram) is 0x")
        t.type(b"quit\r")
        status = t.end()
        return None if status == 0 and t.is_as_before() else f"exit status {status}: {t.text!r}"


def run(*options, text=b"", **more):
    return subprocess.run([MEMBUS, "boot", "--accel", "soft", *options], input=text, capture_output=True,
                          timeout=TIMEOUT, check=False, **more)


def monitor_on_a_pipe():
    done = run("--serial", "null", "--monitor", "stdio", text=b"info status\n\n# no command\nnosuch\nstop\ninfo status\nquit\n")
    expected = (b"(membus) VM status: running\n(membus) (membus) (membus) Error: unknown command: 'nosuch'\n(membus) "
                b"(membus) VM status: paused\n(membus) ")
    ok = done.returncode == 0 and done.stdout.startswith(expected)
    return None if ok else f"{done.returncode}: {done.stdout!r} {done.stderr!r}"


def end_of_input_is_no_end():
    done = run("--timeout", "3", stdin=None)
    return None if done.returncode == 1 and BIOS_SAYS in done.stdout else f"{done.returncode}: {done.stdout!r}"


def wait_for_socket(path):
    connection = socket.socket(socket.AF_UNIX)
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            connection.connect(str(path))
            connection.settimeout(TIMEOUT)
            return connection
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def on_a_socket():
    """Users in turn; mode 0600; a stale socket is no obstacle, a live one is; it is gone after SIGTERM."""
    with tempfile.TemporaryDirectory() as place:
        path = pathlib.Path(place) / "monitor"
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(path))
        stale.close()
        command = [MEMBUS, "boot", "--accel", "soft", "--serial", "null", "--monitor", f"unix:{path},json"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            try:
                for number in range(3):
                    with wait_for_socket(path) as connection, connection.makefile("rw") as lines:
                        lines.write(json.dumps({"execute": "info status", "id": number}) + "\n")
                        lines.flush()
                        reply = json.loads(lines.readline())
                        if reply != {"return": {"running": True, "status": "running"}, "id": number}:
                            return f"{reply}"
                if stat.S_IMODE(path.stat().st_mode) != 0o600:
                    return f"its mode is {path.stat().st_mode:o}"
                second = run("--serial", "null", "--monitor", f"unix:{path}")
                if second.returncode != 2 or b"in use" not in second.stderr:
                    return f"a second machine on it: {second.returncode}: {second.stderr!r}"
                with wait_for_socket(path):  # somebody is connected
                    process.terminate()
                    if process.wait(TIMEOUT) != -signal.SIGTERM:
                        return f"exit status {process.returncode}"
            finally:
                process.kill()
        return "the socket is still there" if path.exists() else None


def a_file_is_no_socket():
    with tempfile.TemporaryDirectory() as place:
        path = pathlib.Path(place) / "file"
        path.write_text("precious")
        done = run("--serial", "null", "--monitor", f"unix:{path}")
        return None if done.returncode == 2 and path.read_text() == "precious" else f"{done}"


try:
    for end in pty.openpty():
        os.close(end)
except OSError as error:
    print(f"1..0 # SKIP no pseudo-terminals here: {error}")
    sys.exit(0)
sys.exit(run_tests([
    ("Ctrl-a x", lambda: leave(lambda t: t.type(b"\x01x"), 0)),
    ("--exit-on", lambda: leave(lambda t: None, 0, "--exit-on", "No bootable")),
    ("--timeout", lambda: leave(lambda t: None, 1, "--timeout", "5")),
    ("no such firmware", lambda: leave(None, 2, "--bios", "/nonexistent")),
    ("SIGTERM", lambda: leave(send(signal.SIGTERM), -signal.SIGTERM)),
    ("SIGINT", lambda: leave(send(signal.SIGINT), -signal.SIGINT)),
    ("SIGHUP", lambda: leave(send(signal.SIGHUP), -signal.SIGHUP)),
    ("SIGQUIT", lambda: leave(send(signal.SIGQUIT), -signal.SIGQUIT)),
    ("SIGABRT", lambda: leave(send(signal.SIGABRT), -signal.SIGABRT)),
    ("SIGSEGV", lambda: leave(send(signal.SIGSEGV), -signal.SIGSEGV)),
    ("two signals", two_signals),
    ("stopped and continued", stop_and_continue),
    ("the monitor, lines being edited", monitor_is_edited),
    ("the monitor on a pipe", monitor_on_a_pipe),
    ("the end of standard input", end_of_input_is_no_end),
    ("the monitor on a socket", on_a_socket),
    ("a file in the place of the socket", a_file_is_no_socket),
]))
