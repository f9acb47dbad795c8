#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/vhost-user-blk against qemu-storage-daemon, whose image file shows what arrived. Prints TAP.

usage: vhost_user.py VHOST_USER_BLK
"""
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM = sys.argv[1]
DAEMON = "qemu-storage-daemon"
SECTORS = 1536


def run(*args, timeout=60):
    done = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def expect(truth, *what):
    if not truth:
        raise AssertionError(*what)


def starts_a_daemon(directory):
    code, out, err = run()
    expect(code == 0, err)
    expect("wrote: 1536 sectors" in out and "image: has every sector" in out, out)


def image_of_a_running_daemon(directory):
    image, path = directory / "disk.img", directory / "socket"
    image.write_bytes(b"\xee" * (SECTORS + 64) * 512)
    daemon = subprocess.Popen([DAEMON, "--blockdev", f"driver=file,node-name=d,filename={image}", "--export",
                               "type=vhost-user-blk,id=e,node-name=d,writable=on,"
                               f"addr.type=unix,addr.path={path}"])
    try:
        for _ in range(500):
            if path.exists():
                break
            time.sleep(0.01)
        for _ in range(2):  # the daemon serves one after the other
            code, out, err = run(path)
            expect(code == 0, err)
            expect("shared: 0x100000000-0x1007fffff at offset 0x800000 of 'ram'" in out, out)
    finally:
        daemon.terminate()
        daemon.wait()
    wanted = b"".join(b"sector %08u\n" % number * 32 for number in range(SECTORS))
    found = image.read_bytes()
    expect(found[:len(wanted)] == wanted, "the image has other sectors")
    expect(found[len(wanted):] == b"\xee" * 64 * 512, "sectors that nobody wrote have changed")


def a_disk_that_is_too_small(directory):
    image, path = directory / "disk.img", directory / "socket"
    image.write_bytes(bytes(512 * 8))
    daemon = subprocess.Popen([DAEMON, "--blockdev", f"driver=file,node-name=d,filename={image}", "--export",
                               f"type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path={path}"])
    try:
        for _ in range(500):
            if path.exists():
                break
            time.sleep(0.01)
        code, _, err = run(path)
        expect(code == 1 and "a disk of 8 sectors is too small" in err, code, err)
    finally:
        daemon.terminate()
        daemon.wait()


def nobody_listens(directory):
    code, _, err = run(directory / "none")
    expect(code == 1 and "No such file" in err, code, err)


def no_such_daemon(directory):
    code, _, err = run("--daemon", directory / "none")
    expect(code == 1 and "cannot start" in err and "ended at once" in err, code, err)


def served(directory, serve):
    """What the program says to a back-end that is serve(connection)."""
    path = directory / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept():
            connection, _ = listener.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        result = run(path, timeout=30)
        thread.join()
    return result


def a_silent_backend(directory):
    code, _, err = served(directory, lambda c: c.recv(4096) and time.sleep(6))
    expect(code == 1 and "no answer to request 1" in err, code, err)


def a_backend_that_goes_away(directory):
    code, _, err = served(directory, lambda c: c.recv(1))
    expect(code == 1 and "request 1: " in err, code, err)


def a_backend_that_lies(directory):
    code, _, err = served(directory, lambda c: c.recv(4096) and c.sendall(b"\xff" * 4096) or time.sleep(0.2))
    expect(code == 1 and "a bad answer to request 1" in err, code, err)


CASES = [starts_a_daemon, image_of_a_running_daemon, a_disk_that_is_too_small, nobody_listens,
         no_such_daemon, a_silent_backend, a_backend_that_goes_away, a_backend_that_lies]
WITH_DAEMON = CASES[:3]


def main():
    missing = not shutil.which(DAEMON)
    failed = 0
    print(f"1..{len(CASES)}", flush=True)
    for number, case in enumerate(CASES, 1):
        name = case.__name__
        if missing and case in WITH_DAEMON:
            print(f"# {DAEMON} is not installed (Debian: qemu-system-common)")
            print(f"ok {number} - {name} # SKIP no {DAEMON}", flush=True)
            continue
        try:
            with tempfile.TemporaryDirectory() as directory:
                case(pathlib.Path(directory))
            print(f"ok {number} - {name}", flush=True)
        except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"not ok {number} - {name}\n# {error!r}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
