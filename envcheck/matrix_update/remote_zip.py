"""Members of a zip file (a wheel) read through byte ranges, so that a gigabyte need not be fetched for a kilobyte.

Layout: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 (zip64), 4.3.16.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ..errors import InputError

END = b"PK\x05\x06"
END64_LOCATOR = b"PK\x06\x07"
END64 = b"PK\x06\x06"
CENTRAL = b"PK\x01\x02"
LOCAL = b"PK\x03\x04"
STORED, DEFLATED = 0, 8
MAX32 = 0xFFFFFFFF
TAIL = 64 * 1024 + 22  # an end record and the longest comment
CHUNK = 1 << 20
MEMBER_LIMIT = 64 << 20  # what ``read`` holds in memory; larger members are streamed


class RangeReader(Protocol):
    """A file far away. Offsets and lengths are in bytes."""

    name: str
    size: int

    def read(self, start: int, length: int) -> bytes: ...

    def stream(self, start: int, length: int) -> Iterator[bytes]: ...


@dataclass(frozen=True, kw_only=True)
class Member:
    name: str
    method: int
    crc: int
    compressed: int
    size: int
    offset: int  # of the local header


class RemoteZip:
    """A zip file behind a ``RangeReader``. Raises ``InputError`` for one that is no zip or is cut off."""

    def __init__(self, source: RangeReader) -> None:
        self.source = source

    @functools.cached_property
    def members(self) -> dict[str, Member]:
        start, length, count = self._directory()
        data = self._exact(start, length)
        found: dict[str, Member] = {}
        at = 0
        for _ in range(count):
            member, at = self._central(data, at)
            found[member.name] = member
        return found

    def read(self, name: str) -> bytes:
        """The whole member, its CRC checked. Only for small ones (at most 64 MiB unpacked)."""
        member = self._member(name)
        if member.size > MEMBER_LIMIT:
            raise InputError(f"{name} in {self.source.name} holds {member.size} bytes; it is too large to read at once")
        data = b"".join(self.stream(name))
        if zlib.crc32(data) != member.crc:
            raise InputError(f"{name} in {self.source.name} is damaged: its checksum does not match")
        return data

    def stream(self, name: str) -> Iterator[bytes]:
        """The member's bytes, unpacked, in pieces of about 1 MiB; never more than that is held."""
        member = self._member(name)
        packed = self.source.stream(self._data_offset(member), member.compressed)
        if member.method == STORED:
            yield from packed
            return
        if member.method != DEFLATED:
            raise InputError(f"{name} in {self.source.name} uses zip method {member.method}, which is not read here")
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for piece in packed:
                while piece:
                    yield unpack.decompress(piece, CHUNK)
                    piece = unpack.unconsumed_tail
            yield unpack.flush()
        except zlib.error as error:
            raise InputError(f"{name} in {self.source.name} is damaged: {error}") from None
        if not unpack.eof:
            raise InputError(f"{name} in {self.source.name} is cut off")

    def _member(self, name: str) -> Member:
        if name not in self.members:
            raise InputError(f"{self.source.name} has no member {name}")
        return self.members[name]

    def _exact(self, start: int, length: int) -> bytes:
        data = self.source.read(start, length) if length else b""
        if len(data) != length:
            raise InputError(f"{self.source.name} is cut off at byte {start + len(data)}")
        return data

    def _data_offset(self, member: Member) -> int:
        head = self._exact(member.offset, 30)
        if head[:4] != LOCAL:
            raise InputError(f"{self.source.name} is no sound zip file: no header where {member.name} should start")
        names, extra = struct.unpack("<HH", head[26:30])
        return member.offset + 30 + int(names) + int(extra)

    def _directory(self) -> tuple[int, int, int]:
        """(start, length, entries) of the central directory."""
        length = min(TAIL, self.source.size)
        base = self.source.size - length
        tail = self._exact(base, length)
        at = tail.rfind(END)
        if at < 0 or at + 22 > len(tail):
            raise InputError(f"{self.source.name} is no zip file: it has no end record")
        count, size, start = struct.unpack("<HII", tail[at + 10 : at + 20])
        if MAX32 in (size, start) or count == 0xFFFF:
            return self._directory64(tail, at)
        return start, size, count

    def _directory64(self, tail: bytes, at: int) -> tuple[int, int, int]:
        if at < 20 or tail[at - 20 : at - 16] != END64_LOCATOR:
            raise InputError(f"{self.source.name} is no sound zip file: its zip64 locator is missing")
        (where,) = struct.unpack("<Q", tail[at - 12 : at - 4])
        record = self._exact(where, 56)
        if record[:4] != END64:
            raise InputError(f"{self.source.name} is no sound zip file: its zip64 end record is missing")
        count, size, start = struct.unpack("<QQQ", record[32:56])
        return start, size, count

    def _central(self, data: bytes, at: int) -> tuple[Member, int]:
        head = data[at : at + 46]
        if len(head) < 46 or head[:4] != CENTRAL:
            raise InputError(f"{self.source.name} is no sound zip file: its directory is damaged")
        _, method, _, _, crc, compressed, size, names, extras, comment = struct.unpack("<HHHHIIIHHH", head[8:34])
        (offset,) = struct.unpack("<I", head[42:46])
        after = at + 46 + names
        name = data[at + 46 : after].decode("utf-8", "replace")
        size, compressed, offset = _zip64(data[after : after + extras], size, compressed, offset)
        member = Member(name=name, method=method, crc=crc, compressed=compressed, size=size, offset=offset)
        return member, after + extras + comment


def _zip64(extra: bytes, size: int, compressed: int, offset: int) -> tuple[int, int, int]:
    """The three numbers, taken from the zip64 field where the directory holds 0xFFFFFFFF."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack("<HH", extra[at : at + 4])
        if tag == 1:
            numbers = iter(struct.unpack(f"<{length // 8}Q", extra[at + 4 : at + 4 + length // 8 * 8]))
            values = [next(numbers, MAX32) if value == MAX32 else value for value in (size, compressed, offset)]
            return values[0], values[1], values[2]
        at += 4 + length
    return size, compressed, offset
