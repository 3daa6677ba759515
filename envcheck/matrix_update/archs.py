"""What GPU code a torch wheel on an index holds, read through byte ranges."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

from ..errors import InputError, NetworkError
from . import fatbin
from .index import Session
from .remote_zip import RemoteZip

CUDA_LIBRARY = "torch/lib/libtorch_cuda.so"
PYTHON_LIBRARY = "torch/lib/libtorch_python.so"

Archs = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def open_wheel(url: str, session: Session | None = None) -> RemoteZip:
    """The wheel at ``url``. Raises ``NetworkError`` if it is not there or the server serves no byte ranges."""
    file = (session or Session()).ranges(url)
    if file is None:
        raise NetworkError(f"there is no wheel at {url}")
    return RemoteZip(file)


def arch_list(wheel: RemoteZip) -> tuple[str, ...]:
    """``torch.cuda.get_arch_list()`` of the wheel: a few megabytes are read. () for a CPU build."""
    if CUDA_LIBRARY not in wheel.members:
        return ()
    found = fatbin.arch_list(wheel.stream(PYTHON_LIBRARY))
    if not found:
        raise InputError(f"{wheel.source.name} has {CUDA_LIBRARY}, but no list of architectures in {PYTHON_LIBRARY}")
    return found


def archs_from_wheel(url: str, session: Session | None = None, code: bool = True) -> Archs:
    """(SASS, PTX, architecture list) of a Linux wheel of torch; three empty tuples for a CPU build.

    With ``code`` the fat binaries of libtorch_cuda.so are read, which fetches most of the wheel (0.5 to 1 GB);
    without it SASS and PTX are taken from the architecture list.
    """
    wheel = open_wheel(url, session)
    listed = arch_list(wheel)
    if not listed:
        return (), (), ()
    if not code:
        return (*fatbin.split(listed), listed)
    found = fatbin.scan(wheel.stream(CUDA_LIBRARY))
    if not found.containers:
        raise InputError(f"{CUDA_LIBRARY} in {wheel.source.name} holds no fat binary that can be read")
    return found.full("elf"), found.full("ptx"), listed


def file_pieces(path: str, size: int = 1 << 20) -> Iterator[bytes]:
    """A local library in pieces, for ``fatbin.scan``."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the context below; only opening is translated
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    with contextlib.closing(file):
        yield from itertools.takewhile(bool, iter(lambda: file.read(size), b""))
