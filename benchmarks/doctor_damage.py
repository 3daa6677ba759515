"""Damaged, mixed and hostile reports through the whole of ``doctor --from-report``, in one process.

    python benchmarks/doctor_damage.py 20000 --seed 1

Each is a real report (those of the tests, and of ../shared/cases where it is), or two or three of them, or noise; cut,
shuffled, quoted, coloured, repeated, with hostile words and foreign bytes in between. For each: no traceback, no check
that fell over, and verdict, exit code, findings and results that agree. Ends with 1 at the first that does not, which
is written to ``doctor-damage-SEED``. Needs what the tests need.
"""

from __future__ import annotations

import argparse
import json
import random
import string
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from test_doctor_damage import CHANGES, HOSTILE, REPORTS, agrees  # noqa: E402
from test_pasted_damage import COLLECT_ENV, DAMAGE, TABLE  # noqa: E402

from envcheck.cli import main as envcheck  # noqa: E402


def sources() -> list[str]:
    cases = ROOT.parent / "shared" / "cases"
    shared = [json.loads(f.read_text(encoding="utf-8")).get("report", "") for f in sorted(cases.glob("*.json"))]
    return [COLLECT_ENV, TABLE, *(r["report"] for r in REPORTS), *filter(None, shared)]


def noise(rng: random.Random) -> str:
    return "".join(rng.choice(string.printable) for _ in range(rng.randrange(400)))


def damaged(rng: random.Random, reports: list[str]) -> bytes:
    text = (
        "\n".join(rng.choice(reports) for _ in range(rng.choice((1, 1, 1, 2, 3))))
        if rng.random() < 0.97
        else noise(rng)
    )
    for _ in range(rng.randrange(3)):
        text = rng.choice(CHANGES)(text, rng)
    if rng.random() < 0.4:
        text = DAMAGE[rng.choice(sorted(DAMAGE))](text)
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(HOSTILE) + text[at:]
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(5))
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.2 else data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    reports, verdicts, longest, size = sources(), Counter[str](), 0.0, 0
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        pasted, answer = Path(folder, "report"), Path(folder, "answer")
        for number in range(options.count):
            data = damaged(random.Random(f"{options.seed}-{number}"), reports)
            pasted.write_bytes(data)
            answer.unlink(missing_ok=True)
            started = time.process_time()
            try:
                code = envcheck(["doctor", "--from-report", str(pasted), "--format", "json", "-o", str(answer)])
                if code == 4:  # nothing to read
                    assert not data.strip()
                    verdicts["empty"] += 1
                else:
                    verdicts[str(agrees(code, answer.read_text(encoding="utf-8"))["verdict"])] += 1
            except BaseException:
                Path(f"doctor-damage-{options.seed}").write_bytes(data)
                print(f"report {number} of seed {options.seed}", file=sys.stderr, flush=True)
                raise
            longest, size = max(longest, time.process_time() - started), size + len(data)
            if (number + 1) % 500 == 0:
                spent = time.process_time() - began
                print(f"{number + 1} reports, {size / 1e6:.1f} MB, {spent:.0f} s of processor time", flush=True)
    print(f"{options.count} reports of seed {options.seed}: {dict(verdicts)}; the slowest took {longest:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
