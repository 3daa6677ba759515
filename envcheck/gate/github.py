"""GitHub Actions: annotations on stdout, the step summary and the step's outputs in the files that the runner names."""

from __future__ import annotations

import secrets

from ..checks.base import Report
from ..report import as_github
from ..report.clean import clean
from .combine import headline
from .words import Gated

SUMMARY_LIMIT = 1_000_000  # bytes; GitHub takes 1 MiB a step, and refuses all of a longer one


def as_annotations(gated: Gated, report: Report) -> str:
    """One annotation a finding. The last line says the verdict; where the exit code is 3 it is an error, too."""
    *lines, _ = as_github(report).replace("##[", "## [").splitlines()
    if gated.exit_code == 3:
        text = clean(headline(gated)).replace("%", "%25").replace("##[", "## [")
        lines.append(f"::error title=envcheck gate::{text}")
    return "\n".join([*lines, f"envcheck gate - {gated.verdict}"]) + "\n"


def outputs(gated: Gated) -> str:
    """Lines for ``$GITHUB_OUTPUT``; each value between delimiters that nobody can know beforehand."""
    machine = gated.machine
    values = {
        "verdict": gated.verdict,
        "exit-code": str(gated.exit_code),
        "reason": gated.reasons[0] if gated.reasons else "",
        "driver": machine.driver.version or "",
        "cuda": machine.driver.cuda or "",
        "torch": (machine.torch.version if machine.torch else None) or "",
        "gpus": str(len(machine.gpus)),
        "gpu": (machine.gpus[0].name if machine.gpus else None) or "",
    }
    parts = []
    for name, value in values.items():
        mark = f"envcheck_{secrets.token_hex(16)}"
        parts.append(f"{name}<<{mark}\n{clean(value, 500)}\n{mark}\n")
    return "".join(parts)


def summary(markdown: str) -> str:
    """The step summary, cut at a line where it is longer than GitHub takes."""
    raw = markdown.encode("utf-8", "replace")
    if len(raw) <= SUMMARY_LIMIT:
        return markdown
    kept = raw[:SUMMARY_LIMIT].decode("utf-8", "ignore").rpartition("\n")[0]
    return f"{kept}\n````\n\nCut: the whole report is in the artifact.\n"
