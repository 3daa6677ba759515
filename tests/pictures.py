"""Terminal pictures for README and docs: the real output for a recorded machine, drawn as SVG, so none can go stale."""

from __future__ import annotations

import contextlib
import io
import os
from html import escape
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
MACHINES = "tests/machines"
WIDTH, LINE, PAD = 100, 19, 16  # columns; pixels a line and around
COLORS = {"✗": "#f97583", "!": "#ffab70", "✓": "#85e89d", "?": "#b392f0", "$": "#79b8ff", "#": "#6a737d"}

# picture -> argv; machines are recorded ones, so the text is the same everywhere
PICTURES = {
    "doctor.svg": ("doctor", "--machine", f"{MACHINES}/fedora-40-gtx1080-nouveau/snapshot.json"),
    "plan.svg": (
        *("plan", "--machine", f"{MACHINES}/ubuntu-22.04-rtx4090-535.104.05/snapshot.json"),
        *("--torch", "2.0", "--format", "text"),
    ),
}


def output(argv: tuple[str, ...]) -> str:
    """What the command prints, without colour and in ``WIDTH`` columns."""
    from envcheck.cli import main

    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    size = {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    here = Path.cwd()
    os.chdir(ROOT)
    try:
        with (
            mock.patch.dict(os.environ, size),
            mock.patch("sys.stdout", stream),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            main([*argv, "--color", "never"])
            stream.flush()
    finally:
        os.chdir(here)
    raw = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return bytes(raw).decode("utf-8").rstrip("\n")


def svg(argv: tuple[str, ...]) -> str:
    """One text element a line; the first mark of a line gives its colour."""
    shown = [f"$ envcheck {' '.join(a.rsplit('/', 2)[-2] + '.json' if a.endswith('.json') else a for a in argv)}", ""]
    lines = shown + output(argv).split("\n")
    height = PAD * 2 + LINE * len(lines)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {height}" font-family="monospace" font-size="14">',
        f'<rect width="900" height="{height}" rx="8" fill="#1f2428"/>',
    ]
    for i, line in enumerate(lines):
        mark = line.strip()[:1]
        color = COLORS.get(mark, "#e1e4e8")
        y = PAD + LINE * i + 14
        out.append(f'<text x="{PAD}" y="{y}" fill="{color}" xml:space="preserve">{escape(line)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"
