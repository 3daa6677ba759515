"""GPU architectures in a CUDA library, from its fat binaries and from the strings compiled into it.

A fat binary is a header (magic 0xBA55ED50) and entries, one per kind and architecture; the payload of an entry may be
compressed, its header never is. Libraries of torch hold hundreds of fat binaries in their section ``.nv_fatbin`` and
unpack to more than a gigabyte, so everything here reads a stream of pieces and keeps a few kilobytes of it.
Layout as ``cuobjdump --list-elf`` reports it; see also fatbinary_section.h of the CUDA toolkit.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MAGIC = struct.pack("<IHH", 0xBA55ED50, 1, 16)
HEADER = 16
ENTRY = 32  # up to and with the architecture; the whole header is longer and says how long
ENTRY_LIMIT = 4096
KINDS = {1: "ptx", 2: "elf"}
# Some kernels are compiled for one chip only (10.3: 59 of the 534 fat binaries of torch 2.15.0), which is no support
# of that chip, and some for all but the oldest (9.0 and 10.0 in 505 of them, 7.5 in 476).
FULL = 0.5
STRING_LIMIT = 2048
ARCH_STRING = re.compile(rb"\x00((?:sm|compute)_\d{2,3}[af]?(?: (?:sm|compute)_\d{2,3}[af]?)*)\x00")
GENCODE = re.compile(rb"(?:-gencode;arch=compute_\d+[af]?,code=\[?(?:(?:sm|compute)_\d+[af]?,?)+\]?;?)+")
CODE = re.compile(r"(sm|compute)_(\d+)[af]?\b")


@dataclass
class FatBinaries:
    """What a library holds: how many fat binaries, and in how many of them each (kind, architecture) occurs."""

    containers: int = 0
    entries: Counter[tuple[str, int]] = field(default_factory=Counter)

    def full(self, kind: str) -> tuple[str, ...]:
        """Compute capabilities with ``kind`` code in most fat binaries, ascending: ``("7.5", "8.0")``."""
        least = FULL * self.containers
        found = sorted(arch for (k, arch), count in self.entries.items() if k == kind and count >= least)
        return tuple(capability(arch) for arch in found)


def capability(arch: int) -> str:
    """``86`` -> ``8.6``, ``120`` -> ``12.0``."""
    return f"{arch // 10}.{arch % 10}"


class _Cursor:
    """A forward-only view of pieces: look ahead a little, skip far, search."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = iter(pieces)
        self.buffer = b""

    def need(self, length: int) -> bool:
        """Whether ``length`` bytes are ahead; reads on until they are in the buffer."""
        parts = [self.buffer]
        have = len(self.buffer)
        while have < length:
            piece = next(self.pieces, None)
            if piece is None:
                break
            parts.append(piece)
            have += len(piece)
        self.buffer = b"".join(parts) if len(parts) > 1 else self.buffer
        return have >= length

    def skip(self, length: int) -> None:
        while length > len(self.buffer):
            length -= len(self.buffer)
            piece = next(self.pieces, None)
            self.buffer = piece or b""
            if piece is None:
                return
        self.buffer = self.buffer[length:]

    def seek(self, pattern: bytes) -> bool:
        """Go to the next occurrence of ``pattern``; False at the end."""
        while True:
            at = self.buffer.find(pattern)
            if at >= 0:
                self.buffer = self.buffer[at:]
                return True
            self.buffer = self.buffer[-(len(pattern) - 1) :]
            if not self.need(len(self.buffer) + 1):
                return False


def scan(pieces: Iterable[bytes]) -> FatBinaries:
    """Every fat binary in a stream of bytes. What only looks like one is passed over."""
    found = FatBinaries()
    cursor = _Cursor(pieces)
    while cursor.seek(MAGIC) and cursor.need(HEADER):
        (left,) = struct.unpack("<Q", cursor.buffer[8:HEADER])
        cursor.skip(HEADER)
        seen = _entries(cursor, left)
        if seen:
            found.containers += 1
            found.entries.update(seen)
    return found


def _entries(cursor: _Cursor, left: int) -> set[tuple[str, int]]:
    """The (kind, architecture) pairs of one fat binary of ``left`` bytes; stops at the first that is no entry."""
    seen: set[tuple[str, int]] = set()
    while left >= ENTRY and cursor.need(ENTRY):
        kind, _, head, size = struct.unpack("<HHIQ", cursor.buffer[:16])
        (arch,) = struct.unpack("<I", cursor.buffer[28:ENTRY])
        whole = head + size
        if kind not in KINDS or not ENTRY <= head <= ENTRY_LIMIT or whole > left or not 0 < arch < ENTRY_LIMIT:
            break
        seen.add((KINDS[kind], arch))
        cursor.skip(whole)
        left -= whole
    return seen


def _windows(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, each with the end of the one before it, so that no short string is cut in two."""
    tail = b"\x00"
    for piece in pieces:
        yield tail + piece
        tail = (tail + piece)[-STRING_LIMIT:]


def arch_list(pieces: Iterable[bytes]) -> tuple[str, ...]:
    """What ``torch.cuda.get_arch_list()`` returns: the longest list of architectures compiled in as a string.

    In the wheels of torch it is in ``libtorch_python.so``: ``("sm_50", "sm_60", "compute_60")``; () for a CPU build.
    """
    best = b""
    for window in _windows(pieces):
        for match in ARCH_STRING.finditer(window):
            best = max(best, match.group(1), key=len)
    return tuple(best.decode().split())


def gencode(pieces: Iterable[bytes]) -> tuple[str, ...]:
    """The architectures of the nvcc flags compiled into ``libtorch_cuda.so``, as ``arch_list`` writes them."""
    best = b""
    for window in _windows(pieces):
        for match in GENCODE.finditer(window):
            best = max(best, match.group(0), key=len)
    codes = [m.group(0) for part in re.findall(r"code=([^;]*)", best.decode()) for m in CODE.finditer(part)]
    return tuple(dict.fromkeys(codes))


def split(archs: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(SASS, PTX) compute capabilities of an architecture list: ``sm_90`` -> SASS 9.0, ``compute_90`` -> PTX 9.0."""
    found: dict[str, set[int]] = {"sm": set(), "compute": set()}
    for text in archs:
        match = CODE.fullmatch(text)
        if match:
            found[match.group(1)].add(int(match.group(2)))
    sass, ptx = (tuple(capability(a) for a in sorted(found[kind])) for kind in ("sm", "compute"))
    return sass, ptx
