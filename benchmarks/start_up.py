"""Wall time of `envcheck plan` with what-if flags as a ratio to `python -c "import click"`, interleaved in one run.

Bar (issue "From a bare checkout"): at most 2.5. Medians of N runs; noisy machines move both sides alike.
"""

from __future__ import annotations

import compileall
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 25
BASE = [sys.executable, "-c", "import click"]
PLAN = [
    str(Path(sys.executable).with_name("envcheck")),
    "plan",
    "--os",
    "ubuntu-22.04",
    "--gpu",
    "NVIDIA GeForce RTX 4090",
    "--driver",
    "535.104.05",
    "--torch",
    "2.0",
]


def seconds(argv: list[str]) -> tuple[float, float]:
    """(wall, CPU) of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    compileall.compile_dir(Path(__file__).resolve().parent.parent / "envcheck", quiet=1)  # as an installed wheel is
    for argv in (BASE, PLAN):
        seconds(argv)
    pairs = [(seconds(BASE), seconds(PLAN)) for _ in range(RUNS)]
    for i, what in enumerate(("wall", "CPU")):
        low, high = (statistics.median(pair[side][i] for pair in pairs) for side in (0, 1))
        print(f"{what}: import click {low * 1000:.1f} ms, envcheck plan {high * 1000:.1f} ms, ratio {high / low:.2f}")
    print("bar: 2.5 in wall time")


if __name__ == "__main__":
    main()
