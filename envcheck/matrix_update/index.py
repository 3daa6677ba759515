"""A client of simple package indexes: JSON (PEP 691) and HTML (PEP 503), and byte ranges of the files there.

The only module that imports requests. Every call has a deadline; every failure is a ``NetworkError`` that says
which address did not answer and why. An absent project or file is None, never an error.
"""

from __future__ import annotations

import html.parser
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import requests

from ..errors import NetworkError, UsageError

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
PIP_SECONDS = 30.0
# PyTorch's index answers 403 for a project or a file that it does not have.
ABSENT = (403, 404, 410)
PIECE = 1 << 18

Run = Callable[[Sequence[str]], "str | None"]


@dataclass(frozen=True, kw_only=True)
class IndexFile:
    """One file of a project page."""

    filename: str
    url: str
    sha256: str | None = None
    uploaded: str | None = None  # YYYY-MM-DD, where the index says it
    yanked: bool = False
    has_metadata: bool = False  # PEP 658


class Session:
    """requests with deadlines. ``timeout`` is (connect, read) in seconds."""

    def __init__(self, timeout: tuple[float, float] = (CONNECT_SECONDS, READ_SECONDS)) -> None:
        self.timeout = timeout
        self._http = requests.Session()
        adapter = requests.adapters.HTTPAdapter(max_retries=2)
        self._http.mount("https://", adapter)
        self._http.mount("http://", adapter)

    def project(self, index_url: str, name: str) -> list[IndexFile] | None:
        """The files of a project, or None if the index has no such project."""
        return self.listing(f"{index_url.rstrip('/')}/{name}/")

    def listing(self, url: str) -> list[IndexFile] | None:
        """The files that one page links to (a project page, a flat directory), or None if there is no such page."""
        response = self._get(url, {"Accept": ACCEPT})
        if response is None:
            return None
        if "json" in response.headers.get("Content-Type", ""):
            return _from_json(response, url)
        return list(_Links(response.url, response.content.decode("utf-8", "replace")).files)

    def text(self, url: str) -> str | None:
        response = self._get(url, {})
        return None if response is None else response.content.decode("utf-8", "replace")

    def ranges(self, url: str) -> RemoteFile | None:
        """The file behind ``url`` for reading by byte ranges, or None if it is not there."""
        response = self._get(url, {"Range": "bytes=0-0"}, stream=True)
        if response is None:
            return None
        with response:
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if response.status_code != 206 or not total.isdigit():
            raise NetworkError(f"{redact(url)} cannot be read in parts: the server ignores byte ranges")
        return RemoteFile(self, url, int(total))

    def _get(self, url: str, headers: Mapping[str, str], stream: bool = False) -> requests.Response | None:
        try:
            response = self._http.get(url, headers=dict(headers), timeout=self.timeout, stream=stream)
        except requests.RequestException as error:
            raise NetworkError(f"cannot reach {redact(url)}: {_reason(error)}; is this machine offline?") from None
        if response.status_code in ABSENT:
            response.close()
            return None
        if response.status_code >= 400:
            response.close()
            raise NetworkError(f"{redact(url)} answered {response.status_code} {response.reason}; try again later")
        return response


class RemoteFile:
    """A ``remote_zip.RangeReader`` over HTTP."""

    def __init__(self, session: Session, url: str, size: int) -> None:
        self._session = session
        self._url = url
        self.size = size
        self.name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])

    def read(self, start: int, length: int) -> bytes:
        return b"".join(self.stream(start, length))

    def stream(self, start: int, length: int) -> Iterator[bytes]:
        if length <= 0:
            return
        headers = {"Range": f"bytes={start}-{start + length - 1}", "Accept-Encoding": "identity"}
        response = self._session._get(self._url, headers, stream=True)
        if response is None or response.status_code != 206:
            raise NetworkError(f"{redact(self._url)} can no longer be read in parts")
        with response:
            try:
                yield from response.iter_content(PIECE)
            except requests.RequestException as error:
                raise NetworkError(f"the download of {self.name} broke off: {_reason(error)}") from None


class _Links(html.parser.HTMLParser):
    """The anchors of an HTML project page; hrefs may be relative, and PyTorch's are ``%2B``-quoted."""

    def __init__(self, base: str, text: str) -> None:
        super().__init__()
        self.base = base
        self.files: list[IndexFile] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        href = values.get("href")
        if tag == "base" and href:
            self.base = urllib.parse.urljoin(self.base, href)
        if tag != "a" or not href:
            return
        url, _, fragment = urllib.parse.urljoin(self.base, href).partition("#")
        name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
        digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        metadata = "data-core-metadata" in values or "data-dist-info-metadata" in values
        self.files.append(
            IndexFile(filename=name, url=url, sha256=digest, yanked="data-yanked" in values, has_metadata=metadata)
        )


def _from_json(response: requests.Response, url: str) -> list[IndexFile]:
    try:
        rows = response.json()["files"]
        return [
            IndexFile(
                filename=row["filename"],
                url=urllib.parse.urljoin(response.url, row["url"]),
                sha256=row.get("hashes", {}).get("sha256"),
                uploaded=(row.get("upload-time") or "")[:10] or None,
                yanked=bool(row.get("yanked")),
                has_metadata=bool(row.get("core-metadata")),
            )
            for row in rows
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NetworkError(f"{redact(url)} does not answer as a simple package index") from None


def redact(url: str) -> str:
    """The address without user name, password and query."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def _reason(error: Exception) -> str:
    """The innermost cause in one line: requests wraps urllib3 wraps the socket's own words."""
    if isinstance(error, requests.Timeout):
        return "it did not answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its TLS certificate was not accepted"
    text = str(error).rpartition(": ")[2].strip(" ')\"")
    return text or type(error).__name__


def default_index_url(environ: Mapping[str, str] | None = None, run: Run | None = None) -> str:
    """The index that pip would use here: PIP_INDEX_URL, pip's configuration, else the default built into pip.

    ``run`` takes an argv and returns its output, or None if it failed. Raises ``UsageError`` if there is no pip.
    """
    environ = os.environ if environ is None else environ
    if environ.get("PIP_INDEX_URL"):
        return environ["PIP_INDEX_URL"]
    ask = run or _run
    configured = _configured(ask([sys.executable, "-I", "-m", "pip", "config", "list"]) or "")
    if configured:
        return configured
    code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    built_in = (ask([sys.executable, "-I", "-c", code]) or "").strip()
    if not built_in:
        raise UsageError("no default package index is known, because this Python has no pip; name one with --index-url")
    return built_in


def _configured(listing: str) -> str | None:
    """``index-url`` from ``pip config list``. Later levels win, as in pip: global, user, site, environment.

    Sample line: ``global.index-url='https://mirror.example/simple'``
    """
    found: dict[str, str] = {}
    for line in listing.splitlines():
        key, equals, value = line.partition("=")
        section, _, option = key.strip().rpartition(".")
        if equals and option == "index-url":
            found[section] = value.strip().strip("'\"")
    for section in (":env:", "install", "download", "global"):
        if found.get(section):
            return found[section]
    return None


def _run(argv: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(
            list(argv), capture_output=True, timeout=PIP_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
