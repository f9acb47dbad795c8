# SPDX-License-Identifier: MIT
"""A guest that is its own firmware: 64 KiB of real-mode code in place of SeaBIOS.

It stays at the top of the 4 GiB, where it began, so that nothing it does to PAM takes it away.
"""
import struct

SIZE = 0x10000
SAY = 0x402  # what is written there is the host's to read (--debugcon)
ACCUMULATOR = {1: (b"", b"\xec", b"\xee"), 2: (b"", b"\xed", b"\xef"), 4: (b"\x66", b"\xed", b"\xef")}


class Rom:
    def __init__(self, flat=False):
        """`flat`: data segments of 4 GiB."""
        self.code = bytearray(b"\xfa")  # cli
        self.flat = flat
        if flat:
            # lgdt cs:0xffe0; enter protected mode; load DS and ES; and out again
            self.code += bytes.fromhex("2e660f0116e0ff 0f20c0 0c01 0f22c0 bb0800 8edb 8ec3 24fe 0f22c0")

    def here(self):
        return len(self.code)

    def add(self, text):
        self.code += bytes.fromhex(text)

    def set_eax(self, value):
        self.code += b"\x66\xb8" + struct.pack("<I", value & 0xffffffff)

    def point(self, address):
        """DS:EDI, at what can be reached of it."""
        if not self.flat:
            self.code += b"\xbb" + struct.pack("<H", address >> 4 & 0xffff) + b"\x8e\xdb"  # mov bx, ..; mov ds, bx
            address &= 15
        self.code += b"\x66\xbf" + struct.pack("<I", address & 0xffffffff)

    def set_dx(self, value):
        self.code += b"\xba" + struct.pack("<H", value)

    def port_in(self, port, size):
        self.set_dx(port)
        prefix, read, _ = ACCUMULATOR[size]
        self.code += prefix + read

    def port_out(self, port, size):
        """Of EAX's lower bytes."""
        self.set_dx(port)
        prefix, _, write = ACCUMULATOR[size]
        self.code += prefix + write

    def load(self, size):
        """From where it points."""
        self.code += b"\x67" + {1: b"\x8a", 2: b"\x8b", 4: b"\x66\x8b"}[size] + b"\x07"

    def store(self, size):
        self.code += b"\x67" + {1: b"\x88", 2: b"\x89", 4: b"\x66\x89"}[size] + b"\x07"

    def say(self, size):
        """EAX's lower bytes, the lowest first."""
        self.set_dx(SAY)
        self.code += b"\xee" + b"\x66\xc1\xe8\x08\xee" * (size - 1)

    def say_text(self, text):
        for byte in text:
            self.set_eax(byte)
            self.say(1)

    def config(self, function, register):
        """Select a register, keeping EAX: `function` as in bits 8 to 23 of 0xcf8."""
        self.add("6689c1")  # mov ecx, eax
        self.set_eax(0x80000000 | function << 8 | register & 0xfc)
        self.port_out(0xcf8, 4)
        self.add("6689c8")

    def if_eax_below(self, number):
        """Code to jump over unless EAX is below; returns what end_if() wants."""
        self.code += b"\x66\x3d" + struct.pack("<I", number) + b"\x72\x03\xe9\0\0"  # cmp; jb +3; jmp
        return len(self.code)

    def end_if(self, begun):
        self.code[begun - 2:begun] = struct.pack("<H", len(self.code) - begun)

    def jump(self, target):
        self.code += b"\xe9" + struct.pack("<H", target - len(self.code) - 3 & 0xffff)

    def halt(self):
        self.add("f4 ebfd")

    def image(self):
        assert len(self.code) <= 0xffc0
        rom = bytearray(SIZE)
        rom[:len(self.code)] = self.code
        # The descriptors; where they are; the reset vector.
        rom[0xffc0:0xffd0] = struct.pack("<QHHBBBB", 0, 0xffff, 0, 0, 0x92, 0xcf, 0)
        rom[0xffe0:0xffe6] = struct.pack("<HI", 15, 0xffffffc0)
        rom[0xfff0:0xfff3] = b"\xe9" + struct.pack("<H", SIZE - 0xfff3)  # to 0
        return bytes(rom)
