"""requirements.txt: the index line first, then pinned lines, with hashes where they are known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..errors import InputError, UsageError
from . import emit, mirrors, wheels, words
from .base import InstallJob

_SHA256 = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.!+_-]*")


def requirements_text(job: InstallJob) -> str:
    """The file for ``pip install -r`` and ``uv pip install -r``: it carries its own index line.

    Raises ``UsageError`` under ``--hashes``: the hashes of all dependencies are known only after a resolution,
    see ``with_hashes``.
    """
    if job.request.hashes:
        raise UsageError(
            "--format requirements --hashes needs the hashes of every dependency, and they are known to the index "
            "alone; add --online, or use --format script, which lets uv lock them"
        )
    return _top(job) + "".join(f"{line}\n" for line in wheels.requirements(job))


def with_hashes(job: InstallJob, hashes: Mapping[tuple[str, str], Sequence[str]]) -> str:
    """The same file with ``--hash`` lines: (name, version) -> SHA-256 of the wheels that may be installed.

    pip then asks for a hash of everything, so ``hashes`` is the whole resolution, not only torch.
    Raises ``InputError`` if a package of the job is missing from it or a hash is none.
    """
    for name, version in hashes:
        if not _NAME.fullmatch(name) or not _VERSION.fullmatch(version):
            raise InputError(f"{name!r} {version!r} names no release; the index answered something else")
    known = {(words.distribution(name), version): found for (name, version), found in hashes.items()}
    for name, version in wheels.pinned(job):
        if not any(key == name and _same(version, have) for key, have in known):
            raise InputError(f"no hash of {name} {version} is known; the index did not list it")
    torch_first = sorted(known, key=lambda key: (key[0] != "torch", key))
    lines = [_hashed(name, version, known[name, version]) for name, version in torch_first]
    return _top(job) + "".join(lines)


def _same(wanted: str, have: str) -> bool:
    return have == wanted or ("+" not in wanted and have.split("+")[0] == wanted)


def _hashed(name: str, version: str, found: Sequence[str]) -> str:
    matches = [_SHA256.fullmatch(h) for h in found]
    digests = sorted({m[1].lower() for m in matches if m})
    if not digests or not all(matches):
        raise InputError(f"the hashes of {name} {version} are not SHA-256 digests: {list(found)!r}")
    return f"{name}=={version}" + "".join(f" \\\n    --hash=sha256:{digest}" for digest in digests) + "\n"


def _top(job: InstallJob) -> str:
    text = emit.header(
        f"torch {job.torch.version}, {job.torch.tag}, for Python {words.minor(job)} on {job.platform} {job.arch}",
        "made by `envcheck plan --format requirements`; install with: python -m pip install -r THIS_FILE",
    )
    for option, url in zip(wheels.index_args(job)[::2], wheels.index_args(job)[1::2], strict=True):
        # pip splits this line as a shell would and expands ${NAME}: a checked URL holds no space, quote or brace
        text += f"{option} {mirrors.check_url(url)}\n"
    return text
