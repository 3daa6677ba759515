"""A package index on 127.0.0.1 that behaves as PyTorch's: real file names and METADATA, payloads of a few bytes.

It serves PEP 503 pages and PEP 691 JSON, relative or absolute hrefs, a flat directory of links, 403 for what it
lacks (as download.pytorch.org does), and 401 where a password is asked for.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import threading
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import quote, unquote, urlsplit

JSON_TYPE = "application/vnd.pypi.simple.v1+json"


@dataclass(frozen=True)
class Wheel:
    """One fake wheel. ``requires`` are Requires-Dist lines, ``modules`` file name -> Python source."""

    name: str
    version: str
    tag: str = "py3-none-any"
    requires: tuple[str, ...] = ()
    modules: Mapping[str, str] = field(default_factory=dict)

    @property
    def filename(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}-{self.tag}.whl"

    @property
    def metadata(self) -> str:
        lines = [f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}"]
        return "\n".join(lines + [f"Requires-Dist: {r}" for r in self.requires]) + "\n"

    def build(self) -> bytes:
        """The same bytes each time, so that hashes are stable."""
        info = f"{self.name.replace('-', '_')}-{self.version}.dist-info"
        files = dict(self.modules) | {
            f"{info}/METADATA": self.metadata,
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {self.tag}\n",
        }
        record = "".join(f"{name},{_digest(text)},{len(text.encode())}\n" for name, text in files.items())
        files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, text in files.items():
                archive.writestr(zipfile.ZipInfo(name, (2023, 5, 8, 0, 0, 0)), text)
        return out.getvalue()


def _digest(text: str) -> str:
    raw = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def torch_set(python_tag: str, platform: str, local: str = "+cu118") -> list[Wheel]:
    """torch 2.0.1, torchvision 0.15.2 and torchaudio 2.0.2 with the requirements of the real ones."""
    tag = f"{python_tag}-{python_tag}-{platform}"
    version = {"torch/__init__.py": f"__version__ = {'2.0.1' + local!r}\n"}
    triton = 'triton==2.0.0 ; platform_system == "Linux" and platform_machine == "x86_64"'
    return [
        Wheel("torch", "2.0.1" + local, tag, ("filelock", "typing-extensions", triton), version),
        Wheel("torchvision", "0.15.2" + local, tag, ("numpy", "pillow!=8.3.*,>=5.3.0", "torch==2.0.1")),
        Wheel("torchaudio", "2.0.2" + local, tag, ("torch==2.0.1",)),
    ]


def common_set() -> list[Wheel]:
    """What PyTorch's own index carries beside torch; two NumPys, so that a constraint has something to choose."""
    return [
        Wheel("numpy", "1.26.4", modules={"numpy/__init__.py": "__version__ = '1.26.4'\n"}),
        Wheel("numpy", "2.1.2", modules={"numpy/__init__.py": "__version__ = '2.1.2'\n"}),
        Wheel("filelock", "3.13.1"),
        Wheel("typing-extensions", "4.12.2"),
        Wheel("pillow", "11.0.0"),
        Wheel("triton", "2.0.0"),
    ]


class LoopbackIndex:
    """Context manager: ``with LoopbackIndex({"whl/cu118": wheels}) as index: index.url("whl/cu118")``.

    ``folders``: path -> wheels. A folder in ``flat`` is one page of links. ``absolute``: hrefs hold the host.
    ``missing``: the status for an unknown package. ``password``: ``user:password`` that must be given.
    ``hashes`` off leaves the SHA-256 fragments out.
    """

    def __init__(
        self,
        folders: Mapping[str, Iterable[Wheel]],
        *,
        flat: Iterable[str] = (),
        absolute: bool = False,
        missing: int = 403,
        password: str | None = None,
        hashes: bool = True,
    ) -> None:
        self.folders = {path: list(wheels) for path, wheels in folders.items()}
        self.flat = set(flat)
        self.absolute, self.missing, self.password, self.hashes = absolute, missing, password, hashes
        self.files = {w.filename: w.build() for wheels in self.folders.values() for w in wheels}
        self.requests: list[str] = []
        handler = type("Handler", (_Handler,), {"index": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> LoopbackIndex:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def url(self, folder: str) -> str:
        return f"{self.root}/{folder}"

    def sha256(self, filename: str) -> str:
        return hashlib.sha256(self.files[filename]).hexdigest()

    def href(self, wheel: Wheel, depth: int) -> str:
        start = self.root + "/" if self.absolute else "../" * depth
        fragment = f"#sha256={self.sha256(wheel.filename)}" if self.hashes else ""
        return f"{start}files/{quote(wheel.filename)}{fragment}"


class _Handler(BaseHTTPRequestHandler):
    index: LoopbackIndex

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        index, path = self.index, unquote(urlsplit(self.path).path).strip("/")
        index.requests.append(path)
        if index.password is not None and not self._allowed():
            self._send(401, "text/plain", b"credentials, please", body)
            return
        if path.startswith("files/"):
            data = index.files.get(path.removeprefix("files/"))
            self._send(200 if data else 404, "application/octet-stream", data or b"", body)
            return
        folder, _, package = path.rpartition("/")
        if path in index.folders:
            self._page(path, index.folders[path] if path in index.flat else [], body)
        elif found := [w for w in index.folders.get(folder, []) if w.name.replace("_", "-") == package]:
            self._page(path, found, body)
        else:
            self._send(index.missing, "text/plain", b"AccessDenied", body)

    def _allowed(self) -> bool:
        wanted = base64.b64encode((self.index.password or "").encode()).decode()
        return self.headers.get("Authorization", "") == f"Basic {wanted}"

    def _page(self, path: str, wheels: list[Wheel], body: bool) -> None:
        depth = path.count("/") + 1
        links = [(w, self.index.href(w, depth)) for w in wheels]
        if JSON_TYPE in self.headers.get("Accept", "") and path not in self.index.flat:
            files = [
                {"filename": w.filename, "url": link.partition("#")[0], "hashes": self._hashes(w)} for w, link in links
            ]
            data = {"meta": {"api-version": "1.0"}, "name": path.rpartition("/")[2], "files": files}
            self._send(200, JSON_TYPE, json.dumps(data).encode(), body)
            return
        anchors = "".join(f'<a href="{html.escape(link)}">{html.escape(w.filename)}</a><br/>\n' for w, link in links)
        self._send(200, "text/html", f"<!DOCTYPE html>\n<html><body>\n{anchors}</body></html>\n".encode(), body)

    def _hashes(self, wheel: Wheel) -> dict[str, str]:
        return {"sha256": self.index.sha256(wheel.filename)} if self.index.hashes else {}

    def _send(self, status: int, kind: str, data: bytes, body: bool) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="wheels"')
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the requests are kept in ``index.requests``."""
