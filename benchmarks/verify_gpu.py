"""The first run on a real GPU, and every later one: both runs of verify, their times, every check's figures.

    python benchmarks/verify_gpu.py --write docs/evidence

writes one page named after the card. Without a GPU it says so, writes nothing and ends with code 3.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from envcheck.advise.specs import find_card
from envcheck.errors import UsageError
from envcheck.matrix import Matrix, load

QUICK_S, FULL_S = 20.0, 120.0  # what the runs may take, the full one per GPU
Run = tuple[int, float, dict[str, Any]]  # exit code, wall seconds, the JSON


def run_verify(*options: str, timeout: float = 1800.0) -> Run:
    """``envcheck verify --format json`` with this interpreter's envcheck."""
    argv = [sys.executable, "-m", "envcheck", "verify", "--format", "json", *options]
    began = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    try:
        return done.returncode, time.monotonic() - began, json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"verify ended with code {done.returncode} and no JSON: {done.stderr[-2000:]}") from None


def datasheet_tflops(device: Mapping[str, Any], matrix: Matrix) -> float | None:
    """Dense fp16 TFLOPS as NVIDIA publishes them, at the clock that it rates Tensor Cores at; None where unknown."""
    try:
        return find_card(str(device.get("name")), matrix).tensor
    except UsageError:
        return None


def page(full: Run, quick: Run, matrix: Matrix) -> str:
    """The evidence as markdown: nothing in it that a run did not give."""
    code, seconds, data = full
    devices: Sequence[Mapping[str, Any]] = data["devices"]
    driver = data["machine"]["driver"]
    lines = [
        f"# verify on {', '.join(str(d['name']) for d in devices)}",
        "",
        f"{time.strftime('%Y-%m-%d')}, driver {driver['version']} (CUDA {driver['cuda']}), torch "
        f"{data['torch'].get('version')}, {data['machine']['os'].get('arch')}.",
        "",
        "| run | exit | seconds | may take |",
        "|---|---|---|---|",
        f"| `envcheck verify --quick` | {quick[0]} | {quick[1]:.1f} | {QUICK_S:g} per GPU |",
        f"| `envcheck verify` | {code} | {seconds:.1f} | {FULL_S * len(devices):g} |",
        "",
        "## fp16 on Tensor Cores",
        "",
        "| GPU | verdict | TFLOPS | datasheet | share | MHz under load | share of the peak there | held back by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for device in devices:
        found = [r for r in data["results"] if r["code"] == "tensor-core-fp16" and r["device"] == device["index"]]
        lines += [_speed_row(device, r["measured"], datasheet_tflops(device, matrix)) for r in found]
    lines += ["", "## Every check", "", "| check | GPU | status | seconds | what it said |", "|---|---|---|---|---|"]
    for r in data["results"]:
        where = "all" if r["device"] is None else r["device"]
        lines.append(f"| {r['code']} | {where} | {r['status']} | {r['seconds']:.1f} | {_cell(r['summary'])} |")
    lines += ["", "## Figures", "", "Four digits; of a list longer than eight the ends.", "", "```json"]
    lines += [json.dumps(item) for item in _figures(data["results"])]
    lines += ["```", ""]
    return "\n".join(lines)


def _speed_row(device: Mapping[str, Any], measured: Mapping[str, Any], sheet: float | None) -> str:
    tflops = measured.get("tflops")
    load = measured.get("load") or {}
    cells = [
        device["index"],
        measured.get("tensor_cores"),
        _number(tflops),
        _number(sheet),
        f"{100 * tflops / sheet:.0f} %" if tflops and sheet else "?",
        _number(load.get("sm_mhz")),
        f"{100 * measured['share']:.0f} %" if measured.get("share") else "?",
        ", ".join(load.get("throttle") or ()) or "nothing",
    ]
    return "| " + " | ".join(_cell(str(c)) for c in cells) + " |"


def _number(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, int | float) else "?"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:300]


def _figures(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each check measured, and its evidence."""
    return [
        {"check": r["code"], "gpu": r["device"], **_short(r["measured"]), "evidence": r["evidence"]} for r in results
    ]


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _short(each) for key, each in value.items()}
    if isinstance(value, list):
        ends = value if len(value) <= 8 else [value[0], "...", value[-1]]
        return [_short(each) for each in ends]
    return value


def file_name(data: Mapping[str, Any]) -> str:
    """``verify-nvidia-l4.md``."""
    word = re.sub(r"[^a-z0-9]+", "-", str(data["devices"][0]["name"]).lower()).strip("-")
    return f"verify-{word}.md"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", default=None, help="the interpreter whose torch is meant")
    parser.add_argument("--write", type=Path, default=None, metavar="FOLDER")
    options = parser.parse_args()
    extra = ["--python", options.python] if options.python else []
    quick = run_verify("--quick", *extra)
    if not quick[2]["devices"]:
        print(f"no GPU was proven: {quick[2]['results'][0]['summary']}", file=sys.stderr)
        raise SystemExit(3)
    full = run_verify(*extra)
    text = page(full, quick, load(None))
    if options.write:
        target = options.write / file_name(full[2])
        target.write_text(text, encoding="utf-8")
        print(target)
    else:
        print(text)
    raise SystemExit(full[0])


if __name__ == "__main__":
    main()
