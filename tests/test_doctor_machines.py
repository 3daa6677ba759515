"""What doctor says of each recorded machine, in full.

After a wanted change: ``UPDATE_MACHINES=1 python -m pytest tests/test_doctor_machines.py``, then read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envcheck.checks import run_checks
from envcheck.detect import snapshot
from envcheck.identify import identify
from envcheck.matrix import load
from envcheck.report import as_text

FOLDERS = sorted(p.parent for p in (Path(__file__).parent / "machines").glob("*/snapshot.json"))
MATRIX = load(None)


@pytest.mark.parametrize("folder", FOLDERS, ids=[f.name for f in FOLDERS])
def test_doctor_says_so(folder: Path) -> None:
    report = run_checks(identify(snapshot.load(folder / "snapshot.json"), MATRIX), MATRIX)
    assert [r.code for r in report.results if r.status in ("crash", "timeout")] == []
    text = as_text(report, width=100)
    expected = folder / "doctor.txt"
    if os.environ.get("UPDATE_MACHINES"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


def test_there_are_machines_of_many_kinds() -> None:
    assert len(FOLDERS) >= 30
    words = " ".join(f.name for f in FOLDERS)
    kinds = ("wsl", "docker", "kubernetes", "windows", "macos", "jetson", "dgx", "hgx", "mig", "vgpu", "nouveau")
    kinds += (
        "secure-boot",
        "vfio",
        "conda",
        "gh200",
        "radeon",
        "mismatch",
        "hangs",
        "login-node",
        "nodriver",
        "rosetta",
    )
    kinds += ("nvsmi-folder", "tcc", "poetry", "none-uv")
    assert [k for k in kinds if k not in words] == []
