# SPDX-License-Identifier: MIT
"""Files out of Debian packages, which are downloaded and unpacked but never installed; and archives of them for the
kernel. What scripts/lab and scripts/guests share."""
import fcntl
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

KERNEL_META_PACKAGE = "linux-image-cloud-amd64"


class Unavailable(Exception):
    """Something of the host's is missing: no failure of what is to be tested."""


def run(*command, cwd=None, timeout=300, env=None):
    """Its output; Unavailable if it fails."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd, timeout=timeout,
                              stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C", **(env or {})}).stdout
    except FileNotFoundError:
        raise Unavailable(f"no {command[0]} here") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} took more than {timeout} s") from None
    except subprocess.CalledProcessError as error:
        words = (error.stderr or error.stdout).strip().splitlines() or [f"exit status {error.returncode}"]
        reason = next((line for line in words if line.startswith("E: ")), words[0])  # apt warns before it fails
        raise Unavailable(f"{' '.join(map(str, command[:2]))}: {reason}") from None


def lock(directory):
    """Two runs may begin at the same time."""
    directory.mkdir(parents=True, exist_ok=True)
    file = open(directory / "lock", "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


# ---- Packages -------------------------------------------------------------------------

def download(name, directory):
    """The file of the package @name(), fetched into @directory."""
    def fetch():
        run("apt-get", "-q", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20", "download", name(),
            cwd=directory)
    try:
        fetch()
    except Unavailable:
        if os.geteuid() != 0:
            raise
        run("apt-get", "-q", "update")  # the lists may be old or empty on a fresh machine
        fetch()
    return next(directory.glob("*.deb"))


def tree_of(package, directory):
    """A directory with the files of @package, which is downloaded once."""
    tree = directory / package
    with lock(directory):
        if not tree.exists():
            with tempfile.TemporaryDirectory(prefix="unpack-", dir=directory) as work:
                work = pathlib.Path(work)
                run("dpkg-deb", "-x", str(download(lambda: package, work)), str(work / "tree"))
                (work / "tree").rename(tree)
    return tree


def find(package, path, directory):
    """@path, which begins with a slash, where it is installed, or out of @package."""
    installed = pathlib.Path(path)
    if installed.exists():
        return installed
    found = tree_of(package, directory) / path.lstrip("/")
    if not found.exists():
        raise Unavailable(f"the package {package} has no {path}")
    return found


# ---- The kernel -----------------------------------------------------------------------

def kernel_package():
    """The package that KERNEL_META_PACKAGE stands for."""
    package = re.search(r"Depends: (linux-image-\d\S*)", run("apt-cache", "depends", KERNEL_META_PACKAGE))
    if not package:
        raise Unavailable(f"{KERNEL_META_PACKAGE} is not among apt's packages")
    return package.group(1)


def read_module(path):
    data = path.read_bytes()
    try:
        return lzma.decompress(data) if path.suffix == ".xz" else data
    except lzma.LZMAError as error:
        raise Unavailable(f"{path.name}: {error}") from None


def modules_in_order(tree, names):
    """(name, bytes) of the modules and of what they need, which comes first: modules.dep is not in the package."""
    found = {path.name.split(".")[0].replace("_", "-"): path for path in tree.rglob("*.ko*")}
    order = {}

    def visit(name):
        name = name.replace("_", "-")
        if name in order or name not in found:  # what is not found is built in
            return
        data = read_module(found[name])
        needs = re.search(rb"\0depends=([^\0]*)\0", data)
        for need in needs.group(1).decode().split(",") if needs else []:
            visit(need)
        order[name] = data

    for name in names:
        if name not in found:
            raise Unavailable(f"the kernel package has no module {name}")
        visit(name)
    return list(order.items())


def unpack_kernel(package, work, modules, kernel):
    """Take vmlinuz and the modules out of @package; @kernel appears when it is complete."""
    tree, wanted = work / "tree", work / "wanted"
    tree.mkdir()
    wanted.mkdir()
    run("dpkg-deb", "-x", str(package), str(tree))
    images = list(tree.glob("boot/vmlinuz-*"))
    if not images:
        raise Unavailable(f"{package.name} has no vmlinuz")
    shutil.copy(images[0], wanted / "vmlinuz")
    for number, (name, data) in enumerate(modules_in_order(tree, modules)):
        (wanted / f"{number:02}-{name}.ko").write_bytes(data)
    wanted.rename(kernel)


def find_kernel(directory, modules):
    """A directory with vmlinuz and modules that are numbered in the order to load them. LAB_KERNEL=FILE.deb takes another
    package than the one that is downloaded once."""
    given = os.environ.get("LAB_KERNEL")
    kernel = directory / (pathlib.Path(given).stem if given else "kernel")
    with lock(directory):
        if not kernel.exists():
            with tempfile.TemporaryDirectory(prefix="unpack-", dir=directory) as work:
                work = pathlib.Path(work)
                package = pathlib.Path(given) if given else download(kernel_package, work)
                unpack_kernel(package, work, modules, kernel)
    return kernel


# ---- Archives -------------------------------------------------------------------------

def newc(files):
    """A cpio archive of (name, mode, bytes), as the kernel unpacks it."""
    archive = bytearray()

    def pad():
        archive.extend(bytes(-len(archive) % 4))

    for number, (name, mode, data) in enumerate([*files, ("TRAILER!!!", 0, b"")], 1):
        word = name.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(word), 0]
        archive += b"070701" + b"".join(b"%08x" % field for field in fields) + word
        pad()
        archive += data
        pad()
    return bytes(archive)
