"""Which index serves a build: PyTorch's own, the default one, a mirror by name or address, or a given URL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import InputError, UsageError
from ..matrix import Build, Index, Matrix
from ..model import Request
from ..record import dataclass

if TYPE_CHECKING:
    from urllib.parse import SplitResult

PYPI, PYTORCH, FIND_LINKS = "pypi", "pytorch", "find-links"
# Of RFC 3986 without what a requirements file would read otherwise: quotes, "$", "#".
_URL = re.compile(r"[A-Za-z0-9._~:/?@!&()*+,;=%\[\]-]+")
_TAG = re.compile(r"cpu|cu[0-9]{2,4}|rocm[0-9][0-9.]*|xpu")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class IndexChoice:
    """Where the wheels come from. ``url`` None is the user's own default index.

    ``pin_local``: torch is pinned with its local version there. ``note``: a sentence that the user must read.
    """

    kind: str  # pypi, pytorch, find-links, jetson
    url: str | None
    pin_local: bool
    note: str | None = None


def resolve(request: Request, build: Build, matrix: Matrix) -> IndexChoice:
    """The index of a wheel build under ``--mirror`` and ``--index-url``; the latter wins.

    Raises ``UsageError`` for an unknown mirror, a URL that cannot be used, and a mirror without this build.
    """
    if request.index_url is not None:
        return _given(request.index_url, build)
    if request.mirror is not None:
        return _mirror(request.mirror, build, matrix)
    if build.index == PYPI:
        return IndexChoice(kind=PYPI, url=None, pin_local=False)
    row = matrix.indexes.get(build.index) or matrix.indexes.get(PYTORCH)
    if row is None:
        raise InputError(f"{matrix.path}: no index {PYTORCH!r} to take torch {build.torch}+{build.tag} from")
    return _row(row, build)


def _row(row: Index, build: Build) -> IndexChoice:
    """One row of the matrix as the source of one build."""
    if row.kind == PYPI and not build.on_pypi:
        raise UsageError(
            f"--mirror {row.id} mirrors PyPI only, and torch {build.torch}+{build.tag} is not on PyPI: "
            "take a mirror of PyTorch's index, or no --mirror"
        )
    url = row.url.replace("{tag}", build.tag)
    pin = row.kind == FIND_LINKS or (row.kind == PYTORCH and _wheels_carry_tag(build))
    return IndexChoice(kind=row.kind, url=url, pin_local=pin)


def _wheels_carry_tag(build: Build) -> bool:
    """Whether the wheels on PyTorch's index name the variant in their version (``2.0.1+cu118``).

    On macOS they do not; on aarch64 some do and some do not, and the tag's own index holds no other variant.
    """
    return build.platform.endswith("-x86_64") and not build.platform.startswith("macos")


def _given(text: str, build: Build) -> IndexChoice:
    url, note = without_credentials(check_url(text, "--index-url"))
    tag = _tag_of(url)
    _same_variant(tag, build, "--index-url", url)
    return IndexChoice(kind=PYTORCH, url=url, pin_local=tag is not None and _wheels_carry_tag(build), note=note)


def _mirror(text: str, build: Build, matrix: Matrix) -> IndexChoice:
    if "://" not in text:
        return _row(_named(text, matrix), build)
    url, note = without_credentials(check_url(text.replace("{tag}", build.tag), "--mirror"))
    if _urlsplit(url).path.rstrip("/").endswith("/simple"):
        if not build.on_pypi:
            raise UsageError(
                f"--mirror {url} has the form of a PyPI mirror, and torch {build.torch}+{build.tag} is not on PyPI: "
                "if it does serve that build, give it as --index-url"
            )
        return IndexChoice(kind=PYPI, url=url, pin_local=False, note=note)
    tag = _tag_of(url)
    _same_variant(tag, build, "--mirror", url)
    whole = url if tag else f"{url.rstrip('/')}/{build.tag}"
    return IndexChoice(kind=PYTORCH, url=whole, pin_local=_wheels_carry_tag(build), note=note)


def _named(name: str, matrix: Matrix) -> Index:
    row = matrix.indexes.get(name) or {k.lower(): v for k, v in matrix.indexes.items()}.get(name.lower())
    if row is not None:
        return row
    import difflib

    near = difflib.get_close_matches(name.lower(), matrix.indexes, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(
        f"--mirror {name!r} is neither a URL nor a mirror that envcheck knows "
        f"({', '.join(sorted(matrix.indexes)) or 'it knows none'}){hint}"
    )


def _tag_of(url: str) -> str | None:
    """The variant that a URL ends with, None where it names none."""
    last = _urlsplit(url).path.rstrip("/").rsplit("/", 1)[-1]
    return last if _TAG.fullmatch(last) else None


def _same_variant(tag: str | None, build: Build, option: str, url: str) -> None:
    if tag is not None and tag != build.tag:
        raise UsageError(
            f"{option} {url} serves {tag}, and the build that fits here is torch {build.torch}+{build.tag}: "
            f"let the address end with {build.tag}, or ask for that variant with --cuda {tag}"
        )


def _urlsplit(url: str) -> SplitResult:
    """Most plans name no URL, and do not pay for the import."""
    from urllib.parse import urlsplit

    return urlsplit(url)


def check_url(text: str, option: str = "--index-url") -> str:
    """The URL of an index, or ``UsageError`` that says why it cannot be one.

    https only: what is fetched is executed. http is for a server on this very machine.
    """
    parts, shown = _split(text, option), _shown(text)
    if not _URL.fullmatch(text):
        raise UsageError(f"{option} {shown!r} holds characters that no index address has; percent-encode them")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise UsageError(f"{option} {shown}: http lets anyone on the way replace the wheels; use https")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{option} {shown!r} is no https address of an index; for a directory of wheels there is --offline DIR"
        )
    return text


def _split(text: str, option: str) -> SplitResult:
    try:
        parts = _urlsplit(text)
        _ = parts.port  # a property that raises for a port that is no number
    except ValueError as error:
        raise UsageError(f"{option} {_shown(text)!r} is no valid URL: {error}") from None
    return parts


def _shown(text: str) -> str:
    """The address for a message, which may end in a log: without the password."""
    return re.sub(r"//[^/]*@", "//***@", text)


def without_credentials(url: str) -> tuple[str, str | None]:
    """The URL without user and password, and the sentence that says so: a script is no place for a secret."""
    parts = _urlsplit(url)
    if "@" not in parts.netloc:
        return url, None
    host = parts.netloc.rsplit("@", 1)[1]
    from urllib.parse import urlunsplit

    clean = urlunsplit(parts._replace(netloc=host))
    return clean, (
        f"the user name and password in the address of {host} are left out, since whoever reads the script could "
        "read them: put them into ~/.netrc, which pip and uv both read"
    )
