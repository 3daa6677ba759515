"""GPUs x drivers against the oracle of tests/test_plan_grid.py; needs the shared facts beside the checkout.

Prints how many cells hold the newest build that works, or a refusal where nothing does, and the same per pinned torch.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from test_plan_grid import FACTS, cells, compare


def main() -> None:
    if not FACTS.is_dir():
        sys.exit("the shared facts are not beside this checkout")
    total = len(cells())
    for pinned in (None, *(f"2.{minor}" for minor in range(6, 16))):
        wrong = compare(pinned)
        print(f"torch {pinned or 'latest':<7} {total - len(wrong)} of {total}")
        for line in wrong:
            print(f"  {line}")


if __name__ == "__main__":
    main()
