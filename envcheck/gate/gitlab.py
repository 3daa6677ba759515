"""GitLab code quality: a JSON list of ``{description, check_name, fingerprint, severity, location}``.

GitLab wants a place in a file for each; a machine's fault has none, so the policy's line stands for it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from ..checks.base import Report
from ..report.clean import clean
from .combine import headline
from .words import Gated

NO_POLICY = "envcheck.toml"  # where a policy would stand
SEVERITY = {"fail": "critical", "warn": "minor"}


def as_gitlab(gated: Gated, report: Report) -> str:
    """Nothing to say is ``[]``. A missing answer that counts is ``major``; exit 0 has neither major nor critical."""
    lines = gated.policy.lines
    path = _relative(gated.policy.path)
    out = [_issue(f.code, f.summary, SEVERITY[f.status], path, _line(f.code, lines)) for f in report.findings]
    for r in report.results:
        counts = r.status in ("crash", "timeout") or (r.status == "unknown" and r.required)
        if counts and r.code != "gate":
            out.append(_issue(r.code, r.summary, "major", path, _line(r.code, lines)))
    if gated.exit_code and not any(issue["severity"] in ("critical", "major") for issue in out):
        severity = "critical" if gated.exit_code == 1 else "major"
        out.append(_issue("gate", headline(gated), severity, path, 1))
    unique = {issue["fingerprint"]: issue for issue in out}
    return json.dumps(list(unique.values()), indent=2, ensure_ascii=False) + "\n"


def _issue(code: str, summary: str, severity: str, path: str, line: int) -> dict[str, Any]:
    return {
        "description": clean(summary),
        "check_name": f"envcheck/{code}",
        "fingerprint": hashlib.sha256(f"{code}\0{severity}\0{clean(summary)}".encode()).hexdigest(),
        "severity": severity,
        "location": {"path": clean(path), "lines": {"begin": line}},
    }


def _line(code: str, lines: Any) -> int:
    keys = {
        "driver-min": "driver.min",
        "gpu-count": "gpu.count",
        "gpu-memory": "gpu.min-memory-gib",
        "gpu-compute-capability": "gpu.min-compute-capability",
        "torch-spec": "torch.spec",
    }
    return int(lines.get(keys.get(code, "require"), 1))


def _relative(path: str | None) -> str:
    """GitLab takes paths from the repository's root alone; a policy outside of it is named by its file."""
    if path is None:
        return NO_POLICY
    try:
        return str(PurePosixPath(Path(path).resolve().relative_to(Path.cwd().resolve())))
    except (OSError, ValueError):
        return clean(Path(path).name) or NO_POLICY
