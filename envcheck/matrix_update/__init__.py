"""Ask a package index what it knows about torch and rewrite the rows that say so. Nothing else imports requests.

``index``      the simple-index client (JSON and HTML) and HTTP ranges; the only importer of requests
``remote_zip`` members of a wheel that stays where it is
``pins``       METADATA -> CUDA, cuDNN, NCCL and triton pins
``fatbin``     GPU architectures from the bytes of a CUDA library
``archs``      the three above together: what GPU code a wheel on an index holds
``wheels``     is this very wheel there, and its SHA-256
``update``     rebuild the rows of the matrix that an index can prove

How the rows of ``compat_matrix.json`` were obtained: what the package index's own wheels say (file names, METADATA,
``torch/version.py``, the architecture string and the fat binaries) is ``evidence: bytes``; a variant that only
PyTorch's index serves is ``listed`` when PyTorch's install pages give that command, ``told`` when build scripts,
RELEASE.md or the release matrix of pytorch/test-infra name it, ``inferred`` when it follows from a neighbouring row.
"""

from __future__ import annotations

from .index import CONNECT_SECONDS, READ_SECONDS, Session
from .index import default_index_url as default_index
from .update import rebuild

__all__ = ["Session", "default_index", "rebuild", "session"]


def session(timeout: float = READ_SECONDS) -> Session:
    """A client whose requests wait at most ``timeout`` seconds for the next bytes."""
    return Session((min(timeout, CONNECT_SECONDS), timeout))
