"""lint: faults that can be read off a Dockerfile, a compose.yaml, an environment.yml or a requirements.txt."""

from __future__ import annotations

import dataclasses
import re
from pathlib import PurePath

from ..errors import UsageError
from . import dockerfile, documents, requirements
from .words import Fault, Target

KINDS = ("dockerfile", "compose", "environment", "requirements")
NAMES = (
    (re.compile(r"(?:^|[.-])(?:dockerfile|containerfile)(?:$|[.-])", re.IGNORECASE), "dockerfile"),
    (re.compile(r"compose.*\.ya?ml$", re.IGNORECASE), "compose"),
    (re.compile(r"(?:^|[._-])env(?:ironment)?.*\.ya?ml$", re.IGNORECASE), "environment"),
    (re.compile(r"(?:require|constraint).*\.(?:txt|in)$", re.IGNORECASE), "requirements"),
)


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
    else:
        root = documents.parse_yaml(text, name)
        read = documents.lint_compose if kind == "compose" else documents.lint_environment
        faults = read(root, target) if root else []
    ordered = sorted(faults, key=lambda f: (f.line, f.code))
    return tuple(dataclasses.replace(f, file=name) for f in dict.fromkeys(ordered))


__all__ = ["KINDS", "Fault", "Target", "kind_of", "lint"]
