"""What lint says, and what it knows of the machine that a file is for."""

from __future__ import annotations

from ..matrix import Matrix
from ..record import dataclass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of a file. ``code`` is a slug of doctor's where doctor knows it too."""

    code: str
    severity: str  # error, warning
    line: int  # from 1
    summary: str
    fix: str
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the files are held to. ``driver``: the least driver of the machines, of the policy or of --driver."""

    matrix: Matrix
    driver: str | None = None
    platform: str = "linux-x86_64"


def error(code: str, line: int, summary: str, fix: str) -> Fault:
    return Fault(code=code, severity="error", line=line, summary=summary, fix=fix)


def warning(code: str, line: int, summary: str, fix: str) -> Fault:
    return Fault(code=code, severity="warning", line=line, summary=summary, fix=fix)
