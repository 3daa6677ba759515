"""torch's version, and what it says of the build: ``2.4.1+cu121``, ``1.13.1+cpu``, ``2.1.0a0+41361538.nv23.06``."""

from __future__ import annotations

import re
from typing import Any

_VERSION = re.compile(
    r"(?<![\w.])v?(\d{1,2}\.\d{1,2}(?:\.\d{1,2})?(?:a\d{1,3}|b\d{1,3}|rc\d{1,3})?(?:\.post\d{1,4})?(?:\.dev\d{1,8})?"
    r"(?:\+[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,60}[A-Za-z0-9])?)?)(?![\w])"
)
_TAG = re.compile(r"\+cu(\d{2,3})(?![\d])")


def torch_version(text: str) -> str | None:
    """The first version in ``text``; None for ``N/A``."""
    found = _VERSION.search(text[:300])
    return found.group(1) if found else None


def tag_cuda(tag: str) -> str | None:
    """The digits of a ``cu`` tag as a CUDA version: ``92`` -> 9.2, ``118`` -> 11.8, ``130`` -> 13.0."""
    return f"{tag[:-1]}.{tag[-1]}" if tag.isdigit() and len(tag) in (2, 3) else None


def describe(version: str) -> dict[str, Any]:
    """Fields of ``model.Torch`` that the version alone tells: the CUDA of a ``+cu`` tag."""
    found = _TAG.search(version)
    cuda = tag_cuda(found.group(1)) if found else None
    return {"cuda": cuda} if cuda else {}


def build_of(version: str | None) -> str | None:
    """``cuda``, ``cpu``, ``rocm`` or ``xpu`` where the local version says so, else None."""
    local = (version or "").partition("+")[2].lower()
    for word, build in (("cu", "cuda"), ("cpu", "cpu"), ("rocm", "rocm"), ("xpu", "xpu")):
        if local.startswith(word):
            return build
    return None
