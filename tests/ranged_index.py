"""A simple index on 127.0.0.1 with byte ranges, and wheels whose libraries hold synthetic fat binaries."""

from __future__ import annotations

import io
import json
import struct
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

MAGIC = 0xBA55ED50
PTX, ELF = 1, 2
ENTRY_HEADER = 64


def entry(kind: int, arch: int, payload: bytes = b"\x7fELF....") -> bytes:
    """One entry: kind, header length, payload length and, at byte 28, the architecture."""
    head = struct.pack("<HHIQIIHHI", kind, 0x101, ENTRY_HEADER, len(payload), 0, 0, 0, 0, arch)
    return head + bytes(ENTRY_HEADER - len(head)) + payload


def fat_binary(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", MAGIC, 1, 16, len(body)) + body


def elf(section: bytes) -> bytes:
    """A small ELF64 file whose only section with content is ``.nv_fatbin``."""
    names = b"\x00.nv_fatbin\x00.shstrtab\x00"
    at = 64
    table = at + len(section) + len(names)
    head = (
        b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)
    )
    empty = bytes(64)
    fat = struct.pack("<IIQQQQIIQQ", 1, 1, 2, 0, at, len(section), 0, 0, 8, 0)
    strings = struct.pack("<IIQQQQIIQQ", 12, 3, 0, 0, at + len(section), len(names), 0, 0, 1, 0)
    return head + section + names + empty + fat + strings


def wheel(name: str, version: str, requires: Sequence[str] = (), members: dict[str, bytes] | None = None) -> bytes:
    """A wheel with METADATA; large members are deflated, METADATA is stored."""
    info = f"{name}-{version}.dist-info"
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, data in (members or {}).items():
            archive.writestr(path, data, zipfile.ZIP_DEFLATED)
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n\nTorch is a library.\n", zipfile.ZIP_STORED)
    return out.getvalue()


@dataclass
class Served:
    """Files by address path, project pages by name, and what was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    projects: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    html: bool = False
    ranges: bool = True

    def add(self, project: str, filename: str, content: bytes, day: str = "2030-01-01", **extra: object) -> str:
        self.files[f"/files/{filename}"] = content
        row = {"filename": filename, "url": f"../../files/{filename}", "hashes": {"sha256": "0" * 64}}
        self.projects.setdefault(project, []).append({**row, "upload-time": f"{day}T10:00:00Z", **extra})
        return f"{self.url}/files/{filename}"


def _page(rows: list[dict[str, object]]) -> bytes:
    links = "".join(
        f'<a href="{str(r["url"]).replace("+", "%2B")}#sha256={"0" * 64}">{r["filename"]}</a><br>\n' for r in rows
    )
    return f"<!DOCTYPE html><html><body>{links}</body></html>".encode()


def _handler(served: Served) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, wanted = unquote(self.path), self.headers.get("Range")
            served.asked.append((path, wanted))
            if path in served.files:
                self.file(served.files[path], wanted)
                return
            rows = (
                served.projects.get(path.removeprefix("/simple/").strip("/")) if path.startswith("/simple/") else None
            )
            if rows is None:
                self.reply(403, b"no")  # as PyTorch's index answers
            elif served.html:
                self.reply(200, _page(rows), {"Content-Type": "text/html"})
            else:
                body = json.dumps({"meta": {"api-version": "1.1"}, "files": rows}).encode()
                self.reply(200, body, {"Content-Type": "application/vnd.pypi.simple.v1+json"})

        def file(self, content: bytes, wanted: str | None) -> None:
            if wanted is None or not served.ranges:
                self.reply(200, content)
                return
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = content[int(first) : int(last) + 1]
            size = {"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"}
            self.reply(206, part, size)

        def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serve() -> Iterator[Served]:
    served = Served()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
