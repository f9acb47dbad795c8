#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The membus command: every subcommand with good and bad input.

usage: test_cli.py MEMBUS SOURCE_DIR MAKE_TRACE
"""
import json
import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections import Counter

MEMBUS, SOURCE, MAKE_TRACE = None, None, None
COMMANDS = ["tree", "flat", "find", "diff", "log", "check", "ram", "slots", "memdev", "boot"]


def membus(*args, stdin=None, cwd=None, **env):
    result = subprocess.run([MEMBUS, *map(str, args)], input=stdin, cwd=cwd, capture_output=True,
                            env={**os.environ, **env}, timeout=120)
    return result.returncode, result.stdout.decode("utf-8"), result.stderr.decode("utf-8")


def data(case, name="tree.txt"):
    return SOURCE / "tests" / "data" / case / name


def cases():
    return sorted(path.parent for path in (SOURCE / "tests" / "data").glob("*/*/flat.txt"))


def case_name(case):
    return "/".join(case.parts[-2:])


def blocks(text):
    """Blocks as a multiset, the headings of each sorted: their order is not stable in QEMU."""
    found = Counter()
    for block in text.split("\n\n"):
        lines = block.strip("\n").split("\n")
        heads = sorted(line for line in lines if not line.startswith("  "))
        found["\n".join(heads + [line for line in lines if line.startswith("  ")])] += 1
    return found


def views(text):
    text = re.sub(r"^FlatView #\d+\n", "", text, flags=re.M)
    return blocks(re.sub(r"( KVM)+$", "", text, flags=re.M))


def ranges_by_space(text):
    found = {}
    for block in re.sub(r"( KVM)+$", "", text, flags=re.M).split("\n\n"):
        lines = block.split("\n")
        shown = [line for line in lines if line.startswith("  ") and "No rendered" not in line]
        for line in lines:
            if line.startswith(' AS "'):
                found.setdefault(line.split('"')[1], []).append(shown)
    return found


SMALL = """address-space: memory
  0000000000000000-000000000000ffff (prio 0, i/o): system
    0000000000000000-0000000000000fff (prio 0, ram): ram
    0000000000002000-00000000000020ff (prio 0, i/o): uart
    0000000000003000-00000000000030ff (prio 0, ram): sram

address-space: dma
  0000000000000000-00000000000000ff (prio 0, ram): buffer

"""
EDITED = """address-space: memory
  0000000000000000-000000000000ffff (prio 0, i/o): system
    0000000000000000-0000000000000fff (prio 0, ram): ram
    0000000000000800-00000000000008ff (prio 1, i/o): timer
    0000000000003000-00000000000030ff (prio 0, rom): sram
    0000000000004000-00000000000040ff (prio 0, i/o): uart
    0000000000005000-00000000000050ff (prio 0, i/o): new

"""


RAM = "memory-backend-ram,id=m0,size=8M"


class Usage(unittest.TestCase):
    def test_help(self):
        for args in (["--help"], ["help"], ["-h"]):
            code, out, err = membus(*args)
            self.assertEqual((code, err), (0, ""))
            for command in COMMANDS:
                self.assertIn(command, out)
        for command in COMMANDS:
            for args in ([command, "--help"], ["help", command]):
                code, out, err = membus(*args)
                self.assertEqual((code, err), (0, ""))
                self.assertTrue(out.startswith(f"usage: membus {command} "))

    def test_version(self):
        code, out, _ = membus("--version")
        self.assertEqual(code, 0)
        version = re.search(r"version: '([^']+)'", (SOURCE / "meson.build").read_text()).group(1)
        self.assertEqual(out, f"membus {version}\n")

    def test_misuse(self):
        tree = data("x86_64/pc")
        for args in ([], ["nosuch"], ["tree"], ["tree", tree, tree], ["tree", "--nosuch", tree],
                     ["check", tree], ["check", "--flat", tree, tree, tree], ["find", tree],
                     ["tree", tree, "--as"], ["diff", "-", "-"], ["flat", "-", "--flat", "-"],
                     ["tree", tree, "--flat", tree, "--flat", tree], ["tree", tree, "--touch", "all"],
                     ["memdev", "--touch", "4K"], ["memdev", "a", "b"], ["memdev", "--as", "x"],
                     ["memdev", "--touch", "4X", RAM], ["memdev", "--touch", "4K,prealloc=on", RAM],
                     ["memdev", RAM, "--touch"], ["tree", tree, "--stage2", "0"], ["slots"],
                     ["slots", tree, tree, tree], ["slots", "-", "-"], ["slots", tree, "--stage2"],
                     ["slots", tree, "--max-slots", "0"], ["slots", tree, "--max-slots", "40000"],
                     ["slots", tree, "--max-slot", "5000"], ["slots", tree, "--max-slot", "4X"],
                     ["slots", tree, "--max-slot", "18446744073709551615K"], ["slots", tree, "--host-page", "2K"],
                     ["boot", "x"], ["boot", "--nosuch"], ["boot", "-x"], ["boot", "--json"], ["boot", "--smp"],
                     ["boot", "--smp", "0"], ["boot", "--smp", "1x"], ["boot", "--smp", "-1"], ["boot", "-m"],
                     ["boot", "--timeout", "0"], ["boot", "--timeout", "nan"], ["boot", "--timeout", "1s"],
                     ["boot", "--exit-on", ""], ["boot", "--initrd", "x"], ["boot", "--append", "x"],
                     ["slots", tree, "--host-page", "3M"], ["slots", tree, "--host-page", "2G"],
                     ["slots", tree, "--stage2", "here"], ["slots", tree, "--touch", "all"],
                     ["slots", tree] + ["--stage2", "0"] * 65):
            code, out, err = membus(*args)
            self.assertEqual((code, out), (2, ""), args)
            self.assertIn("membus", err)

    def test_closed_pipe(self):
        reader, writer = os.pipe()
        os.close(reader)
        result = subprocess.run([MEMBUS, "flat", data("x86_64/pc@3s")], stdout=writer,
                                stderr=subprocess.PIPE, timeout=60)
        os.close(writer)
        self.assertEqual(result.returncode, 2)
        self.assertTrue(result.stderr)

    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            for args in (["tree"], ["flat"], ["tree", "--json"]):
                result = subprocess.run([MEMBUS, *args, data("x86_64/pc")], stdout=full,
                                        stderr=subprocess.PIPE, check=False)
                self.assertEqual(result.returncode, 2)
                self.assertIn(b"membus: ", result.stderr)


class Input(unittest.TestCase):
    def test_bad_files(self):
        for args in (["tree", "/nonexistent"], ["check", data("x86_64/pc"), "/nonexistent"],
                     ["tree", SOURCE]):
            code, out, err = membus(*args)
            self.assertEqual((code, out), (2, ""))
            self.assertRegex(err, r"^membus: .*: (No such file|Is a directory)")

    def test_bad_text_names_the_line(self):
        for text, message in (
                ("x\n", "<stdin>:1: expected a region line or a heading"),
                (SMALL.replace("prio 0, ram", "prio 0, rum", 1), "<stdin>:3: the type is none of"),
                (SMALL + "address-space: z\n  zz\n", "<stdin>:11: expected a range"),
        ):
            for command in (["tree"], ["flat"], ["find"], ["diff"]):
                rest = {"find": ["0"], "diff": [data("x86_64/pc")]}.get(command[0], [])
                code, out, err = membus(*command, "-", *rest, stdin=text.encode())
                self.assertEqual((code, out), (2, ""))
                self.assertTrue(err.startswith("membus: " + message), err)
        code, _, err = membus("check", data("x86_64/pc"), "-", stdin=b"FlatView #0\nx\n")
        self.assertEqual(code, 2)
        self.assertTrue(err.startswith("membus: <stdin>:2: "), err)
        code, _, err = membus("flat", data("x86_64/pc"), "--flat", data("x86_64/pc"))
        self.assertEqual(code, 2)
        self.assertIn("tree.txt:1: expected `FlatView #N`", err)

    def test_impossible_ranges(self):
        head = "address-space: x\n  0000000000000000-ffffffffffffffff (prio 0, i/o): x\n"
        for line, reason in (
                ("    0000000000000000-fffffffffffffffe (prio 0, ram): r\n", "no region has 2^64 - 1 bytes"),
                ("    0000000000000000-00000000000000ff (prio 0, ram): alias a @x 0000000000000000-0000000000000fff\n",
                 "the alias and its window differ in size"),
                (f"    0000000000000000-00000000000000ff (prio 0, ram): {'n' * 5000}\n", "a name of more than"),
                ("    0000000000000000-00000000000000ff (prio 0, ram): alias x" + " @" * 50000 + "\n",
                 "a name of more than")):
            code, out, err = membus("tree", "-", stdin=(head + line).encode())
            self.assertEqual((code, out), (2, ""))
            self.assertIn(f":3: {reason}", err)

    def test_flat_dumps_cut_short(self):
        flat = data("x86_64/pc@3s", "flat.txt").read_text()
        head = flat.split("\n  ")[0] + "\n"
        for text in (head, head + "\n" + flat.replace("#0", "#9")):
            code, _, err = membus("check", data("x86_64/pc@3s"), "-", stdin=text.encode())
            self.assertEqual(code, 2)
            self.assertIn("the view has no ranges and no `No rendered FlatView`", err)

    def test_long_paths_keep_the_reason(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, *["d" * 200] * 3)
            path.mkdir(parents=True)
            (path / "bad").write_text("nonsense\n")
            code, _, err = membus("tree", path / "bad")
            self.assertEqual(code, 2)
            self.assertRegex(err, r"/bad:1: expected .*\n$")

    def test_dos_line_ends(self):
        for name in ("tree.txt", "tree-owners.txt", "tree-enabled.txt"):
            text = data("x86_64/pc@3s", name).read_text()
            code, out, _ = membus("tree", "-", stdin=text.replace("\n", "\r\n").encode())
            self.assertEqual((code, out), (0, text))
        flat = data("x86_64/pc@3s", "flat.txt").read_bytes().replace(b"\n", b"\r\n")
        self.assertEqual(membus("check", data("x86_64/pc@3s"), "-", stdin=flat)[0], 0)

    def test_addresses(self):
        tree = data("x86_64/pc")
        for text in ("0xfee00010", "4276092944", "00000000fee00010", "0XFEE00010"):
            code, out, _ = membus("find", tree, text)
            self.assertEqual(code, 0)
            self.assertIn("apic-msi (i/o) at offset 0x10", out)
        for text in ("fee00000", "", "0x", "-1", "12k", "0x10000000000000000",
                     "18446744073709551616"):
            code, out, err = membus("find", tree, "--", text)
            self.assertEqual((code, out), (2, ""), text)
            self.assertIn("above" if len(text) > 17 else "not an address", err)

    def test_unknown_space(self):
        for args in (["tree", data("x86_64/pc")], ["flat", data("x86_64/pc")],
                     ["find", data("x86_64/pc"), "0"], ["slots", data("x86_64/pc")],
                     ["diff", data("x86_64/pc"), data("x86_64/pc")],
                     ["check", data("x86_64/pc"), data("x86_64/pc", "flat.txt")]):
            code, out, err = membus(*args, "--as", "nosuch")
            self.assertEqual((code, out), (2, ""))
            self.assertIn("no address space is called 'nosuch'", err)


def terminal(test):
    try:
        return pty.openpty()
    except OSError as error:
        test.skipTest(f"no pseudo-terminal here: {error}")


class Output(unittest.TestCase):
    def on_terminal(self, **env):
        master, slave = terminal(self)
        subprocess.run([MEMBUS, "find", data("x86_64/pc"), "0xfee00000"], stdout=slave, check=True,
                       env={**os.environ, "TERM": "xterm", "NO_COLOR": "", **env})
        os.close(slave)
        text = os.read(master, 65536)
        os.close(master)
        return text

    def test_colors_on_terminals_only(self):
        self.assertIn(b"\033[", self.on_terminal())
        self.assertNotIn(b"\033[", self.on_terminal(NO_COLOR="1"))
        self.assertNotIn(b"\033[", self.on_terminal(TERM="dumb"))
        self.assertNotIn("\033[", membus("find", data("x86_64/pc"), "0xfee00000", TERM="xterm")[1])

    def test_completions_know_every_command(self):
        for name in ("membus.bash", "_membus"):
            text = (SOURCE / "completions" / name).read_text()
            for word in COMMANDS + ["--flat", "--as", "--json", "--help", "--version"]:
                self.assertIn(word, text, name)
        script = ("source completions/membus.bash; COMP_WORDS=(membus fi); COMP_CWORD=1; _membus; "
                  "echo ${COMPREPLY[@]}; COMP_WORDS=(membus flat tests/data/x86_64/pc/tree.txt --as cpu-); "
                  "COMP_CWORD=4; _membus; echo ${COMPREPLY[@]}")
        out = subprocess.run(["bash", "-c", script], cwd=SOURCE, capture_output=True, text=True,
                             check=True).stdout
        self.assertEqual(out, "find\ncpu-memory-0 cpu-smm-0\n")

    def test_manual_examples_are_real(self):
        manual = (SOURCE / "man" / "membus.1").read_text()
        examples = re.findall(r"\.Bd -literal -offset indent\n\$ (membus .*)\n((?:.*\n)*?)\.Ed",
                              manual)
        self.assertGreaterEqual(len(examples), 4)
        for command, expected in examples:
            result = subprocess.run(command.replace("membus", MEMBUS, 1), shell=True, check=False,
                                    cwd=data("x86_64/pc@3s").parent, capture_output=True, text=True)
            self.assertEqual(result.stdout, expected.replace("\\e", "\\"), command)


class Maps(unittest.TestCase):
    def test_trees_print_again(self):
        for case in cases():
            for form in ("tree.txt", "tree-owners.txt", "tree-enabled.txt"):
                if (case / form).exists():
                    code, out, _ = membus("tree", case / form)
                    self.assertEqual(code, 0)
                    self.assertEqual(out, (case / form).read_text(), case / form)

    def test_check(self):
        for case in cases():
            for form in ("tree.txt", "tree-owners.txt", "tree-enabled.txt"):
                if (case / form).exists():
                    code, out, _ = membus("check", case / form, case / "flat.txt")
                    self.assertEqual(code, 0, out)
                    self.assertRegex(out, r"\n\d+ address spaces, 0 differ\n$")

    def test_check_tells_what_it_took_for_containers(self):
        flat = data("x86_64/pc@3s", "flat.txt").read_text()
        self.assertNotIn("note:", membus("check", data("x86_64/pc@3s"), data("x86_64/pc@3s", "flat.txt"))[1])
        line = "  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic\n"
        self.assertIn(line, flat)
        without = flat.replace(line, "").encode()
        code, out, _ = membus("check", data("x86_64/pc@3s"), "-", stdin=without)
        self.assertEqual(code, 0)
        self.assertIn("taken for empty containers:\n  ioapic at offset 0xfec00000 of system\n", out)
        answer = json.loads(membus("check", data("x86_64/pc@3s"), "-", "--json", stdin=without)[1])
        self.assertEqual(answer["taken_for_containers"],
                         [{"name": "ioapic", "container": "system", "offset": "0x00000000fec00000"}])

    def test_check_tells_of_leaves_behind_aliases(self):
        tree = ("address-space: a\n  0000000000000000-000000000000ffff (prio 0, i/o): a\n"
                "    0000000000000000-0000000000000fff (prio 0, i/o): alias w @bus 0000000000000000-0000000000000fff\n"
                "    0000000000001000-0000000000001fff (prio 0, ram): ram\n\n"
                "memory-region: bus\n  0000000000000000-000000000000ffff (prio 0, i/o): bus\n"
                "    0000000000000100-00000000000001ff (prio 0, i/o): uart\n")
        flat = ('FlatView #0\n AS "a", root: a\n Root memory region: a\n'
                "  0000000000001000-0000000000001fff (prio 0, ram): ram\n")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(tree)
            file.flush()
            code, out, err = membus("check", file.name, "-", stdin=flat.encode())
        self.assertEqual(code, 0, err)
        self.assertIn("  uart at offset 0x100 of bus\n", out)

    def test_check_compares_roots(self):
        flat = data("x86_64/pc@3s", "flat.txt").read_text()
        line = ' AS "I/O", root: io\n'
        self.assertIn(line, flat)
        code, out, _ = membus("check", data("x86_64/pc@3s"), "-",
                              stdin=flat.replace(line, ' AS "I/O", root: oi\n').encode())
        self.assertEqual(code, 1)
        self.assertIn("differs I/O\n  its root is 'io', in FLAT 'oi'\n", out)

    def test_completion_runs_nothing(self):
        if not shutil.which("bash"):
            self.skipTest("no bash")
        with tempfile.TemporaryDirectory() as directory:
            map_ = pathlib.Path(directory, "map")
            map_.write_text("address-space: $(touch${IFS}" + directory + "/pwned)\naddress-space: cpu 0\n")
            script = (f"source {SOURCE}/completions/membus.bash; COMP_WORDS=(membus tree {map_} --as '');"
                      "COMP_CWORD=4; cur= prev=--as; _membus; printf '%s\\n' \"${COMPREPLY[@]}\"")
            out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60).stdout
            self.assertFalse(pathlib.Path(directory, "pwned").exists())
            self.assertIn("cpu\\ 0", out)

    def test_check_finds_differences(self):
        flat = data("x86_64/pc@3s", "flat.txt").read_text()
        for good, bad in (("00000000fee00000-00000000feefffff (prio 4096", "00000000fee00000-00000000feefffff (prio 4095"),
                          ("apic-msi", "apic-msl"), ("00000000fec00fff", "00000000fec00ffe"),
                          ("rom): pc.bios", "ram): pc.bios"),
                          ("  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios\n", "")):
            self.assertIn(good, flat)
            wrong = flat.replace(good, bad).encode()
            code, out, _ = membus("check", data("x86_64/pc@3s"), "-", stdin=wrong)
            self.assertEqual(code, 1, good)
            self.assertIn("differs memory\n", out)
            self.assertIn("ok      I/O", out)
            self.assertEqual(membus("check", data("x86_64/pc@3s"), "-", "--as", "I/O", stdin=wrong)[0], 0)
            code, out, _ = membus("check", data("x86_64/pc@3s"), "-", "--json", stdin=wrong)
            self.assertEqual(code, 1)
            answer = json.loads(out)
            self.assertFalse(answer["ok"])
            self.assertTrue(any(space["differences"] for space in answer["spaces"]
                                if not space["ok"]))
        for text, message in ((flat.replace('"memory"', '"mem0ry"'), "memory: not in FLAT"),
                              (flat.replace(' AS "memory"', ' AS "more", root: x\n AS "memory"'),
                               "more: not in TREE")):
            code, out, _ = membus("check", data("x86_64/pc@3s"), "-", stdin=text.encode())
            self.assertEqual(code, 1)
            self.assertIn(message, out)

    def found_divergences(self):
        shared, default = set(), {}
        for case in cases():
            flat = (case / "flat.txt").read_text()
            for form in ("tree.txt", "tree-owners.txt", "tree-enabled.txt"):
                if not (case / form).exists():
                    continue
                out = membus("flat", case / form, "--flat", case / "flat.txt")[1]
                if views(out) != views(flat):
                    shared.add((case_name(case), form))
            out, wanted = ranges_by_space(membus("flat", case / "tree.txt")[1]), ranges_by_space(flat)
            differ = sum(len(theirs) - sum((Counter(map(str, theirs)) & Counter(map(str, out[name]))).values())
                         for name, theirs in wanted.items())
            if differ:
                default[case_name(case), "tree.txt"] = f"{differ} of {sum(map(len, wanted.values()))}"
        return shared, default

    def test_divergences_are_listed(self):
        text = (SOURCE / "tests" / "data" / "DIVERGENCES.md").read_text()
        rows = [[cell.strip() for cell in line.strip("|").split("|")]
                for line in text.split("\n") if re.match(r"\| \w+/", line)]
        shared = {(row[0], form) for row in rows if len(row) == 3 for form in row[1].split(", ")}
        default = {(row[0], row[1]): row[2] for row in rows if len(row) == 4}
        self.assertEqual((shared, default), self.found_divergences())


class Find(unittest.TestCase):
    def find(self, address, *args):
        code, out, _ = membus("find", data("x86_64/pc@3s"), address, "--flat",
                              data("x86_64/pc@3s", "flat.txt"), "--json", *args)
        self.assertEqual(code, 0)
        answer = json.loads(out)
        self.assertEqual(answer["address"], f"0x{int(address, 16):016x}")
        return answer["spaces"]

    def test_shadowed(self):
        candidates = self.find("0xf5000")[0]["candidates"]
        self.assertEqual([(c["region"], c["type"], c["offset"]) for c in candidates],
                         [("pc.ram", "rom", "0x00000000000f5000"),
                          ("pc.ram", "ram", "0x00000000000f5000"),
                          ("pc.bios", "rom", "0x0000000000035000")])
        self.assertEqual([step["name"] for step in candidates[0]["path"]],
                         ["system", "pam-rom", "pc.ram"])
        self.assertEqual([step["kind"] for step in candidates[2]["path"]],
                         ["container", "container", "alias", "region"])
        self.assertNotIn("hidden", candidates[0])
        self.assertEqual(candidates[1]["hidden"], {"by": "pam-rom", "reason": "priority", "parting": 1})

    def test_subregions_and_ties(self):
        candidates = self.find("0x70", "--as", "I/O")[0]["candidates"]
        self.assertEqual([(c["region"], c.get("hidden", {}).get("reason")) for c in candidates],
                         [("rtc-index", None), ("rtc", "child"), ("io", "child")])
        tie = ("address-space: x\n  0000000000000000-00000000000000ff (prio 0, i/o): x\n"
               "    0000000000000000-000000000000000f (prio 0, ram): first\n"
               "    0000000000000000-000000000000000f (prio 0, ram): second\n")
        code, out, _ = membus("find", "-", "5", stdin=tie.encode())
        self.assertEqual(code, 0)
        self.assertIn("first (ram) at offset 0x5\n", out)
        self.assertIn("by first: priority 0 as second, but added later\n", out)

    def test_unassigned(self):
        self.assertEqual(self.find("0xd0000000"), [{"name": "memory", "candidates": []}])
        self.assertIn("unassigned", membus("find", data("x86_64/pc@3s"), "0xd0000000")[1])

    def test_agrees_with_the_flat_view(self):
        flat = json.loads(membus("flat", data("x86_64/pc@3s"), "--json", "--as", "memory")[1])
        for shown in flat["views"][0]["ranges"][:12]:
            code, out, _ = membus("find", data("x86_64/pc@3s"), shown["last"], "--json")
            winner = json.loads(out)["spaces"][0]["candidates"][0]
            self.assertEqual((winner["region"], winner["type"]), (shown["name"], shown["type"]))
            self.assertEqual(int(winner["offset"], 16) - int(shown["offset"], 16),
                             int(shown["last"], 16) - int(shown["first"], 16))


class Ram(unittest.TestCase):
    LINE = re.compile(r"  (\w{16})-(\w{16}) \(prio -?\d+, ((?:nv-)?(?:ram|rom|romd|ramd))\): (.*?)(?: @(\w{16}))?$")

    def test_text(self):
        code, out, err = membus("ram", "-", stdin=SMALL.replace("ram): sram", "rom): sram").encode())
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out, """ram: ram, 4 KiB
  memory
    0000000000000000-0000000000000fff @0000000000000000 (ram, 4 KiB)
sram: rom, 256 bytes
  memory
    0000000000003000-00000000000030ff @0000000000000000 (rom, 256 bytes)
buffer: ram, 256 bytes
  dma
    0000000000000000-00000000000000ff @0000000000000000 (ram, 256 bytes)

memory: 4352 bytes in 2 ranges, 256 bytes of it read-only
dma: 256 bytes in 1 range
""")
        code, out, _ = membus("ram", "-", "--as", "dma", stdin=SMALL.encode())
        self.assertEqual((code, out.count("\n"), "buffer" in out, "sram" in out), (0, 5, True, False))

    def test_names_do_not_command_terminals(self):
        _, out, _ = membus("ram", "-", stdin=SMALL.replace("ram): sram", "ram): s\x1b[2Jram").encode())
        self.assertIn("\ns\\x1b[2Jram: ram, 256 bytes\n", out)

    def test_hidden_and_disabled(self):
        text = SMALL.replace("(prio 0, i/o): uart", "(prio 0, ram): uart [disabled]").replace(
            "00020ff (prio 0", "00020ff (prio 1").replace("00030ff (prio 0, ram): sram",
                                                          "00030ff (prio 0, ram): sram\n"
                                                          "    0000000000003000-00000000000030ff (prio 9, i/o): lid")
        code, out, err = membus("ram", "-", stdin=text.encode())
        self.assertEqual((code, err), (0, ""))
        self.assertIn("uart: ram, 256 bytes\n  not visible\n", out)
        self.assertIn("sram: ram, 256 bytes\n  not visible\n", out)
        self.assertIn("memory: 4 KiB in 1 range\n", out)

    def test_agrees_with_the_flat_view(self):
        compared = 0
        for case in cases():
            with self.subTest(case_name(case)):
                wanted = {}
                for space, views_of_it in ranges_by_space((case / "flat.txt").read_text()).items():
                    wanted[space] = sorted(sorted(match.group(1, 2, 3, 4) + (match.group(5) or "0" * 16,)
                                                  for match in map(self.LINE.match, lines) if match)
                                           for lines in views_of_it)
                code, out, err = membus("ram", "--json", case / "tree.txt", "--flat", case / "flat.txt")
                self.assertEqual((code, err), (0, ""))
                result = json.loads(out)
                found = {}
                for space in result["spaces"]:
                    shown = sorted((r["first"][2:], r["last"][2:], r["type"], region["name"], r["offset"][2:])
                                   for region in result["regions"] for seen in region["seen"]
                                   for r in seen["ranges"] if seen["names"] == space["names"])
                    size = sum(int(last, 16) - int(first, 16) + 1 for first, last, *_ in shown)
                    readonly = sum(int(last, 16) - int(first, 16) + 1 for first, last, kind, *_ in shown
                                   if kind.endswith(("rom", "romd")))
                    self.assertEqual((space["ranges"], int(space["size"], 16), int(space["readonly"], 16)),
                                     (len(shown), size, readonly))
                    for name in space["names"]:
                        found.setdefault(name, []).append(shown)
                for name, shown in found.items():
                    if len(set(map(tuple, wanted[name]))) == len(wanted[name]) == len(shown):
                        self.assertEqual(sorted(shown), wanted[name])
                        compared += 1
        self.assertGreater(compared, 20)


class Diff(unittest.TestCase):
    def setUp(self):
        import tempfile
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.a = pathlib.Path(self.directory.name) / "a"
        self.b = pathlib.Path(self.directory.name) / "b"
        self.a.write_text(SMALL)
        self.b.write_text(EDITED)

    def test_kinds(self):
        code, out, _ = membus("diff", self.a, self.b, "--json")
        self.assertEqual(code, 1)
        spaces = json.loads(out)["spaces"]
        self.assertEqual([(s["name"], s["in"]) for s in spaces], [("dma", "a"), ("memory", "both")])
        self.assertEqual([(c["kind"], c.get("before", c.get("after"))["name"]) for c in spaces[1]["changes"]],
                         [("changed", "ram"), ("moved", "uart"), ("changed", "sram"),
                          ("appeared", "new")])
        timer = spaces[1]["changes"][0]
        self.assertEqual((timer["before"]["first"], timer["before"]["last"], timer["after"]["name"]),
                         ("0x0000000000000800", "0x00000000000008ff", "timer"))
        moved = spaces[1]["changes"][1]
        self.assertEqual((moved["before"]["first"], moved["after"]["first"]),
                         ("0x0000000000002000", "0x0000000000004000"))
        code, out, _ = membus("diff", self.b, self.a)
        self.assertEqual(code, 1)
        self.assertIn("address-space: dma (appeared)\n", out)
        self.assertIn("  vanished 0000000000005000-00000000000050ff (prio 0, i/o): new\n", out)

    def test_same(self):
        self.assertEqual(membus("diff", self.a, self.a), (0, "", ""))
        self.assertEqual(json.loads(membus("diff", self.a, self.a, "--json")[1]), {"spaces": []})
        for case in cases():
            self.assertEqual(membus("diff", case / "tree.txt", case / "tree.txt", "--flat",
                                    case / "flat.txt", "--flat", case / "flat.txt"), (0, "", ""))


class Slots(unittest.TestCase):
    SLOT = {"slot", "first", "last", "size", "readonly", "log", "region", "offset"}
    ODD = SMALL.replace("sram\n", "sram\n    0000000000005800-00000000000067ff (prio 0, ram): odd\n"
                        "    0000000000007000-00000000000088ff (prio 0, rom): tail\n")

    def slots(self, *args, status=0, stdin=None):
        code, out, err = membus("slots", *args, "--json", stdin=stdin)
        self.assertEqual((code, err), (status, ""))
        return json.loads(out)

    def test_text(self):
        code, out, err = membus("slots", "-", "--stage2", "0x3010", "--stage2", "0x7123", "--stage2", "0x9000",
                                stdin=self.ODD.encode())
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out, """memory: 2 of 32764 slots
      0  0000000000000000-0000000000000fff ram @0000000000000000 (4 KiB)
      1  0000000000007000-0000000000007fff tail @0000000000000000 (4 KiB, READONLY)
no slot, each access an exit to user space:
  0000000000003000-00000000000030ff sram @0000000000000000 (ram, 256 bytes): less than a page
  0000000000005800-00000000000067ff odd @0000000000000000 (ram, 4 KiB): host memory and guest address are differently aligned
  0000000000008000-00000000000088ff tail @0000000000001000 (rom, 2304 bytes): less than a page
  1 range of devices, 256 bytes

0x0000000000003010 in memory, a read: a fault, not mapped
  level 4 [  0] 0000000000000000-0000007fffffffff not present
  no slot: exit to user space (KVM_EXIT_MMIO), where sram (ram) answers at offset 0x10

0x0000000000007123 in memory, a read: a fault, mapped
  level 4 [  0] 0000000000000000-0000007fffffffff table
  level 3 [  0] 0000000000000000-000000003fffffff table
  level 2 [  0] 0000000000000000-00000000001fffff table
  level 1 [  7] 0000000000007000-0000000000007fff r-x 4 KiB of tail @0000000000000000
  slot 1 (READONLY): tail @0000000000000123
  not 2 MiB: the slot does not cover it

0x0000000000009000 in memory, a read: a fault, not mapped
  level 4 [  0] 0000000000000000-0000007fffffffff table
  level 3 [  0] 0000000000000000-000000003fffffff table
  level 2 [  0] 0000000000000000-00000000001fffff table
  level 1 [  9] 0000000000009000-0000000000009fff not present
  no slot: exit to user space (KVM_EXIT_MMIO), where nobody answers
""")

    def test_both_ends_are_rounded(self):
        text = ("address-space: memory\n  0000000000000000-000000000000ffff (prio 0, i/o): system\n"
                "    0000000000009800-000000000000bbff (prio 0, ram): alias part @big 0000000000000800-0000000000002bff\n\n"
                "memory-region: big\n  0000000000000000-000000000000ffff (prio 0, ram): big\n")
        answer = self.slots("-", stdin=text.encode())
        self.assertEqual([(slot["first"][-4:], slot["last"][-4:], slot["offset"][-4:]) for slot in answer["slots"]],
                         [("a000", "afff", "1000")])
        self.assertEqual([(p["first"][-4:], p["last"][-4:], p["offset"][-4:], p["reason"])
                          for p in answer["no_slot"]["memory"]],
                         [("9800", "9fff", "0800", "less than a page"), ("b000", "bbff", "2000", "less than a page")])

    def test_the_last_page_has_no_slot(self):
        code, out, err = membus("slots", "-", stdin=(
            b"address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
            b"    fffffffffffff000-ffffffffffffffff (prio 0, ram): top\n"
            b"    0000000000000fff-0000000000000fff (prio 0, ram): byte\n"))
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(out.splitlines()[2:], [
            "  0000000000000fff-0000000000000fff byte @0000000000000000 (ram, 1 byte): "
            "host memory and guest address are differently aligned",
            "  fffffffffffff000-ffffffffffffffff top @0000000000000000 (ram, 4 KiB): no slot reaches the last page of 2^64"])

    def covers(self, case, args):
        """The slots are the view's memory, in whole pages; what is left is listed."""
        flat = json.loads(membus("flat", *args, "--json", "--as", "memory")[1])
        wanted, left, devices = [], [], 0
        for shown in flat["views"][0]["ranges"]:
            first, last, offset = (int(shown[key], 16) for key in ("first", "last", "offset"))
            up, down = -(-first // 4096) * 4096, (last + 1) // 4096 * 4096 - 1
            if shown["type"].replace("nv-", "") not in ("ram", "rom", "romd", "ramd"):
                devices += 1
            elif (first - offset) % 4096 == 0 and up < down:
                wanted.append((up, down, shown["name"], offset + up - first, shown["type"] in ("rom", "romd")))
                left += [(first, up - 1)] if first < up else []
                left += [(down + 1, last)] if down < last else []
            else:
                left.append((first, last))
        answer = self.slots(*args)
        joined = []
        for slot in answer["slots"]:
            self.assertEqual(slot.keys(), self.SLOT)
            first, last, offset = (int(slot[key], 16) for key in ("first", "last", "offset"))
            self.assertEqual(int(slot["size"], 16), last - first + 1)
            joined.append((first, last, slot["region"], offset, slot["readonly"]))
        self.assertEqual(joined, wanted, case)
        self.assertEqual([(int(piece["first"], 16), int(piece["last"], 16))
                          for piece in answer["no_slot"]["memory"]], left)
        self.assertEqual(answer["no_slot"]["devices"]["ranges"], devices)
        return len(joined)

    def test_agrees_with_the_flat_view(self):
        compared = 0
        for case in cases():
            with self.subTest(case_name(case)):
                if '"memory"' in (case / "flat.txt").read_text():
                    compared += self.covers(case, (case / "tree.txt", "--flat", case / "flat.txt"))
        self.assertGreater(compared, 50)

    def test_calls_lead_from_one_map_to_the_other(self):
        pairs = [(a, b) for a in cases() for b in cases() if a.parent == b.parent and a.name[:2] == b.name[:2]]
        kinds = Counter()
        for a, b in pairs:
            before = self.slots(a / "tree.txt")["slots"]
            wanted = self.slots(b / "tree.txt")["slots"]
            answer = self.slots(a / "tree.txt", b / "tree.txt",
                                status=int(self.differ(before, wanted)))
            now = {slot["slot"]: slot for slot in before}
            for call in answer["calls"]:
                kinds[call["kind"]] += 1
                self.assertEqual(set(call), {"kind"} | ({"before"} if call["kind"] != "create" else set())
                                 | ({"after"} if call["kind"] != "delete" else set()))
                number = call.get("before", call.get("after"))["slot"]
                self.assertEqual(now.pop(number, None), call.get("before"))
                if "after" in call:
                    self.assertTrue(all(int(call["after"]["last"], 16) < int(slot["first"], 16) or
                                        int(slot["last"], 16) < int(call["after"]["first"], 16)
                                        for slot in now.values()))
                    now[number] = call["after"]
            self.assertFalse(self.differ(list(now.values()), wanted))
            self.assertFalse(self.differ(answer["slots"], wanted))
        self.assertGreater(kinds["create"], 10)
        self.assertGreater(kinds["delete"], 10)

    def differ(self, a, b):
        """A map may be had with slots that are cut in different ways."""
        return self.pages(a) != self.pages(b)

    def pages(self, slots):
        found = []
        for slot in sorted(slots, key=lambda slot: slot["first"]):
            first, last, offset = (int(slot[key], 16) for key in ("first", "last", "offset"))
            rest = (slot["region"], first - offset, slot["readonly"], slot["log"])
            if found and found[-1][1] + 1 == first and found[-1][2:] == rest:
                first = found.pop()[0]
            found.append((first, last) + rest)
        return found

    def test_moves(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(SMALL)
            file.flush()
            moved = SMALL.replace("0000000000000000-0000000000000fff (prio 0, ram): ram",
                                  "0000000000008000-0000000000008fff (prio 0, ram): ram")
            code, out, err = membus("slots", file.name, "-", stdin=moved.encode())
            self.assertEqual((code, err), (1, ""))
            self.assertTrue(out.endswith(f"""
from {file.name}: 1 call: 1 move
  move     0  0000000000000000-0000000000000fff ram @0000000000000000 (4 KiB)
          to 0000000000008000-0000000000008fff
"""), out)
            code, out, _ = membus("slots", file.name, "-", stdin=SMALL.encode())
            self.assertEqual(code, 0)
            self.assertTrue(out.endswith(": 0 calls\n"))

    def test_limits(self):
        tree = data("x86_64/pc@3s")
        for args in ((), ("--json",)):
            code, out, err = membus("slots", tree, "--max-slots", "4", *args)
            self.assertEqual((code, out), (1, ""))
            self.assertIn("the map needs 9 KVM slots in address space 0, and there are 4", err)
        sizes = [int(slot["size"], 16) for slot in self.slots(tree, "--max-slot", "256M")["slots"]]
        self.assertEqual((max(sizes), len(sizes)), (256 << 20, 12))

    def test_terabytes_need_no_memory(self):
        text = SMALL.replace("0000000000000000-000000000000ffff", "0000000000000000-ffffffffffffffff", 1).replace(
            "    0000000000000000-0000000000000fff", "    0000000100000000-000000ffffffffff")
        answer = self.slots("-", "--stage2", "0x9040000000", stdin=text.encode())
        self.assertEqual(int(answer["slots"][0]["size"], 16), (1 << 40) - (1 << 32))
        self.assertEqual(answer["stage2"][0]["entries"][2]["kind"], "leaf")
        code, out, err = membus("slots", "-", stdin=text.replace("000000ffffffffff", "3fffffffffffffff").encode())
        self.assertEqual((code, out), (2, ""))
        self.assertIn("ram: address space for 0x3fffffff00000000 bytes", err)

    def walk(self, address, *args):
        answer = self.slots(data("x86_64/pc@3s"), "--stage2", address, *args)
        self.assertEqual(answer["stage2"][0]["address"], f"0x{int(address, 16):016x}")
        return answer["stage2"]

    def test_walks(self):
        large = self.walk("0x300000")[0]
        self.assertEqual((large["result"], large["write"], large["slot"], large["not_larger"]),
                         ("mapped", False, 6, "the slot does not cover it"))
        self.assertEqual([(e["level"], e["index"], e["kind"]) for e in large["entries"]],
                         [(4, 0, "table"), (3, 0, "table"), (2, 1, "leaf")])
        leaf = large["entries"][-1]
        self.assertEqual((leaf["first"], leaf["last"], leaf["region"], leaf["offset"]),
                         ("0x0000000000200000", "0x00000000003fffff", "pc.ram", "0x0000000000200000"))
        self.assertEqual((leaf["read"], leaf["write"], leaf["execute"]), (True, True, True))
        for args, reason in ((("--host-page", "4K"), "the host maps smaller pages"), (("--log",), "the slot is logged")):
            small = self.walk("0x300000", *args)[0]
            self.assertEqual((small["entries"][-1]["level"], small["not_larger"]), (1, reason))
        self.assertFalse(self.walk("0x300000", "--log")[0]["entries"][-1]["write"])
        first, second = self.walk("0x300000", "--log", "--write", "--stage2", "0x300008")
        self.assertEqual((first["result"], second["result"], second["entries"][-1]["write"]), ("mapped", "hit", True))
        shadow = self.walk("0xf5000", "--write")[0]
        self.assertEqual((shadow["result"], shadow["slot"], shadow["answers"]["type"]), ("exit", 5, "rom"))
        nobody = self.walk("0xd0000000")[0]
        self.assertEqual((nobody["result"], nobody.keys() & {"slot", "answers", "not_larger"}), ("exit", set()))
        code, out, err = membus("slots", data("x86_64/pc@3s"), "--json", "--stage2", "0x1000000000000")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("is above what 4 levels translate", err)

    def test_system_management_mode(self):
        answer = self.slots(data("x86_64/pc@3s"), "--as", "cpu-smm-0")
        self.assertEqual((answer["space"], answer["address_space"]), ("cpu-smm-0", 1))


class Json(unittest.TestCase):
    RANGE = {"first", "last", "priority", "type", "name", "offset"}

    def check_region(self, region, printed):
        self.assertLessEqual({"name", "type", "first", "last", "priority", "enabled"}, region.keys())
        self.assertEqual("alias" in region, "terminates" not in region)
        printed.append(region["name"])
        for child in region.get("children", []):
            self.check_region(child, printed)

    def test_tree(self):
        for case in cases():
            code, out, _ = membus("tree", case / "tree.txt", "--json")
            self.assertEqual(code, 0)
            answer, printed = json.loads(out), []
            self.assertEqual(answer.keys(), {"spaces", "targets"})
            for root in [space["root"] for space in answer["spaces"]] + answer["targets"]:
                self.check_region(root, printed)
            lines = [line for line in (case / "tree.txt").read_text().split("\n") if line.startswith("  ")]
            self.assertEqual(len(printed), len(lines))

    def test_flat(self):
        for case in cases():
            code, out, _ = membus("flat", case / "tree.txt", "--json", "--flat", case / "flat.txt")
            self.assertEqual(code, 0)
            views_found = json.loads(out)["views"]
            text = (case / "flat.txt").read_text()
            self.assertEqual(sum(len(view["spaces"]) for view in views_found), text.count(' AS "'))
            for view in views_found:
                self.assertEqual(view.keys(), {"spaces", "root", "ranges"})
                self.assertEqual(view["root"] is None, not view["ranges"])
                for shown in view["ranges"]:
                    self.assertEqual(shown.keys(), self.RANGE)

    def test_odd_bytes(self):
        text = SMALL.encode().replace(b"uart", b"u\xe4rt\"\\")
        code, out, _ = membus("flat", "-", "--json", stdin=text)
        self.assertEqual(code, 0)
        self.assertIn("u\u00e4rt\"\\", [shown["name"] for shown in json.loads(out)["views"][0]["ranges"]])


class Memdev(unittest.TestCase):
    HOST = {"kinds", "memory", "shm", "thp", "huge_pages", "nodes"}
    TRY = {"id", "kind", "size", "page_size", "share", "readonly", "prealloc", "seconds", "touched",
           "touch_seconds", "mapping"}
    MAPPING = {"kernel_page_size", "mmu_page_size", "rss", "anon_huge_pages", "shmem_pmd_mapped",
               "file_pmd_mapped", "hugetlb", "locked", "swap", "nodes"}

    def test_host(self):
        code, out, err = membus("memdev")
        self.assertEqual((code, err), (0, ""))
        for word in ("memory-backend-ram", "memory-backend-fd", "available of", "transparent huge pages"):
            self.assertIn(word, out)
        code, out, _ = membus("memdev", "--json")
        answer = json.loads(out)
        self.assertEqual((code, answer.keys()), (0, self.HOST))
        with open("/proc/meminfo", encoding="ascii") as meminfo:
            total = int(re.search(r"MemTotal: *(\d+)", meminfo.read()).group(1)) * 1024
        self.assertEqual(answer["memory"]["total"], total)
        pools = pathlib.Path("/sys/kernel/mm/hugepages")
        self.assertEqual(len(answer["huge_pages"]), len(list(pools.glob("*"))) if pools.exists() else 0)

    def attempt(self, options, *args):
        code, out, err = membus("memdev", options, "--json", *args)
        self.assertEqual((code, err), (0, ""))
        answer = json.loads(out)
        self.assertEqual(answer.keys(), self.TRY)
        if answer["mapping"] is not None:
            self.assertEqual(answer["mapping"].keys(), self.MAPPING)
        return answer

    def test_pages_in_use(self):
        for kind, rest, share in (("ram", ",thp=off", False), ("memfd", "", True), ("shm", "", True),
                                  ("file", f",mem-path={tempfile.gettempdir()}", False)):
            options = f"memory-backend-{kind},id=m0,size=8M{rest}"
            for args, expected in (([], 0), (["--touch", "1M"], 1 << 20), (["--touch", "all"], 8 << 20),
                                   (["--touch", "1T"], 8 << 20)):
                answer = self.attempt(options, *args)
                self.assertEqual((answer["kind"], answer["share"], answer["size"], answer["touched"]),
                                 (f"memory-backend-{kind}", share, 8 << 20, expected))
                self.assertEqual(answer["mapping"]["rss"], expected)
            self.assertEqual(self.attempt(options + ",prealloc=on")["mapping"]["rss"], 8 << 20)

    def test_transparent_huge_pages(self):
        enabled = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
        if not enabled.exists() or "[never]" in enabled.read_text():
            self.skipTest("this host has no transparent huge pages")
        answer = self.attempt(RAM + ",thp=on,prealloc=on")
        self.assertLessEqual(answer["mapping"]["anon_huge_pages"], 8 << 20)
        self.assertEqual(answer["mapping"]["rss"], 8 << 20)
        self.assertEqual(self.attempt(RAM + ",thp=off,prealloc=on")["mapping"]["anon_huge_pages"], 0)

    def test_text(self):
        code, out, err = membus("memdev", RAM + ",prealloc=on,thp=off")
        self.assertEqual(code, 0)
        self.assertTrue(out.startswith("m0: memory-backend-ram, 8 MiB, private\n  preallocated: 8 MiB in "))
        self.assertIn("\n  resident: 8 MiB in pages of 4 KiB\n", out)
        self.assertEqual(err, "preallocated 100% of 8 MiB\n")
        code, out, err = membus("memdev", RAM)
        self.assertIn("\n  resident: nothing\n", out)
        self.assertEqual((code, err), (0, ""))

    def test_bar_on_terminals(self):
        master, slave = terminal(self)
        subprocess.run([MEMBUS, "memdev", RAM + ",prealloc=on"], stdout=subprocess.DEVNULL, stderr=slave,
                       check=True, timeout=60)
        os.close(slave)
        shown = os.read(master, 65536)
        os.close(master)
        self.assertIn(b"[##############################] 100%", shown)
        self.assertTrue(shown.endswith(b"\r\033[K"))

    def test_refusals(self):
        for options, sentence in ((RAM + ",colour=red", "no key 'colour'"),
                                  (RAM + ",size=4K", "size=4K: size is given twice"),
                                  ("memory-backend-nvram", "'memory-backend-nvram' is no kind"),
                                  (RAM.replace("8M", "4097"), "size=4097 is not a multiple"),
                                  ("memory-backend-file,id=m0,size=4K,mem-path=/no/such", "cannot open /no/such")):
            for args in ((), ("--json",)):
                code, out, err = membus("memdev", options, *args)
                self.assertEqual((code, out), (1, ""))
                self.assertTrue(err.startswith("membus: "))
                self.assertEqual(err.count("\n"), 1)
                self.assertIn(sentence, err)

    def test_messages_do_not_command_terminals(self):
        _, _, err = membus("memdev", "memory-backend-file,id=m0,size=4K,mem-path=/no/\x1b[2J\n\x7f")
        self.assertEqual(err, "membus: RAM 'm0': cannot open /no/\\x1b[2J\\x0a\\x7f: No such file or directory\n")

    def test_touching_what_is_cut(self):
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(4096)
            code, out, err = membus("memdev", f"memory-backend-file,id=m0,size=8K,readonly=on,mem-path={file.name}")
            self.assertEqual((code, out), (1, ""))
            self.assertIn("the file of 4096 bytes ends before offset 0x0 + 8192 bytes", err)
            self.assertEqual(os.path.getsize(file.name), 4096)


class Trace(unittest.TestCase):
    """What make_trace.c does, read back."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.file = os.path.join(cls.dir.name, "pc.trace")
        subprocess.run([MAKE_TRACE, cls.file], check=True, timeout=60)

    @classmethod
    def tearDownClass(cls):
        cls.dir.cleanup()

    def ask(self, *args, status=0):
        code, out, err = membus(*args)
        self.assertEqual((code, err), (status, ""))
        return out

    def refused(self, sentence, *args):
        code, out, err = membus(*args)
        self.assertEqual((code, out), (2, ""))
        self.assertIn(sentence, err)

    def test_log(self):
        lines = [re.sub(r"\+\d+\.\d{6}", "T", line) for line in self.ask("log", self.file).splitlines()]
        self.assertEqual(lines, [
            "     0  T  memory: 5 appeared; I/O: 1 appeared",
            "     1  T  cpu-memory-0 (made): 5 appeared",
            "     2  T at 0xfffd41ac  memory, cpu-memory-0: 1 changed",
            "     3  T at 0xf1234  memory, cpu-memory-0: 1 appeared",
            "     4  T at 0xf1234  memory, cpu-memory-0: 1 changed, 1 moved",
            "     5  T at 0xf1234  cpu-memory-0: 1 changed",
            "     6  T at 0xf1234  cpu-memory-0: 1 changed",
            "     7  T  cpu-memory-0 (ended): 7 vanished"])
        self.assertEqual([line[:6] for line in self.ask("log", self.file, "--as", "I/O").splitlines()], ["     0"])
        verbose = self.ask("log", "-v", self.file + "@4")
        self.assertEqual(verbose.splitlines()[1:], [
            "memory, cpu-memory-0",
            "  changed 00000000000f0000-00000000000fffff (prio 0, ram): pc.ram @00000000000f0000",
            "       to 00000000000f0000-00000000000fffff (prio 0, rom): pc.ram @00000000000f0000",
            "  moved 00000000febc0000-00000000febdffff (prio 0, i/o): e1000-mmio",
            "       to 00000000fec00000-00000000fec1ffff (prio 0, i/o): e1000-mmio", ""])

    def test_log_json(self):
        log = json.loads(self.ask("log", "--json", self.file))
        self.assertFalse(log["cut_off"])
        self.assertEqual([c["number"] for c in log["commits"]], list(range(8)))
        times = [c["time"] for c in log["commits"]]
        self.assertEqual(times, sorted(times))
        self.assertNotIn("where", log["commits"][1])
        self.assertEqual(log["commits"][2]["where"], "0x00000000fffd41ac")
        self.assertEqual([s["name"] for s in log["commits"][4]["spaces"]], ["memory", "cpu-memory-0"])
        self.assertEqual([c["kind"] for c in log["commits"][4]["spaces"][1]["changes"]], ["changed", "moved"])
        self.assertTrue(log["commits"][7]["spaces"][0]["ended"])

    def test_flat(self):
        text = self.ask("flat", self.file + "@2")
        self.assertEqual(text.splitlines()[:9], [
            "FlatView #0", ' AS "memory", root: system', ' AS "cpu-memory-0", root: cpu-view',
            " Root memory region: system",
            "  0000000000000000-000000000009ffff (prio 0, ram): pc.ram",
            "  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem",
            "  00000000000c0000-00000000000dffff (prio 0, ram): pc.ram @00000000000c0000",
            "  00000000000e0000-00000000000effff (prio 1, rom): pc.bios",
            "  00000000000f0000-0000000000ffffff (prio 0, ram): pc.ram @00000000000f0000"])
        split = json.loads(self.ask("flat", "--json", self.file + "@5"))["views"]
        self.assertEqual([[s["name"] for s in v["spaces"]] for v in split], [["memory"], ["I/O"], ["cpu-memory-0"]])
        self.assertEqual(split[2]["root"], "cpu-view")
        self.assertEqual(self.ask("flat", self.file), self.ask("flat", self.file + "@last"))
        self.assertEqual(self.ask("flat", self.file), self.ask("flat", self.file + "@7"))
        self.assertNotIn("memory\"", self.ask("flat", self.file, "--as", "I/O"))

    def test_every_flat_is_what_the_changes_make(self):
        """Commit by commit, the changes that log tells lead from one flat to the next."""
        shown = {}
        for commit in json.loads(self.ask("log", "--json", self.file))["commits"]:
            for space in commit["spaces"]:
                view = shown.setdefault(space["name"], {})
                for change in space["changes"]:
                    for side, is_there in (("before", False), ("after", True)):
                        for page in range(int(change.get(side, {"first": "1"})["first"], 16),
                                          int(change.get(side, {"last": "0"})["last"], 16) + 1, 0x10000):
                            where = int(change[side]["offset"], 16) + page - int(change[side]["first"], 16)
                            if is_there:
                                view[page] = (change[side]["name"], change[side]["type"], where)
                            else:
                                del view[page]
            flat = json.loads(self.ask("flat", "--json", f"{self.file}@{commit['number']}"))
            seen = {}
            for view in flat["views"]:
                pages = {page: (r["name"], r["type"], int(r["offset"], 16) + page - int(r["first"], 16))
                         for r in view["ranges"] for page in range(int(r["first"], 16), int(r["last"], 16) + 1, 0x10000)}
                seen.update({space["name"]: pages for space in view["spaces"]})
            self.assertEqual(seen, {name: view for name, view in shown.items() if name in seen})
            self.assertEqual("cpu-memory-0" in seen, 1 <= commit["number"] < 7)

    def test_diff(self):
        self.assertEqual(self.ask("diff", self.file + "@5", self.file + "@5"), "")
        text = self.ask("diff", self.file + "@3", self.file + "@4", "--as", "memory", status=1)
        self.assertIn("moved 00000000febc0000", text)
        both = json.loads(self.ask("diff", "--json", self.file + "@0", self.file + "@1", status=1))
        self.assertEqual([(s["name"], s["in"]) for s in both["spaces"]], [("cpu-memory-0", "b")])
        # against a map in QEMU's text
        mixed = json.loads(self.ask("diff", "--json", data("x86_64/pc"), self.file + "@0", "--as", "I/O", status=1))
        self.assertEqual(mixed["spaces"][0]["in"], "both")

    def test_find(self):
        text = re.sub(r"\+\d+\.\d{6}", "T", self.ask("find", self.file + "@3", "0xf0010"))
        self.assertEqual(text.splitlines(), [
            "0x00000000000f0010 in memory after commit 3: pc.ram (ram) at offset 0xf0010",
            "    0-1        T  pc.bios (rom) at offset 0x10010",
            "  * 2-3        T at 0xfffd41ac  pc.ram (ram) at offset 0xf0010",
            "    4-         T at 0xf1234  pc.ram (rom) at offset 0xf0010"])
        found = json.loads(self.ask("find", "--json", self.file + "@4", "0xfebc0000"))["spaces"][0]
        self.assertIsNone(found["answer"])
        self.assertEqual([(p["from"], p["to"], p["answer"] and p["answer"]["region"]) for p in found["history"]],
                         [(0, 2, None), (3, 3, "e1000-mmio"), (4, 7, None)])
        gone = self.ask("find", self.file, "0xa0000", "--as", "cpu-memory-0")
        self.assertIn("after commit 7: no such address space\n", gone)

    def test_refusals(self):
        self.refused("pc.trace@8: the last commit is 7", "flat", self.file + "@8")
        self.refused("a moment of a trace is a commit's number or `last`", "flat", self.file + "@x")
        self.refused("No such file", "flat", self.file + ".no@1")
        self.refused("no address space is called 'x'", "flat", self.file + "@1", "--as", "x")
        self.refused("no address space is called 'x'", "log", self.file, "--as", "x")
        self.refused("no address space is called 'x'", "find", self.file, "0", "--as", "x")
        self.refused("no address space is called 'x'", "diff", self.file, self.file, "--as", "x")
        self.refused("is a trace", "flat", self.file, "--flat", data("x86_64/pc", "flat.txt"))
        self.refused("not a trace of a memory map", "log", data("x86_64/pc"))
        self.refused("No such file", "log", "/no/such/file")
        self.refused("unknown option: -v", "flat", "-v", self.file)

    def test_bad_files(self):
        good = pathlib.Path(self.file).read_bytes()
        bad = pathlib.Path(self.dir.name) / "bad.trace"
        bad.write_bytes(good[:-1])
        code, out, err = membus("log", bad)
        self.assertEqual((code, len(out.splitlines())), (0, 7))
        self.assertEqual(err, f"membus: {bad}: the record after commit 6 is cut off\n")
        bad.write_bytes(good[:20])
        self.refused("byte 20: the file ends within its header", "log", bad)
        bad.write_bytes(good[:33] + b"\xff" * 20 + good[53:])
        self.refused(f"{bad}: byte ", "flat", bad)

    def test_names_do_not_command_terminals(self):
        evil = pathlib.Path(self.dir.name) / "evil.trace"
        evil.write_bytes(pathlib.Path(self.file).read_bytes().replace(b"pc.ram", b"p\x1b[2Jm"))
        for args in (("log", "-v", evil), ("flat", evil), ("find", evil, "0"), ("diff", evil, self.file + "@0")):
            _, out, _ = membus(*args)
            self.assertNotIn("\x1b", out)
            self.assertIn("p\\x1b[2Jm", out)


if __name__ == "__main__":
    MEMBUS, SOURCE = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
    MAKE_TRACE = os.path.abspath(sys.argv[3])
    unittest.main(argv=[sys.argv[0]] + sys.argv[4:])
