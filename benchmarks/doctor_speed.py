"""Wall time of `envcheck doctor` as a ratio to `python -m torch.utils.collect_env`, interleaved in one run.

    python benchmarks/doctor_speed.py /path/to/python-with-torch

Bars (issue "doctor"): at most 1/5 of collect_env where torch is installed; at most 0.5 s where it is not. Medians of
N runs; noisy machines move both sides alike. The CPU time of each, children included, is printed too: it moves less.
Last comes a report of one megabyte, to be answered within a second: the reports of the tests, one after another.
"""

from __future__ import annotations

import compileall
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7
ENVCHECK = str(Path(sys.executable).absolute().with_name("envcheck"))
REPORT = "torch 2.1.2+cu121\nRuntimeError: The NVIDIA driver on your system is too old (found version 11040).\n"
REPORTS = Path(__file__).resolve().parents[1] / "tests" / "test_checks_reports.json"
MEGABYTE = 1_000_000


def megabyte() -> str:
    texts = "\n".join(row["report"] for row in json.loads(REPORTS.read_text(encoding="utf-8")))
    return (texts * (MEGABYTE // len(texts) + 1))[:MEGABYTE]


def used() -> float:
    """CPU seconds of all children that ended so far; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0.0
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def seconds(argv: list[str], text: str = "") -> tuple[float, float]:
    """(wall, CPU)."""
    start, before = time.perf_counter(), used()
    with tempfile.TemporaryDirectory() as directory:  # never a directory whose files hide a module
        subprocess.run(argv, check=False, capture_output=True, timeout=120, input=text.encode(), cwd=directory)
    return time.perf_counter() - start, used() - before


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python benchmarks/doctor_speed.py PYTHON_WITH_TORCH")
    target = str(Path(sys.argv[1]).absolute())
    compileall.compile_dir(Path(__file__).resolve().parent.parent / "envcheck", quiet=1)  # as an installed wheel is
    collect = [target, "-m", "torch.utils.collect_env"]
    with_torch = [ENVCHECK, "doctor", "--python", target]
    without = [ENVCHECK, "doctor", "--python", "/usr/bin/python3"]
    report = [ENVCHECK, "doctor", "--from-report", "-"]
    for argv in (collect, with_torch, without):
        seconds(argv)
    rows = [(seconds(collect), seconds(with_torch), seconds(without), seconds(report, REPORT)) for _ in range(RUNS)]
    columns = list(zip(*rows, strict=True))
    base, own, bare, pasted = (statistics.median(wall for wall, _ in column) for column in columns)
    cpu = [statistics.median(spent for _, spent in column) for column in columns]
    print(f"collect_env {base:.2f} s, doctor on the same torch {own:.2f} s, ratio {own / base:.3f} (bar: 0.200)")
    print(f"doctor without torch {bare:.2f} s (bar: 0.50 s), doctor --from-report {pasted:.2f} s")
    names = ("collect_env", "doctor", "doctor without torch", "doctor --from-report")
    print("CPU: " + ", ".join(f"{name} {spent:.2f} s" for name, spent in zip(names, cpu, strict=True)))
    text = megabyte()
    huge = [seconds(report, text) for _ in range(RUNS)]
    wall, spent = (statistics.median(column) for column in zip(*huge, strict=True))
    print(f"a report of a megabyte {wall:.2f} s, CPU {spent:.2f} s (bar: 1 s)")


if __name__ == "__main__":
    main()
