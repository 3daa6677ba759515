"""lint: faults that can be read off a Dockerfile, compose.yaml, environment.yml, requirements.txt or pyproject.toml."""

from __future__ import annotations

import dataclasses
import re
from pathlib import PurePath

from ..errors import UsageError
from . import dockerfile, documents, pyproject, requirements
from .words import Fault, Target

KINDS = ("dockerfile", "compose", "environment", "requirements", "pyproject")
NAMES = (
    (re.compile(r"^pyproject.*\.toml$", re.IGNORECASE), "pyproject"),
    (re.compile(r"(?:^|[.-])(?:dockerfile|containerfile)(?:$|[.-])(?!dockerignore)", re.IGNORECASE), "dockerfile"),
    (re.compile(r"compose.*\.ya?ml$", re.IGNORECASE), "compose"),
    (re.compile(r"(?:^|[._-])env(?:ironment)?.*\.ya?ml$", re.IGNORECASE), "environment"),
    (re.compile(r"(?:require|constraint).*\.(?:txt|in)$", re.IGNORECASE), "requirements"),
)
# a file that says in its name, or in its folder's, that it is for machines without a GPU, or with another maker's
NOT_NVIDIA = re.compile(
    r"(?:^|[^a-z])(?:cpu|cpuonly|nocuda|nogpu|rocm|hip|hipblas|amd|xpu|intel|mps)(?:$|[^a-z])", re.IGNORECASE
)
MEANT = ("cpu-only-torch", "container-no-gpu-flag")


def kind_of(name: str) -> str:
    """Told by the file's name. Raises ``UsageError`` for a name that tells nothing."""
    base = PurePath(name).name
    for pattern, kind in NAMES:
        if pattern.search(base):
            return kind
    raise UsageError(f"{base!r} does not say what it is: give --kind {'|'.join(KINDS)}")


def lint(text: str, name: str, target: Target, kind: str | None = None) -> tuple[Fault, ...]:
    """The faults of one file, in its order. Raises ``InputError`` where it cannot be read as what it is."""
    kind = kind or kind_of(name)
    if kind == "dockerfile":
        faults = dockerfile.lint(text, target)
    elif kind == "requirements":
        faults = requirements.lint(text, target)
    elif kind == "pyproject":
        faults = pyproject.lint(text, name, target)
    else:
        root = documents.parse_yaml(text, name)
        read = documents.lint_compose if kind == "compose" else documents.lint_environment
        faults = read(root, target) if root else []
    if NOT_NVIDIA.search("/".join(PurePath(name).parts[-2:])):
        faults = [f for f in faults if f.code not in MEANT and "which cannot use one of NVIDIA" not in f.summary]
    ordered = sorted(faults, key=lambda f: (f.line, f.code))
    return tuple(dataclasses.replace(f, file=name) for f in dict.fromkeys(ordered))


__all__ = ["KINDS", "Fault", "Target", "kind_of", "lint"]
